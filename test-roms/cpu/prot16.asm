; 16-bit protected mode: exceptions through 32-bit gates, mixed operand sizes, 16-bit stacks.
bits 16
main:
    protected
    pfault1 'AAM 0', DE, NOERR, aam 0
    pfault1 'UD2', UD, NOERR, ud2
    pfault1 'JMP FAR null', GP, 0, jmp 0:0
    pfault1 'JMP FAR data', GP, DATA, jmp DATA:0
    setdesc T0, 0b000h, 0ffh, 93h, 0
    mov ax, T0
    mov fs, ax
    pfault2 'byte beyond the limit', GP, 0, mov al, [fs:100h]
    pfault2 'word across the limit', GP, 0, mov ax, [fs:0ffh]
    ; the code segment ends at FFFF
    try .jump
    jmp dword CODE16:.jump_go
bits 16
.jump_go:
    mov eax, 12345h
.jump_at: jmp eax
bits 32
.jump: expect 'JMP beyond FFFF', GP, 0, .jump_at
    ; 16-bit stack: only SP moves
    try .stack
    mov ax, DATA16
    mov ss, ax
    mov esp, 7777e000h
    jmp dword CODE16:.stack_go
bits 16
.stack_go:
    push ax
    mov [seen], esp
    push eax
    mov [seen + 4], esp
    call .sub16
    mov [seen + 8], esp
    xor sp, sp
    push word 5
    mov [seen + 12], esp
    mov esp, STACK
    int 80h
.sub16: ret
bits 32
.stack: expect '16-bit stack', NONE, ANY, ANY
    equal 'PUSH AX', [seen], 7777dffeh
    equal 'PUSH EAX', [seen + 4], 7777dffah
    equal 'CALL and RET', [seen + 8], 7777dffah
    equal 'SP wraps', [seen + 12], 7777fffeh
    ; 32-bit operands in 16-bit code
    try .mixed
    jmp dword CODE16:.mixed_go
bits 16
.mixed_go:
    push dword 12345678h
    pop eax
    mov [seen], eax
    o32 call .sub32
    mov [seen + 4], esp
    pushfd
    push dword CODE
    push dword .mixed_32
    iretd
.sub32: o32 ret
bits 32
.mixed_32:
    int 80h
.mixed: expect '32-bit operands in 16-bit code', NONE, ANY, ANY
    equal 'PUSH and POP', [seen], 12345678h
    equal 'CALL and RET', [seen + 4], STACK
    ; ring 3 in 16 bits
    try .user
    push dword DATA16_3
    push dword USER_STACK
    push dword 2
    push dword CODE16_3
    push dword .user_go
    jmp to_user
bits 16
.user_go:
    push ax
    int 80h
bits 32
.user: expect 'ring 3, 16 bit', NONE, ANY, ANY
    equal 'CS', [got_cs], CODE16_3
    equal 'SP', [got_esp], USER_STACK - 2
    try .user_hlt
    push dword DATA16_3
    push dword USER_STACK
    push dword 2
    push dword CODE16_3
    push dword .user_hlt_at
    jmp to_user
bits 16
.user_hlt_at: hlt
bits 32
.user_hlt: expect 'ring 3, 16 bit, HLT', GP, 0, .user_hlt_at
    ; RETF and IRET of 16 bits from 32-bit code
    try .retf16
    push word CODE16
    push word .retf16_to
    o16 retf
bits 16
.retf16_to:
    push word 2
    push word CODE16
    push word .iret16_to
    iretw
.iret16_to:
    int 80h
bits 32
.retf16: expect '16-bit RETF and IRET', NONE, ANY, ANY
    ; LOOP and JCXZ by address size
    try .loop
    jmp dword CODE16:.loop_go
bits 16
.loop_go:
    mov ecx, 10001h
    dec cx
    mov [seen], ecx
    sgdt [seen + 8]
    smsw ax
    int 80h
bits 32
.loop: expect '16-bit registers', NONE, ANY, ANY
    equal 'the upper half of ECX stays', [seen], 10000h
    jmp finish
seen: times 8 dd 0
