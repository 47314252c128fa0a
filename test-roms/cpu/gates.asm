; Call gates of 16 and 32 bits with parameters, interrupt and trap gates, returns.
bits 16
main:
    protected
    ; --- same ring, 32-bit gate
    setgate gdt + T0, CODE, .target, 8ch, 0
    try .same
    call dword T0:0ffffffh
.same_next:
    int 80h
.target:
    mov eax, [esp]
    mov [seen_eip], eax
    mov eax, [esp + 4]
    mov [seen_cs], eax
    int 80h
.same: expect 'CALL through a gate, same ring', NONE, ANY, ANY
    equal 'return EIP', [seen_eip], .same_next
    equal 'return CS', [seen_cs], CODE
    ; --- to ring 0 from ring 3 with 3 parameters
    setgate gdt + T0, CODE, .inner, 0ech, 3
    try .params
    go_user .params_go
.params_go:
    push dword 11111111h
    push dword 22222222h
    push dword 33333333h
    call dword T0+3:0
.params_next:
    int 80h
.inner:
    mov ecx, 9
    mov esi, esp
    mov edi, seen
    mov [ss:seen_esp], esp
    cld
    mov ax, DATA
    mov es, ax
    db 36h
    rep movsd
    retf 12
.params: expect 'CALL to ring 0 and RETF 12', NONE, ANY, .params_next + 2
    equal 'inner ESP', [seen_esp], INNER_STACK - 28
    equal 'EIP', [seen], .params_next
    equal 'CS', [seen + 4], CODE3
    equal 'parameter 3', [seen + 8], 33333333h
    equal 'parameter 2', [seen + 12], 22222222h
    equal 'parameter 1', [seen + 16], 11111111h
    equal 'ESP', [seen + 20], USER_STACK - 12
    equal 'SS', [seen + 24], DATA3
    equal 'ESP after the return', [got_esp], USER_STACK
    equal 'ring 3 again', [got_cs], CODE3
    ; --- 16-bit gate with 2 parameters
    setgate gdt + T0, CODE, .inner16, 0e4h, 2
    try .params16
    go_user .params16_go
.params16_go:
    push dword 0
    push word 1111h
    push word 2222h
    call dword T0+3:0
.params16_next:
    int 80h
.inner16:
    mov [ss:seen_esp], esp
    mov eax, [esp]
    mov [ss:seen], eax
    mov eax, [esp + 4]
    mov [ss:seen + 4], eax
    mov eax, [esp + 8]
    mov [ss:seen + 8], eax
    o16 retf 4
.params16: expect 'CALL through a 16-bit gate, RETF of 16 bits', NONE, ANY, .params16_next + 2
    equal 'inner ESP', [seen_esp], INNER_STACK - 12
    equal 'CS:IP', [seen], (CODE3 << 16) + .params16_next
    equal 'parameters', [seen + 4], 11112222h
    equal 'SS:SP', [seen + 8], (DATA3 << 16) + USER_STACK - 8
    equal 'SP after the return', [got_esp], USER_STACK - 4
    ; --- JMP through a gate
    setgate gdt + T0, CODE, .jumped, 8ch, 0
    try .jmp
    jmp dword T0:0
.jumped:
    int 80h
.jmp: expect 'JMP through a gate', NONE, ANY, .jumped + 2
    setgate gdt + T0, CODE, .jumped, 0ech, 0
    try .jmp3
    go_user .jmp3_at
.jmp3_at: jmp dword T0+3:0
    int 80h
.jmp3: expect 'JMP through a gate to ring 0', GP, CODE, .jmp3_at
    ; --- what is wrong with a gate
    setgate gdt + T0, CODE, .jumped, 8ch, 0
    try .dpl
    go_user .dpl_at
.dpl_at: call dword T0:0
    int 80h
.dpl: expect 'gate of DPL 0 from ring 3', GP, T0, .dpl_at
    fault1 'gate of DPL 0 with RPL 3', GP, T0, call dword T0+3:0
    setgate gdt + T0, CODE, .jumped, 0ch, 0
    fault1 'gate not present', NP, T0, call dword T0:0
    setgate gdt + T0, 0, .jumped, 8ch, 0
    fault1 'gate to null', GP, 0, call dword T0:0
    setgate gdt + T0, DATA, .jumped, 8ch, 0
    fault1 'gate to data', GP, DATA, call dword T0:0
    setgate gdt + T0, 0fff8h, .jumped, 8ch, 0
    fault1 'gate beyond the GDT', GP, 0fff8h, call dword T0:0
    setgate gdt + T0, CODE3, .jumped, 8ch, 0
    fault1 'gate to ring 3', GP, CODE3 - 3, call dword T0:0
    setdesc T1, 0, 0fffffh, 1bh, 0ch
    setgate gdt + T0, T1, .jumped, 8ch, 0
    fault1 'gate to a segment not present', NP, T1, call dword T0:0
    setdesc T1, 0, 0fh, 9bh, 4
    fault1 'gate beyond the limit', GP, 0, call dword T0:0
    setgate gdt + T0, CODE + 3, .jumped, 8ch, 0
    try .rpl
    call dword T0:0
    int 80h
