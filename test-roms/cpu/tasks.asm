; Task switches by JMP, CALL, IRET, gates and interrupts: busy bits, NT, the back link, the T bit,
; what may be wrong with a TSS and when that is noticed.
bits 16
; Fills the second TSS: EIP, EFLAGS.
%macro second_task 2
    mov edi, tss2
    mov ecx, 26
    xor eax, eax
    rep stosd
    mov dword [tss2 + 4], INNER_STACK
    mov dword [tss2 + 8], DATA
    mov dword [tss2 + 32], %1
    mov dword [tss2 + 36], %2
    mov dword [tss2 + 40], 0aaaah
    mov dword [tss2 + 56], 0b000h
    mov dword [tss2 + 72], DATA
    mov dword [tss2 + 76], CODE
    mov dword [tss2 + 80], DATA
    mov dword [tss2 + 84], DATA
    mov dword [tss2 + 88], 0
    mov dword [tss2 + 92], 0
    mov dword [tss2 + 96], LDT
    mov dword [tss2 + 100], 680000h
    setdesc T0, tss2, 103, 89h, 0
%endmacro
; Back to the main task after a switch that did not return.
%macro home 0
    mov ax, LDT
    lldt ax
    reload_tr
%endmacro
%macro busy 3
    movzx eax, byte [gdt + %2 + 5]
    equal %1, eax, %3
%endmacro
main:
    protected
    ; --- JMP to a TSS
    second_task .jumped, 2
    try .jmp
    jmp dword T0:0
.jmp_next:
    int 80h
.jumped:
    mov [seen], eax
    str word [seen + 4]
    mov [seen + 8], esp
    int 80h
.jmp: expect 'JMP to a TSS', NONE, ANY, ANY
    equal 'EAX of the new task', [seen], 0aaaah
    movzx eax, word [seen + 4]
    equal 'TR', eax, T0
    equal 'ESP of the new task', [seen + 8], 0b000h
    equal 'EIP saved', [main_tss + 32], .jmp_next
    busy 'old TSS available', TSS, 89h
    busy 'new TSS busy', T0, 8bh
    mov eax, [got_eflags]
    and eax, 4000h
    equal 'NT clear', eax, 0
    mov eax, cr0
    and eax, 8
    equal 'CR0.TS set', eax, 8
    clts
    home
    ; --- CALL and IRET
    second_task .called, 2
    try .call
    mov dword [seen + 12], 0
    mov edx, 12345h
    call dword T0:0
.call_next:
    mov [seen + 12], edx
    int 80h
.called:
    pushfd
    pop dword [seen]
    mov al, [gdt + TSS + 5]
    mov [seen + 4], al
    mov eax, [tss2]
    mov [seen + 8], eax
    mov edx, 0
    iretd
.call: expect 'CALL to a TSS and IRET', NONE, ANY, ANY
    mov eax, [seen]
    and eax, 4000h
    equal 'NT set in the called task', eax, 4000h
    movzx eax, byte [seen + 4]
    equal 'caller stays busy', eax, 8bh
    movzx eax, word [seen + 8]
    equal 'back link', eax, TSS
    equal 'EDX restored', [seen + 12], 12345h
    busy 'called TSS available again', T0, 89h
    busy 'caller busy', TSS, 8bh
    mov eax, [tss2 + 36]
    and eax, 4000h
    equal 'NT clear in the flags that IRET saved', eax, 0
    equal 'EIP after IRET in the TSS of the called task', [tss2 + 32], .call
    ; --- task gate in the GDT, and nested: main -> 2 -> 3 -> back
    second_task .nest2, 2
    mov esi, tss2
    mov edi, tss3
    mov ecx, 26
    rep movsd
    mov dword [tss3 + 32], .nest3
    mov dword [tss3 + 56], 0a800h
    setdesc T1, tss3, 103, 89h, 0
    setgate gdt + T2, T1, 0, 85h, 0
    try .nest
    call dword T0:0
    mov dword [seen + 12], 1
    int 80h
.nest2:
    call dword T2:0
    mov al, [gdt + T1 + 5]
    mov [seen], al
    iretd
.nest3:
    mov al, [gdt + T0 + 5]
    mov [seen + 1], al
    mov al, [gdt + T1 + 5]
    mov [seen + 2], al
    fault1 'CALL to a busy task', GP, TSS, call dword TSS:0
    fault1 'JMP to a busy task', GP, T0, jmp dword T0:0
    ; the handler cleared the flags; NT is needed to return
    mov esp, 0a7f0h
    mov dword [resume], .nest
    mov dword [saved_esp], STACK
    push dword 4002h
    popfd
    iretd
.nest: expect 'nested tasks', NONE, ANY, ANY
    movzx eax, byte [seen]
    equal 'third available', eax, 89h
    movzx eax, byte [seen + 1]
    equal 'second busy', eax, 8bh
    movzx eax, byte [seen + 2]
    equal 'third busy', eax, 8bh
    ; --- IRET with NT and a bad back link
    mov word [main_tss], 0
    try .link0
    push dword 4002h
    popfd
