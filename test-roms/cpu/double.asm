; Which pairs of exceptions make a double fault (SDM vol. 3, table 6-5).
bits 16
WIN equ 400000h
main:
    protected
    ; --- contributory and contributory
    mov byte [idt + GP * 8 + 5], 0eh
    mov ax, DATA + 3
    fault2 '#GP, gate not present', DF, 0, mov es, ax
    restore_idt GP
    mov byte [idt + DE * 8 + 5], 0eh
    fault1 '#DE, gate not present', DF, 0, aam 0
    restore_idt DE
    mov word [idt + NP * 8 + 2], DATA
    setdesc T0, 0, 0fffffh, 13h, 0ch
    mov ax, T0
    fault2 '#NP, gate to data', DF, 0, mov es, ax
    restore_idt NP
    mov word [idt + SS_ * 8 + 2], 0
    mov ax, T0
    fault2 '#SS, gate to null', DF, 0, mov ss, ax
    restore_idt SS_
    ; --- benign and contributory: the second
    mov byte [idt + UD * 8 + 5], 0eh
    fault1 '#UD, gate not present', NP, UD * 8 + 3, ud2
    restore_idt UD
    mov byte [idt + NM * 8 + 5], 0eh
    mov eax, cr0
    or eax, 8
    mov cr0, eax
    fault1 '#NM, gate not present', NP, NM * 8 + 3, fld1
    clts
    restore_idt NM
    mov byte [idt + BRK * 8 + 5], 6eh
    fault1 'INT3, gate not present', NP, BRK * 8 + 2, int3
    restore_idt BRK
    ; INT n is benign whatever its number
    mov byte [idt + GP * 8 + 5], 0eh
    fault1 'INT 0Dh, gate not present', NP, GP * 8 + 2, int 0dh
    restore_idt GP
    ; three in a row: #UD, then #NP not present either: #DF
    mov byte [idt + UD * 8 + 5], 0eh
    mov byte [idt + NP * 8 + 5], 0eh
    fault1 '#UD, #NP, both gates not present', DF, 0, ud2
    restore_idt UD
    restore_idt NP
    ; --- the IDT's limit
    mov word [short_idt], GP * 8 + 6
    lidt [short_idt]
    mov ax, DATA + 3
    fault2 '#GP beyond the IDT', DF, 0, mov es, ax
    lidt [idtr]
    ; --- the saved address: not defined for aborts, the error code is 0, always pushed
    equal 'error code', [got_error], 0
    ; --- page faults: an IDT that lies in two pages
    window 30007h, 31007h
IDT2 equ WIN + 1000h - 14 * 8
    mov esi, idt
    mov edi, IDT2
    mov ecx, 512
    rep movsd
    mov dword [moved_idt + 2], IDT2
    ; #GP whose gate is in an absent page: a page fault, not a double fault
    mov dword [22000h], 0
    invlpg [WIN]
    lidt [moved_idt]
    mov ax, DATA + 3
    fault2 '#GP, then a page fault', PF, 0, mov es, ax
    equal 'CR2', [got_cr2], IDT2 + GP * 8
    ; #PF whose gate is in an absent page: double fault
    mov dword [22000h], 30007h
    mov dword [22004h], 0
    invlpg [WIN]
    invlpg [WIN + 1000h]
    try .pfpf
    mov al, [0c00000h]
.pfpf: lidt [idtr]
    expect 'page fault, then a page fault', DF, 0, ANY
    equal 'CR2 is that of the second', [got_cr2], WIN + 1000h
    ; #PF, then contributory
    mov byte [idt + PF * 8 + 5], 0eh
    fault2 'page fault, gate not present', DF, 0, mov al, [0c00000h]
    restore_idt PF
    ; --- an inner stack that is absent: #UD, #PF, #PF, #DF, which a task handles
    mov edi, tss2
    mov ecx, 26
    xor eax, eax
    rep stosd
    mov dword [tss2 + 28], 20000h
    mov dword [tss2 + 32], .df_task
    mov dword [tss2 + 36], 2
    mov dword [tss2 + 56], 0b000h
    mov dword [tss2 + 72], DATA
    mov dword [tss2 + 76], CODE
    mov dword [tss2 + 80], DATA
    mov dword [tss2 + 84], DATA
    setdesc T1, tss2, 103, 89h, 0
    setgate idt + DF * 8, T1, 0, 85h, 0
    mov dword [main_tss + 4], 0c00800h
    try .stack
    go_user .stack_at
.stack_at: ud2
.df_task:
    mov dword [got_vector], DF
    pop dword [got_error]
    mov eax, [main_tss + 32]
    mov [got_eip], eax
    mov eax, cr2
    mov [got_cr2], eax
    mov esp, [saved_esp]
    push dword 2
    popfd
.stack: expect 'inner stack absent', DF, 0, .stack_at
    equal 'CR2 is that of the stack', [got_cr2], 0c007fch
    mov dword [main_tss + 4], INNER_STACK
    restore_idt DF
    jmp finish
short_idt dw 0
    dd idt
moved_idt dw 7ffh
    dd 0
tss2: times 26 dd 0
