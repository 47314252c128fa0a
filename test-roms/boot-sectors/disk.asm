; INT 13h: geometry, sectors over several tracks, several at once, a sector written, one that does not exist.
buffer  equ 8000h
main:   mov ax, 3
        int 10h
        mov ah, 0
        call disk
        mov ah, 8
        call disk
        mov ax, cx              ; last cylinder and sector
        push dx
        call print_word
        pop ax
        mov al, ah              ; last head
        call print_byte
        push ds                 ; AH = 8 has changed it
        pop es
        ; sectors 1 to 99, one by one: each begins with its number
        mov bp, 1
.each:  mov ax, 0201h
        call transfer
        cmp [buffer], bp
        jne failed
        inc bp
        cmp bp, 100
        jb .each
        ; a whole track at once
        mov bp, 36
        mov ax, 0212h
        call transfer
        cmp word [buffer + 17 * 512], 36 + 17
        jne failed
        ; there and back
        mov bp, 2000
        mov di, buffer
        mov cx, 256
        mov ax, 1234h
        rep stosw
        mov ax, 0301h
        call transfer
        mov word [buffer + 510], 0
        mov ax, 0201h
        call transfer
        cmp word [buffer + 510], 1234h
        jne failed
        mov si, right
        call print
        mov ax, 0201h           ; no track has a sector 60
        mov cx, 60
        xor dh, dh
        mov bx, buffer
        mov dl, [drive]
        int 13h
        mov si, refused
        jc .said
        mov si, wrong
.said:  call print
        jmp finish
; AX = function and count, for the sector with number BP
transfer:
        push ax
        mov ax, bp
        mov cl, 18
        div cl
        inc ah
        mov cl, ah              ; sector
        xor ah, ah
        shr al, 1
        mov ch, al              ; cylinder
        setc dh                 ; head
        pop ax
        mov bx, buffer
disk:   mov dl, [drive]
        int 13h
        jc failed
        ret
failed: mov si, wrong
        call print
        mov ax, bp
        call print_word
        jmp finish
right   db 13, 10, 'sectors are right', 13, 10, 0
wrong   db 13, 10, 'wrong ', 0
refused db 'no sector 60', 0