.link0_at: iretd
.link0: expect 'IRET to a null back link', TS, 0, .link0_at
    mov word [main_tss], DATA
    try .link1
    push dword 4002h
    popfd
.link1_at: iretd
.link1: expect 'IRET to a data segment', TS, DATA, .link1_at
    mov word [main_tss], T0
    try .link2
    push dword 4002h
    popfd
.link2_at: iretd
.link2: expect 'IRET to an available TSS', TS, T0, .link2_at
    mov word [main_tss], 0fff8h
    try .link3
    push dword 4002h
    popfd
.link3_at: iretd
.link3: expect 'IRET beyond the GDT', TS, 0fff8h, .link3_at
    mov word [main_tss], 0
    ; --- noticed in the old task
    second_task .jumped, 2
    setdesc T0, tss2, 103, 09h, 0
    fault1 'TSS not present', NP, T0, jmp dword T0:0
    setdesc T0, tss2, 102, 89h, 0
    fault1 'TSS too small', TS, T0, jmp dword T0:0
    busy 'TSS too small stays available', T0, 89h
    setdesc T0, tss2, 103, 8bh, 0
    fault1 'TSS busy', GP, T0, jmp dword T0:0
    setdesc T0, tss2, 103, 89h, 0
    fault1 'RPL 3 of a TSS with DPL 0', GP, T0, jmp dword T0+3:0
    ufault1 'TSS with DPL 0 from ring 3', GP, T0, jmp dword T0:0
    setgate gdt + T2, DATA, 0, 85h, 0
    fault1 'task gate to data', GP, DATA, jmp dword T2:0
    setgate gdt + T2, 0, 0, 85h, 0
    fault1 'task gate to null', GP, 0, jmp dword T2:0
    setgate gdt + T2, T0, 0, 05h, 0
    fault1 'task gate not present', NP, T2, jmp dword T2:0
    setgate gdt + T2, 0ch, 0, 85h, 0
    fault1 'task gate to a local selector', GP, 0ch, jmp dword T2:0
    ; --- noticed in the new task. Its stack may be unusable by then, so that a task handles it, as
    ; the manual advises (SDM vol. 3, interrupt 10).
%macro bad_task 5        ; text, offset in the TSS, value, vector, error
    second_task .jumped, 2
    mov dword [tss2 + %2], %3
    mov esi, tss2
    mov edi, tss3
    mov ecx, 26
    rep movsd
    mov dword [tss3 + 32], .on_fault
    mov dword [tss3 + 56], 0a800h
    mov dword [tss3 + %2], DATA
    mov dword [tss3 + 76], CODE
    mov dword [tss3 + 96], LDT
    setdesc T1, tss3, 103, 89h, 0
    setgate idt + %4 * 8, T1, 0, 85h, 0
    mov dword [seen], %4
    try %%done
    jmp dword T0:0
%%done: expect %1, %4, %5, .jumped
    movzx eax, word [tss3]
    equal 'it was the new task', eax, T0
    restore_idt %4
    home
%endmacro
    jmp .bad_tasks
.on_fault:
    mov eax, [seen]
    mov [got_vector], eax
    pop dword [got_error]
    mov eax, [tss2 + 32]
    mov [got_eip], eax
    mov esp, [saved_esp]
    push dword 2
    popfd
    jmp [resume]
.bad_tasks:
    bad_task 'CS null', 76, 0, TS, 0
    bad_task 'CS data', 76, DATA, TS, DATA
    bad_task 'CS beyond the GDT', 76, 0fff8h, TS, 0fff8h
    setdesc T3, 0, 0fffffh, 1bh, 0ch
    bad_task 'CS not present', 76, T3, NP, T3
    bad_task 'SS null', 80, 0, TS, 0
    bad_task 'SS code', 80, CODE, TS, CODE
    bad_task 'SS RPL 3', 80, DATA3, TS, DATA3 - 3
    setdesc T3, 0, 0fffffh, 13h, 0ch
    bad_task 'SS not present', 80, T3, SS_, T3
    bad_task 'DS not present', 84, T3, NP, T3
    bad_task 'DS beyond the GDT', 84, 0fff8h, TS, 0fff8h
    bad_task 'ES RPL 3 of ring 0', 72, DATA + 3, TS, DATA
    bad_task 'GS TSS', 92, TSS, TS, TSS
    bad_task 'LDT data', 96, DATA, TS, DATA
    bad_task 'LDT local', 96, 0ch, TS, 0ch
    setdesc T3, 0, 3fh, 02h, 0
    bad_task 'LDT not present', 96, T3, TS, T3
    ; EIP beyond the limit
    setdesc T3, 0, 0fh, 9bh, 4
    second_task .jumped, 2
    mov dword [tss2 + 76], T3
    try .eip
    jmp dword T0:0
.eip: expect 'EIP beyond the code limit', GP, ANY, .jumped
    home
    ; --- the T bit
    second_task .jumped, 2
    mov dword [tss2 + 100], 680001h
    try .tbit
    jmp dword T0:0
