; The parallel port with a printer that takes everything; port 61h; the debug console.
bits 16
main:
    wr 378h, 5ah
    rd 378h
    equal16 'data latch', eax, 5ah
    wr 37ah, 0ch
    rd 37ah
    and al, 1fh
    equal16 'control: no strobe', eax, 0ch
    rd 379h
    and al, 98h
    equal16 'status: selected, ready, no error', eax, 98h
    ; a strobe with the interrupt on
    controllers 7fh, 0ffh
    vector 27h, handler
    wr 37ah, 1ch
    wr 37ah, 1dh
    wr 37ah, 1ch
    sti
    mov cx, 20000
.wait:
    loop .wait
    cli
    equal16 'acknowledged by IRQ 7', [count], 1
    wr 37ah, 0ch
    ; port 61h: the refresh bit toggles, the gates stay as written
    rd 61h
    and al, 0fch
    or al, 2
    out 61h, al
    rd 61h
    and al, 3
    equal16 'speaker and gate', eax, 2
    xor ebx, ebx
    mov cx, 60000
    in al, 61h
    mov ah, al
.toggle:
    in al, 61h
    xor ah, al
    test ah, 10h
    mov ah, al
    jz .same
    inc ebx
.same:
    loop .toggle
    mov eax, 10
    cmp ebx, eax
    mov eax, 0
    setae al
    equal16 'the refresh bit toggles', eax, 1
    rd 0e9h
    equal16 'the debug console is there', eax, 0e9h
    done
handler:
    handles
    handled 1
