; Output through INT 10h, the end, and the signature. Comes after the program.
print_word:                     ; AX as four digits and a blank
        push ax
        mov al, ah
        call print_byte
        pop ax
        call print_byte
        mov al, ' '
        jmp print_char
print_byte:                     ; AL as two digits
        push ax
        shr al, 4
        call .digit
        pop ax
        and al, 15
.digit: add al, '0'
        cmp al, '9'
        jbe print_char
        add al, 7
print_char:                     ; AL
        pusha
        mov ah, 0eh
        mov bx, 7
        int 10h
        popa
        ret
print:                          ; the text at DS:SI, up to a zero
        lodsb
        test al, al
        jz .end
        call print_char
        jmp print
.end:   ret
finish: mov al, 10h             ; success, to the exit port
        out 0f4h, al
.halt:  hlt
        jmp .halt
        times 510 - ($ - $$) db 0
        dw 0aa55h
