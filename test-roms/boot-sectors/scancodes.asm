; A keyboard handler of our own on INT 9: scan codes as they come, until Escape is pressed.
head    equ 610h
codes   equ 612h
main:   mov ax, 3
        int 10h
        mov word [head], 0
        cli
        mov word [24h], handler
        mov [26h], cs
        sti
        mov si, press
        call print
        xor di, di
.wait:  hlt
.more:  cmp di, [head]
        je .wait
        mov al, [codes + di]
        inc di
        call print_byte
        mov al, ' '
        call print_char
        cmp byte [codes + di - 1], 1
        jne .more
        jmp finish
handler:
        push ax
        push bx
        in al, 60h
        mov bx, [cs:head]
        mov [cs:codes + bx], al
        inc bx
        and bx, 63
        mov [cs:head], bx
        mov al, 20h
        out 20h, al
        pop bx
        pop ax
        iret
press   db 'Press keys: ', 0
