; A guest for tests of front ends. It shows each character that is typed, and for each change of
; the mouse's buttons where the absolute pointer is: `[xxxx yyyy bb]`, in hexadecimal. Everything
; goes to the debug console as well. Escape ends the run with success, F1 draws colours in a
; graphics mode, F2 a coloured line of text. F3 changes to the PS/2 mouse: then changes of the
; buttons show how far it has moved since the last, `(xxxx yyyy bb)`, up and right being positive.
; F4 shows the first eight bytes of the floppy in drive A, F5 those of the disc in the CD-ROM drive.

MAGIC       equ 0x564d5868
PORT        equ 0x5658
SECTOR      equ 0x9000

start:
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    call text_mode
    ; The pointer: on, its greeting read, absolute.
    mov ebx, 0x45414552
    mov cx, 41
    call backdoor
    mov ebx, 1
    mov cx, 39
    call backdoor
    mov ebx, 0x53424152
    mov cx, 41
    call backdoor
    mov si, ready
.greet:
    lodsb
    test al, al
    jz main
    call put
    jmp .greet

main:
    hlt
keys:
    mov ah, 1
    int 0x16
    jz .mouse
    mov ah, 0
    int 0x16
    cmp ah, 0x01
    je leave
    cmp ah, 0x3b
    je graphics
    cmp ah, 0x3c
    je colours
    cmp ah, 0x3d
    je relative
    cmp ah, 0x3e
    je floppy
    cmp ah, 0x3f
    je disc
    call put
    jmp keys
.mouse:
    cmp byte [is_relative], 0
    jne packets
    mov cx, 40
    call backdoor
    cmp ax, 4
    jb main
    mov ebx, 4
    mov cx, 39
    call backdoor
    cmp al, [buttons]
    je .mouse
    mov [buttons], al
    push ax
    push cx
    push bx
    mov al, '['
    call put
    pop ax
    call word_out
    mov al, ' '
    call put
    pop ax
    call word_out
    mov al, ' '
    call put
    pop ax
    call byte_out
    mov al, ']'
    call put
    jmp .mouse

; Leaves the absolute pointer and takes the mouse's bytes without interrupts.
relative:
    mov ebx, 0x4c455252
    mov cx, 41
    call backdoor
    mov byte [is_relative], 1
    in al, 0xa1
    or al, 0x10
    out 0xa1, al
    ; A tick each millisecond: a packet must be fetched before the next can be made.
    mov al, 0x34
    out 0x43, al
    mov al, 0xa9
    out 0x40, al
    mov al, 0x04
    out 0x40, al
    cli
    mov al, 0xa8
    out 0x64, al
    mov al, 0xd4
    out 0x64, al
.full:
    in al, 0x64
    test al, 2
    jnz .full
    mov al, 0xf4
    out 0x60, al
    ; The release of F3 may come before the mouse's answer, and waits for nobody.
.wait:
    in al, 0x64
    test al, 1
    jz .wait
    mov ah, al
    in al, 0x60
    test ah, 0x20
    jz .wait
    sti
    mov al, '~'
    call put
    jmp main
packets:
    cli
    in al, 0x64
    and al, 0x21
    cmp al, 0x21
    jne .none
    in al, 0x60
    sti
    mov bl, [received]
    mov bh, 0
    mov [packet + bx], al
    inc byte [received]
    cmp byte [received], 3
    jb packets
    mov byte [received], 0
    ; Nine bits each: the sign is in the first byte.
    mov ah, 0
    mov al, [packet + 1]
    test byte [packet], 0x10
    jz .right
    mov ah, 0xff
.right:
    add [sum_x], ax
    mov ah, 0
    mov al, [packet + 2]
    test byte [packet], 0x20
    jz .up
    mov ah, 0xff
.up:
    add [sum_y], ax
    mov al, [packet]
    and al, 7
    cmp al, [buttons]
    je packets
    mov [buttons], al
    mov al, '('
    call put
    mov ax, [sum_x]
    call word_out
    mov al, ' '
    call put
    mov ax, [sum_y]
    call word_out
    mov al, ' '
    call put
    mov al, [buttons]
    call byte_out
    mov al, ')'
    call put
    mov word [sum_x], 0
    mov word [sum_y], 0
    jmp packets
.none:
    sti
    jmp main

; A drive says once that its medium is another.
floppy:
    mov byte [tries], 5
.again:
    push ds
    pop es
    mov ax, 0x0201
    mov cx, 1
    xor dx, dx
    mov bx, SECTOR
    int 0x13
    jnc contents
    mov ah, 0
    xor dx, dx
    int 0x13
    dec byte [tries]
    jnz .again
failed:
    mov al, '!'
    call put
    jmp keys
contents:
    mov si, SECTOR
    mov cx, 8
.next:
    lodsb
    call put
    loop .next
    jmp keys
; READ (10) of one sector, as a packet to the master of the second channel, without interrupts.
disc:
    mov byte [tries], 20
    mov dx, 0x376
    mov al, 2
    out dx, al
.again:
    mov dx, 0x176
    mov al, 0xa0
    out dx, al
    call .ready
    mov dx, 0x171
    mov al, 0
    out dx, al
    mov dx, 0x174
    out dx, al
    inc dx
    mov al, 8
    out dx, al
    mov dx, 0x177
    mov al, 0xa0
    out dx, al
    call .ready
    mov dx, 0x170
    mov si, read10
    mov cx, 6
.word:
    lodsw
    out dx, ax
    loop .word
    call .ready
    and al, 9
    cmp al, 8
    je .data
    hlt
    dec byte [tries]
    jnz .again
    jmp failed
.data:
    push ds
    pop es
    mov dx, 0x170
    mov di, SECTOR
    mov cx, 1024
.in:
    in ax, dx
    stosw
    loop .in
    jmp contents
.ready:
    mov dx, 0x177
    in al, dx
    test al, 0x80
    jnz .ready
    ret

leave:
    mov al, 0x10
    out 0xf4, al
    hlt

text_mode:
    mov ax, 0x0003
    int 0x10
    ; No cursor: it would blink in pictures.
    mov ah, 1
    mov cx, 0x2000
    int 0x10
    ret

; Attribute bytes 0 to 7Fh under a letter, on the second line and the next.
colours:
    mov ax, 0xb800
    mov es, ax
    mov di, 160
    xor cx, cx
.next:
    mov al, 'x'
    mov ah, cl
    stosw
    inc cl
    cmp cl, 0x80
    jb .next
    jmp main

; 320 by 200 with 256 colours: all of them in columns.
graphics:
    mov ax, 0x0013
    int 0x10
    mov ax, 0xa000
    mov es, ax
    xor di, di
.next:
    mov ax, di
    xor dx, dx
    mov bx, 320
    div bx
    mov al, dl
    stosb
    cmp di, 64000
    jb .next
    mov al, 'G'
    out 0xe9, al
    jmp main

; AL on the screen and the debug console.
put:
    out 0xe9, al
    pusha
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    popa
    ret
word_out:
    push ax
    mov al, ah
    call byte_out
    pop ax
byte_out:
    push ax
    shr al, 4
    call digit
    pop ax
digit:
    push ax
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe .out
    add al, 'a' - '9' - 1
.out:
    call put
    pop ax
    ret

; Command CX with EBX.
backdoor:
    mov eax, MAGIC
    mov dx, PORT
    in eax, dx
    ret

read10: db 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0
tries: db 0
ready: db 'READY ', 0
buttons: db 0
is_relative: db 0
received: db 0
packet: db 0, 0, 0
sum_x: dw 0
sum_y: dw 0
