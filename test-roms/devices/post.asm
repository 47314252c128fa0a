; The diagnostics port (80h): the last code reads back; words are two bytes.
bits 16
main:
    rd 80h
    equal16 'after reset', eax, 0
    wr 80h, 12h
    rd 80h
    equal16 'a code', eax, 12h
    wr 80h, 34h
    wr 80h, 34h
    rd 80h
    equal16 'the last code', eax, 34h
    ; software writes here to pass time
    mov cx, 1000
    mov al, 55h
.wait:
    out 80h, al
    loop .wait
    rd 80h
    equal16 'a thousand times', eax, 55h
    ; the page register of DMA channel 2 is the next port
    mov ax, 0a977h
    out 80h, ax
    rd 80h
    equal16 'a word: its lower byte', eax, 77h
    rd 81h
    equal16 'a word: its upper byte', eax, 0a9h
    done
