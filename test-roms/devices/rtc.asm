; MC146818A: memory, time in BCD, end of a century's last day, periodic and update interrupts.
bits 16
%macro cmos 1
    indexed 70h, 71h, %1
%endmacro
%macro set 2
    wr 70h, %1
    wr 71h, %2
%endmacro
main:
    cmos 0dh
    and al, 80h
    equal16 'register D: memory is valid', eax, 80h
    set 60h, 5ah
    set 7fh, 0a5h
    cmos 60h
    equal16 'memory', eax, 5ah
    cmos 7fh
    equal16 'the last byte of the first bank', eax, 0a5h
    wr 72h, 0ffh
    wr 73h, 3ch
    wr 72h, 0ffh
    rd 73h
    equal16 'the second bank', eax, 3ch
    cmos 7fh
    equal16 'the banks are two', eax, 0a5h
    ; 31 December 1999, 23:59:58, a Friday
    set 0ah, 26h
    set 0bh, 82h                ; SET, 24 hours, BCD
    set 0, 58h
    set 2, 59h
    set 4, 23h
    set 6, 6
    set 7, 31h
    set 8, 12h
    set 9, 99h
    set 32h, 19h                ; the century's byte
    set 0bh, 12h                ; runs, with the update interrupt
    cmos 0ch
    controllers 0fbh, 0feh
    vector 28h, handler
    call wait_update
    call wait_update
    call wait_update
    equal16 'three updates', [count], 3
    mov eax, [flags]
    and eax, 90h
    equal16 'each told by flags IRQ and UF', eax, 90h
    cmos 0
    equal16 'second', eax, 1
    cmos 2
    equal16 'minute', eax, 0
    cmos 4
    equal16 'hour', eax, 0
    cmos 6
    equal16 'Saturday', eax, 7
    cmos 7
    equal16 'day', eax, 1
    cmos 8
    equal16 'month', eax, 1
    cmos 9
    equal16 'year', eax, 0
    ; 29 February 2000 comes
    set 0bh, 82h
    set 0, 59h
    set 2, 59h
    set 4, 23h
    set 7, 28h
    set 8, 2
    set 0bh, 12h
    cmos 0ch
    call wait_update
    cmos 7
    equal16 '2000 is a leap year', eax, 29h
    ; binary, 12 hours
    set 0bh, 84h
    set 4, 8ch                  ; 12 PM
    set 0, 59
    set 2, 59
    set 0bh, 14h
    cmos 0ch
    call wait_update
    cmos 4
    equal16 'noon and an hour', eax, 81h
    ; the periodic interrupt: 1024 a second
    set 0bh, 42h
    cmos 0ch
    mov dword [count], 0
    set 0ah, 26h
    sti
    mov cx, 8
.tick:
    hlt
    loop .tick
    cli
    equal16 'periodic: eight', [count], 8
    mov eax, [flags]
    and eax, 0c0h
    equal16 'flags IRQ and PF', eax, 0c0h
    set 0bh, 2
    cmos 0ch
    cmos 0ch
    equal16 'register C is cleared by a read', eax, 0
    done
wait_update:
    sti
    hlt
    cli
    ret
handler:
    handles
    mov al, 0ch
    out 70h, al
    in al, 71h
    mov [flags], al
    handled 2
align 4, 0
flags dd 0
