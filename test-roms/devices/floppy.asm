; 82077AA without a disk: reset, result phases, version, specify, sense, errors.
bits 16
main:
    controllers 0bfh, 0ffh
    vector 26h, handler
    wr 3f2h, 0
    wr 3f2h, 0ch
    sti
    hlt
    cli
    equal16 'reset interrupts', [count], 1
    rd 3f4h
    and al, 0d0h
    equal16 'it waits for a command', eax, 80h
    ; four drives want to be sensed
    xor esi, esi
.sense:
    send 8
    call get
    mov [seen + si], al
    call get
    inc si
    cmp si, 4
    jb .sense
    equal16 'sense after reset: all four drives', [seen], 0c3c2c1c0h
    send 8
    call get
    equal16 'nothing more to sense', eax, 80h
    send 10h
    call get
    equal16 'version', eax, 90h
    ; no such command
    send 1fh
    call get
    equal16 'no such command', eax, 80h
    ; specify, configure, dump
    send 3
    send 0d1h
    send 0ah
    send 13h
    send 0
    send 57h
    send 3
    send 0eh
    xor si, si
.dump:
    call get
    mov [seen + si], al
    inc si
    cmp si, 10
    jb .dump
    equal16 'dump: step rate, load time', [seen + 4], 00000ad1h
    mov eax, [seen + 8]
    and eax, 0ff7fh
    equal16 'dump: configuration', eax, 357h
    rd 3f4h
    and al, 0d0h
    equal16 'idle again', eax, 80h
    ; the lock
    send 94h
    call get
    equal16 'lock', eax, 10h
    send 14h
    call get
    equal16 'unlock', eax, 0
    done
    floppy_routines
align 4, 0
seen: times 4 dd 0
