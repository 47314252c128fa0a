; INT 16h: a line with backspace, polled while halted; special keys; shift state.
line    equ 610h
main:   mov ax, 3
        int 10h
        mov si, question
        call print
        mov di, line
wait:   mov ah, 1
        int 16h
        jnz .key
        hlt
        jmp wait
.key:   mov ah, 0
        int 16h
        cmp al, 13
        je .done
        cmp al, 8
        je .back
        stosb
        call print_char
        jmp wait
.back:  cmp di, line
        je wait
        dec di
        mov si, rubout
        call print
        jmp wait
.done:  mov si, answer
        call print
.turn:  cmp di, line
        je .special
        dec di
        mov al, [di]
        call print_char
        jmp .turn
.special:
        mov si, more
        call print
        mov cx, 4
.next:  mov ah, 0
        int 16h
        call print_word
        loop .next
        mov ah, 2
        int 16h
        and al, 0fh
        call print_byte
        jmp finish
question db 'Name? ', 0
rubout  db 8, ' ', 8, 0
answer  db 13, 10, 'Backwards: ', 0
more    db 13, 10, 'Keys: ', 0
