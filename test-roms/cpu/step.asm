; Single step: after which instructions the trap comes, and where it points. The hook writes the
; addresses into a log.
bits 16
%macro stepping 0
    mov dword [log_at], log
    mov dword [hook], note
    push dword 102h
    popfd
%endmacro
; Ends the steps: the POPFD that clears TF is still followed by a trap.
%macro stepped 3                ; text, traps before the PUSH, label of the PUSH
%3: push dword 2
    popfd
%%off:
    mov dword [hook], 0
    mov eax, [log_at]
    sub eax, log
    shr eax, 2
    equal %1, eax, %2 + 2
    equal 'the last trap is behind POPFD', [log + %2 * 4 + 4], %%off
%endmacro
%macro logged 3
    equal %1, [log + %2 * 4], %3
%endmacro
main:
    protected
    stepping
    nop
.a1: mov eax, 1
.a2: jmp short .a3
    nop
.a3: call .sub
.a4: nop
    stepped 'plain, jumps, calls', 6, .a5
    logged 'NOP', 0, .a1
    logged 'MOV', 1, .a2
    logged 'JMP', 2, .a3
    logged 'CALL', 3, .sub
    logged 'RET', 4, .a4
    mov eax, [got_dr6]
    and eax, 0e00fh
    equal 'DR6.BS', eax, 4000h
    mov eax, [first_flags]
    and eax, 10100h
    equal 'TF set, RF clear in the saved flags', eax, 100h
    mov eax, [got_handler_flags]
    and eax, 100h
    equal 'TF clear in the handler', eax, 0
    ; --- the instruction behind a load of SS is not stepped apart
    mov eax, DATA
    stepping
.b0: nop
.b1: mov ss, ax
.b2: nop
.b3: push ss
.b4: pop ss
.b5: nop
    stepped 'MOV SS, POP SS', 4, .b6
    logged 'NOP before', 0, .b1
    logged 'MOV SS and NOP', 1, .b3
    logged 'PUSH SS', 2, .b4
    logged 'POP SS and NOP', 3, .b6
    ; MOV to another segment register is
    mov eax, DATA
    stepping
.c0: mov es, ax
.c1: cli
.c2: nop
    stepped 'MOV ES, CLI', 3, .c3
    logged 'MOV ES', 0, .c1
    logged 'CLI', 1, .c2
    ; --- REP: after each iteration
    mov esi, 0b000h
    mov edi, 0b100h
    mov ecx, 3
    stepping
.d0: rep movsb
.d1: nop
    stepped 'REP MOVSB', 4, .d2
    logged 'iteration 1', 0, .d0
    logged 'iteration 2', 1, .d0
    logged 'iteration 3', 2, .d1
    logged 'then NOP', 3, .d2
    xor ecx, ecx
    stepping
.d3: rep movsb
.d4: nop
    stepped 'REP MOVSB with ECX 0', 2, .d5
    logged 'once', 0, .d4
    ; --- INT clears TF, IRET restores it: the trap comes after the instruction behind
    setgate idt + 81h * 8, CODE, .handler, 8eh, 0
    stepping
.e0: nop
.e1: int 81h
.e2: nop
.e3: nop
    stepped 'INT', 3, .e4
    logged 'NOP', 0, .e1
    logged 'the instruction behind INT', 1, .e3
    logged 'NOP', 2, .e4
    restore_idt 81h
    ; --- faults inside: the handler mends, the instruction is repeated, one trap
    stepping
.f0: nop
.f1: ud2
.f2: nop
    stepped 'a fault that the handler steps over', 2, .f3
    logged 'NOP', 0, .f1
    logged 'behind the faulting instruction', 1, .f3
    ; --- POPFD that sets TF has no trap of its own
    mov dword [log_at], log
    mov dword [hook], note
    push dword 102h
.g0: popfd
.g1: nop
    stepped 'POPFD that sets TF', 1, .g2
    logged 'first trap behind the instruction after it', 0, .g2
    ; --- PUSHFD shows TF
    stepping
    pushfd
    pop eax
    mov [seen], eax
    stepped 'PUSHFD', 3, .h2
    mov eax, [seen]
    and eax, 100h
    equal 'TF in pushed flags', eax, 100h
    ; --- IN and OUT
    stepping
    out 80h, al
.i1: in al, 80h
    stepped 'OUT and IN', 2, .i2
    logged 'OUT', 0, .i1
    logged 'IN', 1, .i2
    ; --- ring 3
    mov dword [hook], note
    mov dword [log_at], log
    mov dword [user_flags], 102h
    try .ring3_end
    go_user .j0
.j0: nop
.j1: nop
    int 80h
.ring3_end: expect 'ring 3', NONE, ANY, ANY
    equal 'NOP', [log], .j1
    ; --- V86
    mov dword [hook], note
    mov dword [log_at], log
    mov dword [user_flags], 3102h
    try .v86_end
    go_v86 .k0
bits 16
.k0: nop
.k1: mov ax, 0b00h
.k2: mov ss, ax
.k3: mov sp, 100h
.k4: nop
.k5: int 80h
bits 32
.v86_end: expect 'V86', NONE, ANY, ANY
    equal 'V86: NOP', [log], .k1
    equal 'V86: MOV AX', [log + 4], .k2
    equal 'V86: MOV SS and MOV SP', [log + 8], .k4
    equal 'V86: NOP', [log + 12], .k5
    jmp finish
.sub: ret
.handler: iretd
; Logs #DB; steps over UD2.
note:
    cmp dword [got_vector], UD
    jne .debug
    add dword [esi], 2
    clc
    ret
.debug:
    cmp dword [got_vector], DBG
    jne .other
    mov edi, [log_at]
    cmp edi, log
    jne .later
    mov eax, [esi + 8]
    mov [first_flags], eax
.later:
    mov eax, [esi]
    mov [edi], eax
    add dword [log_at], 4
    clc
    ret
.other:
    stc
    ret
log_at dd 0
first_flags dd 0
seen dd 0
log: times 64 dd 0
