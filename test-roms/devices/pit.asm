; 8254: access by one and two bytes, latches, read-back, BCD, the modes as counter 2's output shows them.
bits 16
main:
    rd 61h
    and al, 0fch
    or al, 1                    ; gate 2 on, speaker off
    out 61h, al
    ; low byte only, mode 3 of counter 2; the read-back status has what was written
    wr 43h, 96h
    wr 42h, 40h
    wr 43h, 0e8h                ; status of counter 2
    rd 42h
    and al, 3fh
    equal16 'status: low byte, mode 3', eax, 16h
    wr 43h, 0b0h                ; both bytes, mode 0
    wr 43h, 0e8h
    rd 42h
    and al, 7fh
    equal16 'status: no count yet', eax, 70h
    wr 42h, 0ffh
    wr 42h, 0ffh
    call output
    equal16 'mode 0: low while it counts', eax, 0
    ; a latched count stays; the first comes with the first period
    mov cx, 1000
.begun:
    loop .begun
    wr 43h, 80h
    mov cx, 3000
.wait:
    loop .wait
    call count2
    mov [seen], eax
    call count2
    mov [seen + 4], eax
    mov ebx, [seen]
    sub ebx, [seen + 4]
    mov [seen + 8], ebx
    mov eax, [seen]
    shr eax, 15
    equal16 'the latched count is an old one', eax, 1
    mov eax, [seen + 8]
    cmp eax, 5
    mov eax, 0
    setnb al
    equal16 'the next one is newer', eax, 1
    ; a short count ends: output high
    wr 43h, 0b0h
    wr 42h, 50
    wr 42h, 0
    call until_high
    equal16 'mode 0: high at the end', eax, 20h
    ; the gate stops it
    rd 61h
    and al, 0feh
    out 61h, al
    wr 43h, 0b0h
    wr 42h, 50
    wr 42h, 0
    mov cx, 20000
.stopped:
    loop .stopped
    call output
    equal16 'mode 0: waits for the gate', eax, 0
    ; mode 1: the gate's edge starts it
    wr 43h, 0b2h
    wr 42h, 0
    wr 42h, 2
    call output
    equal16 'mode 1: high before', eax, 20h
    rd 61h
    or al, 1
    out 61h, al
    mov cx, 1000
.little:
    loop .little
    call output
    equal16 'mode 1: low after the edge', eax, 0
    call until_high
    equal16 'mode 1: high again', eax, 20h
    ; BCD: 10 is 9 periods before 1
    wr 43h, 0b1h
    wr 42h, 0
    wr 42h, 10h                 ; 1000
    mov cx, 300
.bcd:
    loop .bcd
    wr 43h, 80h
    call count2
    mov [seen], eax
    ; each digit is a decimal one
    xor ebx, ebx
    mov cx, 4
.digit:
    mov dl, al
    and dl, 0fh
    cmp dl, 10
    adc ebx, 0
    shr eax, 4
    loop .digit
    equal16 'BCD: four decimal digits', ebx, 4
    mov eax, [seen]
    cmp eax, 1000h
    mov eax, 0
    setb al
    equal16 'BCD: it counts down', eax, 1
    ; counters 0 and 2 latched by one command
    wr 43h, 34h
    wr 40h, 0
    wr 40h, 0
    wr 43h, 0b4h
    wr 42h, 0
    wr 42h, 0
    mov cx, 1000
.first:
    loop .first
    wr 43h, 0dah
    mov cx, 60000
.both:
    loop .both
    xor eax, eax
    in al, 40h
    in al, 40h
    shl eax, 8
    in al, 42h
    in al, 42h
    mov [seen], eax
    shr eax, 12
    and eax, 0fh
    equal16 'read-back: counter 0 was latched', eax, 0fh
    mov eax, [seen]
    and eax, 0f0h
    equal16 'read-back: counter 2 was latched', eax, 0f0h
    done
; EAX = bit 5 of port 61h
output:
    rd 61h
    and eax, 20h
    ret
until_high:
    mov cx, 0ffffh
.again:
    in al, 61h
    test al, 20h
    jnz output
    loop .again
    jmp output
; EAX = the count of counter 2
count2:
    xor eax, eax
    xor ebx, ebx
    in al, 42h
    mov bl, al
    in al, 42h
    mov bh, al
    mov eax, ebx
    ret
align 4, 0
seen: times 4 dd 0
