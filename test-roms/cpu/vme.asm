; Virtual-8086 mode extensions (CR4.VME) and protected-mode virtual interrupts (CR4.PVI).
bits 16
main:
    protected
    mov eax, cr4
    or eax, 3
    mov cr4, eax
    ; TSS with redirection bitmap (32 bytes before the I/O map): INT 81h and 84h redirected
    ; (bit clear), all others not.
    mov word [main_tss + 102], 104 + 32
    mov edi, main_tss + 104
    mov ecx, 10
    mov eax, -1
    rep stosd
    mov byte [main_tss + 104 + 16], 0edh
    setdesc TSS, main_tss, 104 + 40, 89h, 0
    reload_tr
    mov word [vectors + 81h * 4], .redirected
    mov word [vectors + 84h * 4], .redirected_iret
    ; --- IOPL 3: redirected without looking at VIF
    mov dword [user_flags], 3202h
    try .r3
    go_v86 .r3_go
bits 16
.r3_go: int 81h
.r3_next:
    int 80h
.redirected:
    pop word [0b000h]
    pop word [0b002h]
    pop word [0b004h]
    pushf
    pop word [0b006h]
    hlt
.redirected_iret:
    iret
bits 32
.r3: expect 'redirected with IOPL 3', GP, 0, ANY
    movzx eax, word [0b000h]
    equal 'IP', eax, .r3_next
    movzx eax, word [0b004h]
    and eax, 3200h
    equal 'IF and IOPL in the pushed flags', eax, 3200h
    movzx eax, word [0b006h]
    and eax, 200h
    equal 'IF clear in the handler', eax, 0
    ; --- IOPL 0, VIF set
    mov dword [user_flags], 80202h
    try .r0
    go_v86 .r0_go
bits 16
.r0_go: int 81h
.r0_next:
    hlt
bits 32
.r0: expect 'redirected with IOPL 0', GP, 0, ANY
    movzx eax, word [0b004h]
    and eax, 3200h
    equal 'VIF as IF, IOPL as 3', eax, 3200h
    movzx eax, word [0b006h]
    and eax, 3200h
    equal 'PUSHF shows VIF clear and IOPL 3', eax, 3000h
    mov eax, [got_eflags]
    and eax, 83200h
    equal 'IF stays, VIF clear', eax, 200h
    ; IRET with IOPL 0 sets VIF again
    try .r0i
    go_v86 .r0i_go
bits 16
.r0i_go: int 84h
    hlt
bits 32
.r0i: expect 'redirected and IRET', GP, 0, ANY
    mov eax, [got_eflags]
    and eax, 83200h
    equal 'VIF set again', eax, 80200h
    ; not redirected with IOPL 0: #GP(0)
    vfault1 'INT 80h not redirected, IOPL 0', GP, 0, int 80h
    ; --- CLI and STI on VIF
    try .cli
    go_v86 .cli_go
bits 16
.cli_go: cli
    hlt
bits 32
.cli: expect 'CLI', GP, 0, .cli_go + 1
    mov eax, [got_eflags]
    and eax, 80200h
    equal 'CLI clears VIF only', eax, 200h
    mov dword [user_flags], 202h
    try .sti
    go_v86 .sti_go
bits 16
.sti_go: sti
    hlt
bits 32
.sti: expect 'STI', GP, 0, .sti_go + 1
    mov eax, [got_eflags]
    and eax, 80200h
    equal 'STI sets VIF', eax, 80200h
    mov dword [user_flags], 100202h
    vfault1 'STI with VIP', GP, 0, sti
    ; --- POPF
    try .popf
    go_v86 .popf_go
bits 16
.popf_go:
    push word 0202h
.popf_at: popf
    hlt
bits 32
.popf: expect 'POPF of IF with VIP', GP, 0, .popf_at
    mov dword [user_flags], 202h
    try .popf_tf
    go_v86 .popf_tf_go
bits 16
.popf_tf_go:
    push word 0102h
.popf_tf_at: popf
    hlt
bits 32
.popf_tf: expect 'POPF of TF', GP, 0, .popf_tf_at
    try .popf_if
    go_v86 .popf_if_go
bits 16
.popf_if_go:
    push word 3202h
    popf
    push word 0002h
    popf
    push word 3202h
    popf
.popf_if_at:
    hlt
bits 32
.popf_if: expect 'POPF of IF', GP, 0, .popf_if_at
    mov eax, [got_eflags]
    and eax, 83200h
    equal 'VIF set, IF and IOPL stay', eax, 80200h
    vfault1 'POPFD', GP, 0, popfd
    vfault1 'PUSHFD', GP, 0, pushfd
    try .iret_tf
    go_v86 .iret_tf_go
bits 16
.iret_tf_go:
    push word 0102h
    push word 0
    push word 0
.iret_tf_at: iret
bits 32
.iret_tf: expect 'IRET of TF', GP, 0, .iret_tf_at
    vfault1 'IRETD', GP, 0, iretd
    ; --- PVI in ring 3
    mov dword [user_flags], 202h
    try .pvi
    go_user .pvi_go
.pvi_go:
    sti
    int 80h
.pvi: expect 'PVI: STI', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 80200h
    equal 'PVI: VIF', eax, 80200h
    mov dword [user_flags], 80202h
    try .pvi2
    go_user .pvi2_go
.pvi2_go:
    cli
    int 80h
.pvi2: expect 'PVI: CLI', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 80200h
    equal 'PVI: VIF clear, IF stays', eax, 200h
    mov dword [user_flags], 100202h
    ufault1 'PVI: STI with VIP', GP, 0, sti
    mov dword [user_flags], 80202h
    try .pvi3
    go_user .pvi3_go
.pvi3_go:
    push dword 2
    popfd
    int 80h
.pvi3: expect 'PVI: POPFD', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 80200h
    equal 'PVI: POPFD changes neither', eax, 80200h
    jmp finish
