; Port 92h: the A20 gate and the fast reset; beside it the other ways to reset that a board has: the keyboard controller
; and the ISA bridge's port CF9h. RAM survives each reset, and the count in it says which one comes next.
bits 16
KEEP equ 9f00h
main:
    mov ax, KEEP
    mov fs, ax
    cmp dword [fs:0], 5a5a9292h
    je .again
    mov dword [fs:0], 5a5a9292h
    mov dword [fs:4], 0
    mov dword [fs:8], 0
    mov dword [fs:12], 0
.again:
    mov eax, [fs:8]
    mov [checks], eax
    mov eax, [fs:12]
    mov [failures], eax
    inc dword [fs:4]
    mov eax, [fs:4]
    cmp al, 1
    je .gate
    cmp al, 2
    je .fast
    cmp al, 3
    je .keyboard
    cmp al, 4
    je .soft
    cmp al, 5
    je .hard
    mov dword [fs:0], 0
    equal16 'CF9h: hard reset, the keyboard controller was reset', [fs:4], 6
    rd 21h
    cmp al, 5ah
    setne al
    movzx eax, al
    equal16 'the chips were reset', eax, 1
    done
.gate:
    ; the ROM's start has opened the gate: FFFF:0510 is not 0:0500
    rd 92h
    equal16 'the gate is open', eax, 2
    mov ax, 0ffffh
    mov gs, ax
    mov dword [gs:0b010h], 11111111h
    mov dword [0b000h], 22222222h
    equal16 'open: other memory', [gs:0b010h], 11111111h
    wr 92h, 0
    wr 92h, 2
    equal16 'open again', [gs:0b010h], 11111111h
    wr 92h, 0c8h
    rd 92h
    equal16 'lamps and lock read back', eax, 0c8h
    wr 92h, 36h
    rd 92h
    equal16 'other bits are none', eax, 2
    ; bit 0 resets on its way up
    call keep
    wr 92h, 3
    jmp lost
.fast:
    equal16 'port 92h reset the processor', [fs:4], 2
    ; with a shutdown code in CMOS the chips keep their state
    call keep
    wr 70h, 8fh
    wr 71h, 5
    wr 21h, 0a5h
    wr 64h, 0feh
    jmp lost
.keyboard:
    equal16 'the keyboard controller did', [fs:4], 3
    rd 21h
    equal16 'with a shutdown code the chips keep their state', eax, 0a5h
    wr 70h, 8fh
    rd 71h
    equal16 'the code is there', eax, 5
    wr 70h, 8fh
    wr 71h, 0
    call keep
    wr 21h, 0a5h
    wr 64h, 0feh
    jmp lost
.soft:
    rd 21h
    cmp al, 0a5h
    setne al
    movzx eax, al
    equal16 'without one they are reset too', eax, 1
    ; CF9h: bit 2 on its way up
    wr 0cf9h, 2
    rd 0cf9h
    equal16 'CF9h: reads back', eax, 2
    call keep
    wr 21h, 5ah
    wr 0cf9h, 6
    jmp lost
.hard:
    rd 0cf9h
    equal16 'CF9h was reset itself', eax, 0
    call keep
    wr 70h, 8fh
    wr 71h, 5
    wr 21h, 5ah
    wr 0cf9h, 6
lost:
    mov cx, 0ffffh
.wait:
    loop .wait
    mov dword [fs:0], 0
    equal16 'no reset: stage', [fs:4], 0
    done
keep:
    mov eax, [checks]
    mov [fs:8], eax
    mov eax, [failures]
    mov [fs:12], eax
    ret
