; Notes on counter 2 of the timer, and their frequency counted at port 61h against the ticks of the BIOS.
tick    equ 46ch
main:   mov ax, 3
        int 10h
        mov si, notes
.note:  mov al, 0b6h            ; counter 2, square wave
        out 43h, al
        lodsw
        test ax, ax
        jz .end
        out 42h, al
        mov al, ah
        out 42h, al
        in al, 61h
        or al, 3                ; gate and speaker
        out 61h, al
        call until_tick
        xor cx, cx
        mov bx, [tick]
.high:  in al, 61h
        test al, 20h
        jnz .low
        cmp bx, [tick]
        je .high
        jmp .over
.low:   inc cx
.still: cmp bx, [tick]
        jne .over
        in al, 61h
        test al, 20h
        jnz .still
        jmp .high
.over:  in al, 61h
        and al, 0fch
        out 61h, al
        ; Periods in a tick: as expected, or one more for the parts at both ends.
        lodsw
        mov dx, cx
        sub dx, ax
        mov ax, cx
        call print_word
        push si
        mov si, good
        cmp dx, 1
        jbe .say
        mov si, bad
.say:   call print
        pop si
        jmp .note
.end:   jmp finish
until_tick:
        mov bx, [tick]
.wait:  hlt
        cmp bx, [tick]
        je .wait
        ret
; Divisor, and 65536 / divisor: periods in a tick
notes   dw 2712, 24             ; A, 440 Hz
        dw 2154, 30             ; C sharp
        dw 1810, 36             ; E
        dw 1356, 48             ; A
        dw 0
good    db 'in tune', 13, 10, 0
bad     db 'out of tune', 13, 10, 0
