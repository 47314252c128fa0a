; INT 10h: mode, cursor, teletype, strings, cells, scrolling; INT 11h.
main:   mov ax, 3
        int 10h
        mov dx, 0205h
        call cursor
        mov si, teletype
        call print
        mov ax, 1301h           ; a string with an attribute, the cursor moves
        mov bx, 1eh
        mov cx, string_end - string
        mov dx, 0405h
        mov bp, string
        int 10h
        mov ah, 3
        mov bh, 0
        int 10h
        push dx
        mov dx, 0405h
        call cursor
        mov ah, 8               ; character and attribute
        mov bh, 0
        int 10h
        push ax
        mov dx, 0a00h
        call cursor
        mov ax, 0941h           ; ten times A
        mov bx, 2
        mov cx, 10
        int 10h
        mov ax, 0601h           ; rows 9 and 10 up by one
        mov bh, 7
        mov cx, 0900h
        mov dx, 0a4fh
        int 10h
        mov dx, 0c00h
        call cursor
        pop ax
        call print_word
        pop ax
        call print_word
        mov ah, 0fh             ; columns and mode
        int 10h
        call print_word
        int 11h
        and ax, 1               ; a floppy drive is there
        call print_word
        jmp finish
cursor: mov ah, 2
        mov bh, 0
        int 10h
        ret
teletype db 'Hello from a boot sector', 0
string  db 'By INT 10h, AH = 13h'
string_end:
