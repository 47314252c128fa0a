; What ring 3 may not do, gate privileges, IOPL, flags.
bits 16
main:
    protected
    ufault1 'HLT', GP, 0, hlt
    ufault1 'CLTS', GP, 0, clts
    ufault1 'LGDT', GP, 0, lgdt [gdtr]
    ufault1 'LIDT', GP, 0, lidt [idtr]
    ufine1 'SGDT', sgdt [scratch]
    ufine1 'SIDT', sidt [scratch]
    ufine1 'SLDT', sldt ax
    ufine1 'STR', str ax
    ufine1 'SMSW', smsw ax
    ufault1 'LLDT', GP, 0, lldt ax
    ufault1 'LTR', GP, 0, ltr ax
    ufault1 'LMSW', GP, 0, lmsw ax
    ufault2 'MOV from CR0', GP, 0, mov eax, cr0
    ufault2 'MOV to CR3', GP, 0, mov cr3, eax
    ufault2 'MOV from DR7', GP, 0, mov eax, dr7
    ufault2 'MOV to DR0', GP, 0, mov dr0, eax
    ufault1 'INVLPG', GP, 0, invlpg [scratch]
    ufault1 'INVD', GP, 0, invd
    ufault1 'WBINVD', GP, 0, wbinvd
    ufault1 'RDMSR', GP, 0, rdmsr
    ufault1 'WRMSR', GP, 0, wrmsr
    ufault1 'SYSEXIT', GP, 0, sysexit
    ufine1 'RDTSC', rdtsc
    mov eax, cr4
    or eax, 4
    mov cr4, eax
    ufault1 'RDTSC with CR4.TSD', GP, 0, rdtsc
    fine1 'RDTSC with CR4.TSD in ring 0', rdtsc
    mov eax, cr4
    and eax, -5
    mov cr4, eax
    mov ecx, 0
    ufault1 'RDPMC without CR4.PCE', GP, 0, rdpmc
    ; --- undefined opcodes come before privilege
    ufault1 'MOV CR1', UD, NOERR, dd 90c8200fh
    ufault1 'LGDT with a register', UD, NOERR, dd 90d0010fh
    ufault1 'RSM', UD, NOERR, rsm
    ; --- interrupt flag
    ufault1 'CLI with IOPL 0', GP, 0, cli
    ufault1 'STI with IOPL 0', GP, 0, sti
    mov dword [user_flags], 3002h
    ufine1 'CLI with IOPL 3', cli
    ufine1 'STI with IOPL 3', sti
    mov eax, [got_eflags]
    and eax, 200h
    equal 'IF is set', eax, 200h
    mov dword [user_flags], 1202h
    try .popf
    go_user .popf_go
.popf_go:
    push dword 3002h
    popfd
    int 80h
.popf: expect 'POPFD in ring 3', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 3200h
    equal 'IF and IOPL stay with IOPL 1', eax, 1200h
    mov dword [user_flags], 3202h
    try .popf3
    go_user .popf3_go
.popf3_go:
    push dword 0002h
    popfd
    int 80h
.popf3: expect 'POPFD with IOPL 3', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 3200h
    equal 'IF changes, IOPL stays', eax, 3000h
    try .popvm
    go_user .popvm_go
.popvm_go:
    push dword 1a7002h
    popfd
    int 80h
.popvm: expect 'POPFD with VM, VIF, VIP', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 1a7000h
    equal 'VM, VIF and VIP stay clear, NT changes', eax, 7000h
    ; IRETD in ring 3 to ring 3 does not change IOPL either
    mov dword [user_flags], 1202h
    try .iret
    go_user .iret_go
.iret_go:
    push dword 23002h
    push dword CODE3
    push dword .iret_to
    iretd
.iret_to:
    int 80h
.iret: expect 'IRETD in ring 3', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 23200h
    equal 'IF, IOPL and VM stay', eax, 1200h
    mov dword [user_flags], 2
    ; --- I/O needs IOPL or the bitmap, which this TSS does not have
    ufault2 'IN', GP, 0, in al, 21h
    ufault2 'OUT', GP, 0, out 80h, al
    ufault1 'INSB', GP, 0, insb
    ufault1 'OUTSB', GP, 0, outsb
    mov dword [user_flags], 3002h
    ufine2 'IN with IOPL 3', in al, 21h
    mov dword [user_flags], 2
    ; --- software interrupts need a gate of DPL 3
    ufault1 'INT 81h', GP, 81h * 8 + 2, int 81h
    ufault1 'INT 0Dh', GP, 0dh * 8 + 2, int 0dh
    try .int3
    go_user .int3_go
.int3_go: int3
.int3_next:
    int 80h
