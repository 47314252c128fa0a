; 320 x 200 in 256 colours: palette, every pixel, a sum over what is read back, sent by INT 14h.
main:   mov ax, 13h
        int 10h
        xor ax, ax
        mov dx, 3c8h
        out dx, al
        inc dx
.colour:                        ; red rises, green falls, blue goes round four times
        mov bx, ax
        shr al, 2
        out dx, al
        xor al, 63
        out dx, al
        mov al, bl
        and al, 63
        out dx, al
        mov ax, bx
        inc al
        jnz .colour
        mov ax, 0a000h
        mov es, ax
        xor di, di
        xor dx, dx
.row:   xor cx, cx
.pixel: mov al, cl
        xor al, dl
        stosb
        inc cx
        cmp cx, 320
        jb .pixel
        inc dx
        cmp dx, 200
        jb .row
        xor si, si
        xor bx, bx
        mov cx, 64000
        xor ax, ax
.sum:   es lodsb
        imul bx, bx, 31
        add bx, ax
        loop .sum
        mov ax, 00e3h           ; 9600 bits a second
        xor dx, dx
        int 14h
        mov si, hexadecimal
        mov cx, 4
.digit: rol bx, 4
        mov di, bx
        and di, 15
        mov al, [hexadecimal + di]
        mov ah, 1
        xor dx, dx
        int 14h
        loop .digit
.sent:  mov ah, 3               ; until the last one has left
        xor dx, dx
        int 14h
        test ah, 40h
        jz .sent
        jmp finish
hexadecimal db '0123456789ABCDEF'
