; A program that does what it is told, for tests of the board under a real BIOS. It is told by a
; command number at 600h, and stores 0 there when it is done.
;
;   1  set the video mode in [602h], colour n to DAC entry n, a palette and a font of its own
;   2  fill [604h] bytes (0: 64 KiB) of segment [602h] with pattern [606h]
;   3  fill [604h] words of segment [602h] with characters and attributes
;   4  write to ports: words at 700h, port and value, until port 0; bit 15 of the port: a word is
;      written; bit 14: a byte is read
;   5  set the VBE mode in [602h] and fill [604h] banks of 64 KiB with the patterns 0, 1, ...
;   6  INT 10h with AX, BX, CX, DX, DI and BP from 602h on, and ES = 0; they are stored there
;   7  fill [606h] bytes at the linear address [602h]: the doubleword at n is n * 9E3779B1h
;   8  colour n to DAC entry n
;
; Byte n of pattern p is (7 * n + 3 * (n >> 8) + 35h * p) & FFh.

        bits 16
        org 0x8000
start:
        xor ax,ax
        mov ds,ax
        mov ss,ax
        mov sp,0x7c00
        cld
        sti
done:
        mov byte [0x600],0
wait_for_command:
        hlt
        mov al,[0x600]
        cmp al,0
        je wait_for_command
        cmp al,1
        je set_mode
        cmp al,2
        je fill_pattern
        cmp al,3
        je fill_text
        cmp al,4
        je write_ports
        cmp al,5
        je vbe
        cmp al,6
        je call_bios
        cmp al,7
        je fill_linear
        cmp al,8
        je set_colors
        jmp done

set_colors:
        call colors
        jmp done

set_mode:
        mov ax,[0x602]
        int 0x10
        mov ax,0x1003           ; no blinking: sixteen grounds
        mov bl,0
        int 0x10
        mov ah,1                ; no cursor
        mov cx,0x2000
        int 0x10
        push ds
        pop es
        mov ax,0x1002           ; colour n is DAC entry n
        mov dx,palette
        int 0x10
        call colors
        ; a font: line y of character c is c ^ 17 * y; character height in [485h]
        mov di,0x2000
        xor bx,bx
.character:
        xor cx,cx
.line:
        mov al,17
        mul cl
        xor al,bl
        stosb
        inc cl
        cmp cl,[0x485]
        jb .line
        inc bl
        jnz .character
        mov al,[0x449]
        cmp al,3
        jbe .text
        cmp al,7
        jne done
.text:
        mov bh,[0x485]
        mov bl,0
        mov cx,256
        mov dx,0
        mov bp,0x2000
        mov ax,0x1100
        int 0x10
        jmp done

; DAC entry n := n & 63, 5n & 63, 63 - (n >> 2)
colors:
        mov dx,0x3c8
        mov al,0
        out dx,al
        inc dx
        xor bl,bl
.next:
        mov al,bl
        and al,63
        out dx,al
        mov al,bl
        shl al,2
        add al,bl
        and al,63
        out dx,al
        mov al,bl
        shr al,2
        xor al,63
        out dx,al
        inc bl
        jnz .next
        ret

fill_pattern:
        mov es,[0x602]
        mov cx,[0x604]
        mov bl,[0x606]
        call fill
        jmp done

; CX bytes of ES, pattern BL
fill:
        mov al,0x35
        mul bl
        mov bl,al
        xor di,di
.next:
        mov ax,di
        mov dl,al
        shl al,3
        sub al,dl
        mov dl,ah
        add al,dl
        add al,dl
        add al,dl
        add al,bl
        stosb
        loop .next
        ret

; Character n, attribute 1Eh or 6Eh for odd n
fill_text:
        mov es,[0x602]
        mov cx,[0x604]
        xor di,di
        xor ax,ax
.next:
        mov ah,0x1e
        test al,1
        jz .even
        mov ah,0x6e
.even:
        stosw
        inc al
        loop .next
        jmp done

write_ports:
        mov si,0x700
.next:
        lodsw
        or ax,ax
        jz done
        mov dx,ax
        lodsw
        test dh,0x80
        jnz .word
        test dh,0x40
        jnz .read
        out dx,al
        jmp .next
.word:
        and dh,0x7f
        out dx,ax
        jmp .next
.read:
        and dh,0x3f
        in al,dx
        jmp .next

vbe:
        mov ax,0x4f02
        mov bx,[0x602]
        int 0x10
        mov [0x608],ax
        call colors
        push word 0xa000
        pop es
        xor dx,dx
.bank:
        push dx
        mov ax,0x4f05
        xor bx,bx
        int 0x10
        pop dx
        mov bl,dl
        push dx
        xor cx,cx
        call fill
        pop dx
        inc dx
        cmp dx,[0x604]
        jb .bank
        jmp done

call_bios:
        xor ax,ax
        mov es,ax
        mov ax,[0x602]
        mov bx,[0x604]
        mov cx,[0x606]
        mov dx,[0x608]
        mov di,[0x60a]
        mov bp,[0x60c]
        int 0x10
        mov [0x602],ax
        mov [0x604],bx
        mov [0x606],cx
        mov [0x608],dx
        jmp done

; In real mode with a segment of 4 GiB.
fill_linear:
        cli
        lgdt [flat_table]
        mov eax,cr0
        or al,1
        mov cr0,eax
        jmp .protected
.protected:
        mov bx,8
        mov es,bx
        and al,0xfe
        mov cr0,eax
        jmp .real
.real:
        xor ax,ax
        mov es,ax
        mov edi,[0x602]
        mov ecx,[0x606]
        shr ecx,2
        xor eax,eax
.next:
        a32 stosd
        add eax,0x78dde6c4      ; 4 * 9E3779B1h
        dec ecx
        jnz .next
        sti
        jmp done

        align 4
flat dq 0, 0x00cf92000000ffff
flat_table:
        dw 15
        dd flat

palette db 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,0