.int3: expect 'INT3', BRK, NOERR, .int3_next
    mov byte [idt + 3 * 8 + 5], 8eh
    ufault1 'INT3 with a gate of DPL 0', GP, 3 * 8 + 2, int3
    mov byte [idt + 4 * 8 + 5], 8eh
    try .into
    go_user .into_go
.into_go:
    mov al, 7fh
    inc al
.into_at: into
    int 80h
.into: expect 'INTO with a gate of DPL 0', GP, 4 * 8 + 2, .into_at
    restore_idt 3
    restore_idt 4
    ; hardware exceptions and INT1 do not look at the DPL
    ufault1 'UD2', UD, NOERR, ud2
    try .int1
    go_user .int1_go
.int1_go: db 0f1h
.int1_next:
    int 80h
.int1: expect 'INT1', DBG, NOERR, .int1_next
    ; --- the frame on the inner stack
    try .frame
    go_user .frame_go
.frame_go:
    mov esp, USER_STACK - 20h
    int 80h
.frame: expect 'INT 80h', NONE, ANY, ANY
    equal 'frame starts at ESP0', [got_handler_esp], INNER_STACK - 20
    equal 'CS', [got_cs], CODE3
    equal 'SS', [got_ss], DATA3
    equal 'ESP', [got_esp], USER_STACK - 20h
    ufault1 'HLT', GP, 0, hlt
    equal 'with an error code', [got_handler_esp], INNER_STACK - 20
    ; --- segments
    try .ds
    go_user .ds_go
.ds_go:
    mov ax, DATA
.ds_at: mov ds, ax
    int 80h
.ds: expect 'DS = ring 0 data', GP, DATA, .ds_at
    try .ds3
    go_user .ds3_go
.ds3_go:
    mov ax, DATA + 3
.ds3_at: mov ds, ax
    int 80h
.ds3: expect 'DS = ring 0 data, RPL 3', GP, DATA, .ds3_at
    try .ss
    go_user .ss_go
.ss_go:
    mov ax, DATA3 - 1
.ss_at: mov ss, ax
    int 80h
.ss: expect 'SS with RPL 2', GP, DATA3 - 3, .ss_at
    try .ss0
    go_user .ss0_go
.ss0_go:
    xor eax, eax
.ss0_at: mov ss, ax
    int 80h
.ss0: expect 'SS = null', GP, 0, .ss0_at
    try .null
    go_user .null_go
.null_go:
    xor eax, eax
    mov ds, ax
.null_at: mov al, [0]
    int 80h
.null: expect 'access through a null DS', GP, 0, .null_at
    try .jmp
    go_user .jmp_at
.jmp_at: jmp dword CODE:0
    int 80h
.jmp: expect 'JMP FAR to ring 0', GP, CODE, .jmp_at
    try .call
    go_user .call_at
.call_at: call dword CODE:0
    int 80h
.call: expect 'CALL FAR to ring 0', GP, CODE, .call_at
    try .retf
    go_user .retf_go
.retf_go:
    push dword CODE
    push dword 0
.retf_at: retf
    int 80h
.retf: expect 'RETF to ring 0', GP, CODE, .retf_at
    ; --- RETF and IRET to ring 3 null the data segments of ring 0
    mov ax, DATA
    mov fs, ax
    mov ax, DATA3
    mov gs, ax
    try .drop
    push dword DATA3
    push dword USER_STACK
    push dword CODE3
    push dword .drop_to
    retf
.drop_to:
    int 80h
.drop: expect 'RETF to ring 3', NONE, ANY, ANY
    equal 'DS is null', [got_ds], 0
    equal 'FS is null', [got_fs], 0
    equal 'GS stays', [got_gs], DATA3
    ; --- with IRET
    try .bad_ss
    push dword DATA
    push dword USER_STACK
    push dword 2
    push dword CODE3
    push dword .drop_to
.bad_ss_at: iretd
.bad_ss: expect 'IRETD to ring 3 with SS of ring 0', GP, DATA, .bad_ss_at
    try .null_ss
    push dword 0
    push dword USER_STACK
    push dword 2
    push dword CODE3
    push dword .drop_to
.null_ss_at: iretd
.null_ss: expect 'IRETD to ring 3 with SS null', GP, 0, .null_ss_at
    try .null_cs
    push dword 2
    push dword 0
    push dword .drop_to
.null_cs_at: iretd
.null_cs: expect 'IRETD to a null CS', GP, 0, .null_cs_at
    try .data_cs
    push dword 2
    push dword DATA
    push dword .drop_to
.data_cs_at: iretd
.data_cs: expect 'IRETD to a data segment', GP, DATA, .data_cs_at
    jmp finish
scratch dd 0, 0
