
; --- reset -----------------------------------------------------------------------------------------
bits 16
code_end:
    times (code_end > 0a000h) * -1 nop
    org 0ff00h
reset:
    cli
    cld
    mov ax, 0f000h
    mov ds, ax
    xor ax, ax
    mov es, ax
    xor si, si
    xor di, di
    mov cx, 8000h
    rep movsw
    mov al, 2                   ; A20 on
    out 92h, al
    jmp 0:begin
    org 0fff0h
    jmp 0f000h:reset
    org 10000h
