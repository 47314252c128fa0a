; The text screen without a BIOS: cells at B800h, cursor and start address in the CRTC.
main:   mov ax, 3
        int 10h
        mov ax, 0b800h
        mov es, ax
        xor di, di
        mov ax, 0720h
        mov cx, 2000
        rep stosw
        mov ah, 1fh             ; a double frame
        mov di, 3 * 160 + 20
        mov bx, 0c9bbh
        mov dl, 0cdh
        call row
        mov di, 4 * 160 + 20
        mov bx, 0babah
        mov dl, ' '
        call row
        mov di, 5 * 160 + 20
        mov bx, 0c8bch
        mov dl, 0cdh
        call row
        mov si, inside
        mov di, 4 * 160 + 24
        call text
        mov di, 7 * 160 + 20    ; sixteen colours
        mov al, 0dbh
        xor ah, ah
.bar:   stosw
        inc ah
        cmp ah, 16
        jb .bar
        mov ax, 200ah           ; no cursor
        mov dx, 3d4h
        out dx, ax
        ; the same on the second page, one line lower, and that page on the screen
        push ds
        push es
        pop ds
        xor si, si
        mov di, 1000h + 160
        mov cx, 24 * 80
        rep movsw
        pop ds
        mov di, 1000h
        mov si, second
        mov ah, 70h
        call text
        mov dx, 3d4h
        mov ax, 080ch
        out dx, ax
        mov ax, 000dh
        out dx, ax
        jmp finish
row:    mov al, bh
        stosw
        mov al, dl
        mov cx, 22
        rep stosw
        mov al, bl
        stosw
        ret
text:   lodsb
        test al, al
        jz .end
        stosw
        jmp text
.end:   ret
inside  db 'straight to B800h', 0
second  db 'second page', 0