.rpl: expect 'the RPL in a gate does not matter', NONE, ANY, .jumped + 2
    setgate gdt + T0, CODE, .jumped, 8eh, 0
    fault1 'interrupt gate in the GDT', GP, T0, call dword T0:0
    setdesc T0, 0, 0ffffh, 82h, 0
    fault1 'LDT as a target', GP, T0, jmp dword T0:0
    ; --- the stack in the TSS
    setdesc T2, 0, 0fffffh, 0bbh, 0ch
    setgate gdt + T0, T2 + 1, .jumped, 0ech, 0
%macro bad_stack 3
    mov dword [main_tss + 12], INNER_STACK
    mov dword [main_tss + 16], %2
    try %%done
    go_user %%at
%%at: call dword T0+3:0
    int 80h
%%done: expect %1, %3, %2 & 0fffch, %%at
%endmacro
    bad_stack 'SS1 null', 0, TS
    bad_stack 'SS1 with RPL 0', T3, TS
    bad_stack 'SS1 of ring 0', DATA + 1, TS
    bad_stack 'SS1 beyond the GDT', 0fff9h, TS
    setdesc T3, 0, 0fffffh, 0b1h, 0ch
    bad_stack 'SS1 read-only', T3 + 1, TS
    setdesc T3, 0, 0fffffh, 033h, 0ch
    bad_stack 'SS1 not present', T3 + 1, SS_
    setdesc T3, 0, 0fh, 0b3h, 4
    bad_stack 'SS1 too small', T3 + 1, SS_
    ; --- conforming code through a gate: no stack switch
    setdesc T1, 0, 0fffffh, 9fh, 0ch
    setgate gdt + T0, T1, .conforming_in, 0ech, 2
    try .conforming
    go_user .conforming_go
.conforming_go:
    call dword T0+3:0
.conforming_next:
    int 80h
.conforming_in:
    int 80h
.conforming: expect 'CALL through a gate to conforming code', NONE, ANY, .conforming_in + 2
    equal 'CS keeps CPL 3', [got_cs], T1 + 3
    equal 'no parameters are copied', [got_esp], USER_STACK - 8
    ; --- interrupt and trap gates: IF
    mov dword [hook], .note_if
    mov byte [idt + 81h * 8 + 5], 0eeh
    mov byte [idt + 82h * 8 + 5], 0efh
    try .if1
    sti
    int 81h
    cli
    int 80h
.if1: expect 'interrupt gate', 81h, NOERR, ANY
    mov eax, [got_handler_flags]
    and eax, 200h
    equal 'IF clear in an interrupt gate', eax, 0
    try .if2
    sti
    int 82h
    cli
    int 80h
.if2: expect 'trap gate', 82h, NOERR, ANY
    cli
    mov eax, [got_handler_flags]
    and eax, 200h
    equal 'IF set in a trap gate', eax, 200h
    mov eax, [got_eflags]
    and eax, 200h
    equal 'IF in the saved flags', eax, 200h
    mov dword [hook], 0
    restore_idt 81h
    restore_idt 82h
    ; NT, TF, RF and VM are cleared in the handler
    try .nt
    push dword 4002h
    popfd
    int 81h
.nt: expect 'INT with NT', 81h, NOERR, ANY
    mov eax, [got_handler_flags]
    and eax, 4000h
    equal 'NT clear in the handler', eax, 0
    mov eax, [got_eflags]
    and eax, 4000h
    equal 'NT in the saved flags', eax, 4000h
    ; --- 16-bit interrupt gate: 16-bit frame
    setgate idt + 81h * 8, CODE, .gate16, 86h, 0
    try .int16
    mov dword [esp - 8], 0
    int 81h
.int16_next:
    mov dword [seen + 12], 0feedh
    int 80h
.gate16:
    mov [seen_esp], esp
    mov eax, [esp]
    mov [seen], eax
    movzx eax, word [esp + 4]
    mov [seen + 4], eax
    iretw
.int16: expect '16-bit interrupt gate and IRET', NONE, ANY, ANY
    equal 'CS:IP of 16 bits', [seen], (CODE << 16) + .int16_next
    mov eax, STACK - 6
    sub eax, [seen_esp]
    equal 'six bytes', eax, 0
    equal 'returned', [seen + 12], 0feedh
    restore_idt 81h
    ; --- error codes through a 16-bit gate
    setgate idt + GP * 8, CODE, .gp16, 86h, 0
    try .err16
    mov ax, DATA + 3
    mov es, ax
    int 80h
.gp16:
    movzx eax, word [esp]
    mov [seen], eax
    mov [seen_esp], esp
    restore_idt GP
    int 80h
.err16: expect '#GP through a 16-bit gate', NONE, ANY, ANY
    equal 'error code of 16 bits', [seen], DATA
    mov eax, STACK - 8
    sub eax, [seen_esp]
    equal 'eight bytes', eax, 0
    ; --- interrupt to ring 3 conforming? from ring 3 into conforming code: CPL stays
    setgate idt + 81h * 8, T1, .conf_int, 0eeh, 0
    try .conf
    go_user .conf_go
.conf_go:
    int 81h
.conf_int:
    int 80h
.conf: expect 'INT to conforming code', NONE, ANY, .conf_int + 2
    equal 'CPL stays 3', [got_cs], T1 + 3
    equal 'frame on the same stack', [got_esp], USER_STACK - 12
    restore_idt 81h
    jmp finish
.note_if:
    stc
    ret
seen_eip dd 0
seen_cs dd 0
seen_esp dd 0
seen: times 16 dd 0