.tbit: expect 'T bit', DBG, NOERR, .jumped
    mov eax, [got_dr6]
    and eax, 0e00fh
    equal 'DR6.BT', eax, 8000h
    mov eax, 0ffff0ff0h
    mov dr6, eax
    home
    ; --- a task switch clears the local enables of DR7, not the global ones
    second_task .dr7, 2
    mov eax, 0b800h
    mov dr0, eax
    mov eax, 307h
    mov dr7, eax
    try .dr7_end
    jmp dword T0:0
.dr7:
    mov eax, dr7
    mov [seen], eax
    xor eax, eax
    mov dr7, eax
    int 80h
.dr7_end: expect 'DR7 in a task switch', NONE, ANY, ANY
    mov eax, [seen]
    and eax, 0fh
    equal 'local enables clear', eax, 2
    home
    ; --- ring 3 task
    second_task .user, 2
    mov dword [tss2 + 76], CODE3
    mov dword [tss2 + 80], DATA3
    mov dword [tss2 + 84], DATA3
    mov dword [tss2 + 72], DATA3
    try .user_end
    jmp dword T0:0
.user:
    int 80h
.user_end: expect 'a task of ring 3', NONE, ANY, ANY
    equal 'CS', [got_cs], CODE3
    equal 'ESP', [got_esp], 0b000h
    equal 'the inner stack of its TSS', [got_handler_esp], INNER_STACK - 20
    home
    ; --- V86 task
    second_task .v86, 20002h
    mov dword [tss2 + 76], 0
    mov dword [tss2 + 80], 0
    mov dword [tss2 + 36], 23002h
    try .v86_end
    jmp dword T0:0
bits 16
.v86:
    int 80h
bits 32
.v86_end: expect 'a V86 task', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 20000h
    equal 'VM', eax, 20000h
    home
    ; --- exceptions and interrupts through task gates
    second_task .handler, 2
    setgate idt + 81h * 8, T0, 0, 0e5h, 0
    try .int
    mov dword [seen + 12], 0
    int 81h
.int_next:
    mov dword [seen + 12], 1
    int 80h
.handler:
    pushfd
    pop dword [seen]
    iretd
.int: expect 'INT through a task gate', NONE, ANY, ANY
    mov eax, [seen]
    and eax, 4000h
    equal 'NT', eax, 4000h
    equal 'returned', [seen + 12], 1
    equal 'EIP saved', [main_tss + 32], .int_next
    restore_idt 81h
    second_task .handler2, 2
    setgate idt + GP * 8, T0, 0, 85h, 0
    try .gp
    mov ax, DATA + 3
.gp_at: mov es, ax
    int 80h
.handler2:
    mov eax, [esp]
    mov [seen], eax
    mov [seen + 4], esp
    restore_idt GP
    int 80h
.gp: expect '#GP through a task gate', NONE, ANY, ANY
    equal 'error code', [seen], DATA
    equal 'ESP', [seen + 4], 0affch
    equal 'EIP saved', [main_tss + 32], .gp_at
    mov eax, [main_tss + 36]
    and eax, 10000h
    equal 'RF saved', eax, 10000h
    mov eax, [got_eflags]
    home
    ; busy task behind a task gate
    second_task .handler, 2
    setdesc T0, tss2, 103, 8bh, 0
    setgate idt + 81h * 8, T0, 0, 0e5h, 0
    fault1 'INT to a busy task', GP, T0, int 81h
    setgate idt + UD * 8, T0, 0, 085h, 0
    fault1 'UD2 to a busy task', GP, T0 + 1, ud2
    restore_idt UD
    restore_idt 81h
    ; --- 16-bit TSS
    mov edi, tss2
    mov ecx, 26
    xor eax, eax
    rep stosd
    mov word [tss2 + 14], .in16
    mov word [tss2 + 16], 2
    mov word [tss2 + 18], 0aaaah
    mov word [tss2 + 26], 0b000h
    mov word [tss2 + 34], DATA
    mov word [tss2 + 36], CODE
    mov word [tss2 + 38], DATA
    mov word [tss2 + 40], DATA
    setdesc T0, tss2, 43, 81h, 0
    mov ax, DATA
    mov fs, ax
    try .t16
    call dword T0:0
    mov dword [seen + 12], 16
    int 80h
.in16:
    movzx eax, ax
    mov [seen], eax
    mov ax, [gdt + T0 + 5]
    mov [seen + 4], ax
    mov [seen + 8], fs
    iretd
.t16: expect 'CALL to a 16-bit TSS and IRET', NONE, ANY, ANY
    equal 'AX', [seen], 0aaaah
    movzx eax, byte [seen + 4]
    equal '16-bit TSS busy', eax, 83h
    movzx eax, word [seen + 8]
    equal 'FS null in a 16-bit task', eax, 0
    equal 'returned', [seen + 12], 16
    setdesc T0, tss2, 42, 81h, 0
    fault1 '16-bit TSS too small', TS, T0, jmp dword T0:0
    jmp finish
align 4, 0
seen: times 8 dd 0
tss2: times 26 dd 0
tss3: times 26 dd 0
