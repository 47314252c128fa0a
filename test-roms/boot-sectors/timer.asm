; INT 8 hooked and passed on; the timer at another rate with a handler of our own; INT 1Ah: ticks and clock.
count   equ 610h
old     equ 612h
main:   mov ax, 3
        int 10h
        mov si, counting
        call print
        mov eax, [20h]
        mov [old], eax
        mov word [count], 0
        mov ah, 0
        int 1ah
        push dx
        cli
        mov word [20h], passes_on
        mov [22h], cs
        sti
.wait:  hlt
        cmp word [count], 18
        jb .wait
        mov ah, 0
        int 1ah
        pop ax
        sub dx, ax
        mov ax, dx              ; as many ticks as interrupts
        call print_word
        mov ax, [count]
        call print_word
        ; 1193182 / 1193: 1000 Hz
        cli
        mov word [20h], counts
        mov al, 34h
        out 43h, al
        mov ax, 1193
        out 40h, al
        mov al, ah
        out 40h, al
        sti
        call second
        mov word [count], 0
        call second
        mov ax, [count]
        push ax
        cli
        mov al, 36h             ; as it was
        out 43h, al
        xor al, al
        out 40h, al
        out 40h, al
        mov eax, [old]
        mov [20h], eax
        sti
        pop ax
        mov si, right
        sub ax, 999
        cmp ax, 2
        jbe .show
        mov si, wrong
.show:  call print
        jmp finish
; Until the clock shows another second
second: call .look
        mov bl, dh
.again: call .look
        cmp dh, bl
        je .again
        ret
.look:  push bx
        mov ah, 2
        int 1ah
        pop bx
        ret
passes_on:
        inc word [cs:count]
        jmp far [cs:old]
counts: push ax
        inc word [cs:count]
        mov al, 20h
        out 20h, al
        pop ax
        iret
counting db 'Ticks: ', 0
right   db 13, 10, '1000 interrupts in a second', 0
wrong   db 13, 10, 'another number of interrupts in a second', 0
