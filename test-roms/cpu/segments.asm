; Segment types, limits, and the privilege rules of every instruction that loads a descriptor.
bits 16

; MOV seg, selector must raise.
%macro bad 5
    mov ax, %3
    fault2 %1, %4, %5, mov %2, ax
%endmacro
%macro good 3
    mov ax, %3
    fine2 %1, mov %2, ax
%endmacro

main:
    protected
    ; --- DS, ES, FS, GS: what may be loaded
    good 'null to DS', ds, 0
    good 'null with RPL 3 to ES', es, 3
    bad 'beyond the GDT', es, 1000h, GP, 1000h
    bad 'beyond the LDT', es, 0fch, GP, 0fch
    setdesc T0, 0, 0fffffh, 91h, 0ch
    good 'read-only data', ds, T0
    mov ax, DATA
    mov ds, ax
    setdesc T0, 0, 0fffffh, 99h, 0ch
    bad 'execute-only code', es, T0, GP, T0
    setdesc T0, 0, 0fffffh, 9bh, 0ch
    good 'readable code', es, T0
    setdesc T0, 0, 0fffffh, 13h, 0ch
    bad 'not present', es, T0, NP, T0
    bad 'not present, RPL in the selector', es, T0 + 3, GP, T0
    setdesc T0, 0, 0fffffh, 89h, 0
    bad 'TSS', es, T0, GP, T0
    setdesc T0, 0, 0fffffh, 82h, 0
    bad 'LDT', gs, T0, GP, T0
    setdesc T0, 0, 0fffffh, 8ch, 0
    bad 'call gate', fs, T0, GP, T0
    bad 'RPL 3 of ring 0 data', es, DATA + 3, GP, DATA
    setdesc T0, 0, 0fffffh, 9fh, 0ch
    good 'conforming code of ring 0 with RPL 3', es, T0 + 3
    setdesc T0, 0, 0fffffh, 0d3h, 0ch
    good 'DPL 2 with RPL 2', es, T0 + 2
    ; --- the accessed bit
    setdesc T0, 0, 0fffffh, 92h, 0ch
    good 'data not accessed yet', es, T0
    movzx eax, byte [gdt + T0 + 5]
    equal 'accessed bit set by MOV', eax, 93h
    setdesc T0, 0, 0fffffh, 12h, 0ch
    bad 'not present, not accessed', es, T0, NP, T0
    movzx eax, byte [gdt + T0 + 5]
    equal 'accessed bit clear after the fault', eax, 12h
    ; --- SS
    bad 'SS null', ss, 0, GP, 0
    bad 'SS RPL 3', ss, DATA3, GP, DATA3 - 3
    bad 'SS RPL 1', ss, DATA + 1, GP, DATA
    setdesc T0, 0, 0fffffh, 91h, 0ch
    bad 'SS read-only', ss, T0, GP, T0
    setdesc T0, 0, 0fffffh, 9bh, 0ch
    bad 'SS code', ss, T0, GP, T0
    setdesc T0, 0, 0fffffh, 0f3h, 0ch
    bad 'SS with DPL 3', ss, T0, GP, T0
    setdesc T0, 0, 0fffffh, 13h, 0ch
    bad 'SS not present', ss, T0, SS_, T0
    setdesc T0, 0, 0fffffh, 93h, 0ch
    good 'SS writable', ss, T0
    bad 'SS beyond the GDT', ss, 0fff8h, GP, 0fff8h
    ; --- the same rules for the other instructions
    setdesc T0, 0, 0fffffh, 99h, 0ch
    mov dword [pointer], 12345678h
    mov word [pointer + 4], T0
    mov ebx, 11111111h
    fault2 'LES of execute-only code', GP, T0, les ebx, [pointer]
    equal 'EBX stays', [got_ebx], 11111111h
    fault2 'LFS of execute-only code', GP, T0, lfs ebx, [pointer]
    fault2 'LSS of code', GP, T0, lss esp, [pointer]
    mov word [pointer + 4], DATA
    try .les
    les ebx, [pointer]
    int 80h
.les: expect 'LES', NONE, ANY, ANY
    equal 'offset', [got_ebx], 12345678h
    equal 'selector', [got_es], DATA
    try .pop
    push dword T0
    mov [mark], esp
.pop_at: pop es
    int 80h
.pop: expect 'POP ES of execute-only code', GP, T0, .pop_at
    mov eax, [got_inner]
    add eax, 14h
    sub eax, [mark]
    equal 'ESP stays', eax, 0
    ; --- LLDT, LTR
    mov ax, DATA
    fault1 'LLDT of data', GP, DATA, lldt ax
    mov ax, 4
    fault1 'LLDT with a local selector', GP, 4, lldt ax
    mov ax, TSS
    fault1 'LLDT of a TSS', GP, TSS, lldt ax
    setdesc T0, 0, 3fh, 02h, 0
    mov ax, T0
    fault1 'LLDT not present', NP, T0, lldt ax
    mov ax, 0fff8h
    fault1 'LLDT beyond the GDT', GP, 0fff8h, lldt ax
    xor eax, eax
    fine1 'LLDT null', lldt ax
    bad 'a local selector without LDT', es, 0ch, GP, 0ch
    mov ax, LDT
    lldt ax
    mov dword [ldt + 8], 0ffffh
    mov dword [ldt + 12], 0cf9300h
    good 'a local selector', es, 0ch
    mov dword [ldt + 12], 0cf1300h
    bad 'a local selector, not present', es, 0ch, NP, 0ch
    mov ax, TSS
    fault1 'LTR of the busy TSS', GP, TSS, ltr ax
    mov ax, DATA
    fault1 'LTR of data', GP, DATA, ltr ax
    xor eax, eax
    fault1 'LTR null', GP, 0, ltr ax
    mov ax, 0ch
    fault1 'LTR with a local selector', GP, 0ch, ltr ax
    setdesc T0, main_tss, 103, 09h, 0
    mov ax, T0
    fault1 'LTR not present', NP, T0, ltr ax
    setdesc T0, main_tss, 103, 89h, 0
    mov ax, T0
    fine1 'LTR', ltr ax
    movzx eax, byte [gdt + T0 + 5]
    equal 'busy bit set by LTR', eax, 8bh
    reload_tr
    ; --- JMP FAR, CALL FAR, RETF to segments
    fault1 'JMP FAR null', GP, 0, jmp dword 0:0
    fault1 'JMP FAR to data', GP, DATA, jmp dword DATA:0
    fault1 'JMP FAR to ring 3', GP, CODE3 - 3, jmp dword CODE3:0
    fault1 'JMP FAR with RPL 3', GP, CODE, jmp dword CODE+3:0
    fault1 'CALL FAR beyond the GDT', GP, 0fff8h, call dword 0fff8h:0
    setdesc T0, 0, 0fffffh, 1bh, 0ch
    fault1 'JMP FAR not present', NP, T0, jmp dword T0:0
    setdesc T0, 0, 0fh, 9bh, 4
    fault1 'JMP FAR beyond the limit', GP, 0, jmp dword T0:10h
    setdesc T0, 0, 0fffffh, 9fh, 0ch
    try .conforming
    jmp dword T0+3:.in_conforming
.in_conforming:
    int 80h
.conforming: expect 'JMP FAR to conforming code, RPL 3', NONE, ANY, ANY
    equal 'CS has RPL 0', [got_cs], T0
    setdesc T0, 0, 0fffffh, 0ffh, 0ch
    fault1 'JMP FAR to conforming code of ring 3', GP, T0, jmp dword T0:0
    setdesc T0, 0, 0fffffh, 98h, 0ch
    try .accessed
    jmp dword T0:.in_accessed
.in_accessed:
    int 80h
.accessed: expect 'JMP FAR to execute-only code', NONE, ANY, ANY
    movzx eax, byte [gdt + T0 + 5]
    equal 'accessed bit set by JMP', eax, 99h
    ; reading through execute-only CS
    try .xonly
    jmp dword T0:.in_xonly
.in_xonly:
    mov al, [cs:0]
    int 80h
.xonly: expect 'read through execute-only CS', GP, 0, .in_xonly
    fault2 'write through CS', GP, 0, mov [cs:0], al
    try .retf
    push dword 0
    push dword 0
.retf_at: retf
.retf: expect 'RETF null', GP, 0, .retf_at
    try .retf_data
    push dword DATA
    push dword 0
.retf_data_at: retf
.retf_data: expect 'RETF to data', GP, DATA, .retf_data_at
    ; --- limits
    setdesc T1, 20000h, 0fffh, 93h, 4
    mov ax, T1
    mov fs, ax
    fine2 'byte at the limit', mov al, [fs:0fffh]
    fault2 'byte beyond', GP, 0, mov al, [fs:1000h]
    fault2 'dword across the limit', GP, 0, mov eax, [fs:0ffdh]
    fine2 'dword up to the limit', mov eax, [fs:0ffch]
    setdesc T1, 20000h, 0, 93h, 0ch
    mov ax, T1
    mov gs, ax
    fine2 'limit 0 in pages: FFF', mov al, [gs:0fffh]
    fault2 'limit 0 in pages: 1000', GP, 0, mov al, [gs:1000h]
    ; expand-down, 32 bit: valid from limit + 1 to FFFFFFFF
    setdesc T1, 20000h, 0fffh, 97h, 4
    mov ax, T1
    mov fs, ax
    fault2 'expand-down at the limit', GP, 0, mov al, [fs:0fffh]
    fine2 'expand-down above the limit', mov al, [fs:1000h]
    fault2 'expand-down dword across the limit', GP, 0, mov eax, [fs:0ffeh]
    fine2 'expand-down beyond 64 KiB', mov al, [fs:12345h]
    ; expand-down, 16 bit: up to FFFF
    setdesc T1, 20000h, 0fffh, 97h, 0
    mov ax, T1
    mov fs, ax
    fine2 'expand-down, small: FFFF', mov al, [fs:0ffffh]
    fault2 'expand-down, small: 10000', GP, 0, mov al, [fs:10000h]
    fault2 'expand-down, small: word at FFFF', GP, 0, mov ax, [fs:0ffffh]
    fault2 'expand-down, small: at the limit', GP, 0, mov al, [fs:0fffh]
    ; expand-down with the largest limit has no valid offset
    setdesc T1, 20000h, 0fffffh, 97h, 0ch
    mov ax, T1
    mov fs, ax
    fault2 'expand-down, nothing valid', GP, 0, mov al, [fs:0fffffffh]
    fault2 'expand-down, nothing valid at the top', GP, 0, mov al, [fs:0ffffffffh]
    ; read-only
    setdesc T1, 20000h, 0ffffh, 91h, 4
    mov ax, T1
    mov fs, ax
    fine2 'read of read-only', mov al, [fs:10h]
    fault2 'write to read-only', GP, 0, mov [fs:10h], al
    fault2 'read-modify-write of read-only', GP, 0, add [fs:10h], al
    fault2 'BTS in read-only', GP, 0, bts dword [fs:10h], 1
    ; code as data
    setdesc T1, 20000h, 0ffffh, 9bh, 4
    mov ax, T1
    mov fs, ax
    fine2 'read of readable code', mov al, [fs:10h]
    fault2 'write to code', GP, 0, mov [fs:10h], al
    ; null
    xor eax, eax
    mov gs, ax
    fault2 'read through null', GP, 0, mov al, [gs:10h]
    fault2 'write through null', GP, 0, mov [gs:10h], al
    ; --- a segment register keeps its descriptor when the table changes
    setdesc T1, 20000h, 0fffh, 93h, 4
    mov ax, T1
    mov fs, ax
    setdesc T1, 20000h, 0fh, 93h, 4
    fine2 'the old limit is in use', mov al, [fs:0fffh]
    ; --- LAR, LSL, VERR, VERW, ARPL
    setdesc T1, 20000h, 02345h, 93h, 0ch
    mov ecx, T1
    lar eax, ecx
    setz [zf]
    equal 'LAR of data', eax, 0c09300h
    movzx eax, byte [zf]
    equal 'LAR ZF', eax, 1
    mov ecx, T1
    lsl eax, ecx
    equal 'LSL in pages', eax, 02345fffh
    mov ecx, T1
    xor eax, eax
    lsl ax, cx
    equal 'LSL word', eax, 5fffh
    mov ecx, T1
    mov eax, 0ffff0000h
    lar ax, cx
    equal 'LAR word', eax, 0ffff9300h

%macro query 4           ; text, instruction, selector, ZF
    mov eax, 7777h
    mov ecx, %3
    cmp cl, 255
    %2
    setz al
    movzx eax, al
    equal %1, eax, %4
%endmacro
%macro query2 5
    mov eax, 7777h
    mov ecx, %4
    cmp cl, 255
    %2, %3
    setz al
    movzx eax, al
    equal %1, eax, %5
%endmacro
    query2 'LAR null', lar eax, ecx, 0, 0
    query2 'LAR beyond', lar eax, ecx, 0fff8h, 0
    query2 'LAR RPL 3 of ring 0', lar eax, ecx, DATA + 3, 0
    query2 'LAR TSS', lar eax, ecx, TSS, 1
    query2 'LAR LDT', lar eax, ecx, LDT, 1
    query2 'LSL TSS', lsl eax, ecx, TSS, 1
    query2 'LSL LDT', lsl eax, ecx, LDT, 1
    setdesc T1, 0, 0ffffh, 8ch, 0
    query2 'LAR call gate', lar eax, ecx, T1, 1
    query2 'LSL call gate', lsl eax, ecx, T1, 0
    setdesc T1, 0, 0ffffh, 85h, 0
    query2 'LAR task gate', lar eax, ecx, T1, 1
    query2 'LSL task gate', lsl eax, ecx, T1, 0
    setdesc T1, 0, 0ffffh, 8eh, 0
    query2 'LAR interrupt gate', lar eax, ecx, T1, 0
    setdesc T1, 0, 0ffffh, 80h, 0
    query2 'LAR type 0', lar eax, ecx, T1, 0
    setdesc T1, 0, 0ffffh, 13h, 0
    query2 'LAR not present', lar eax, ecx, T1, 1
    setdesc T1, 0, 0ffffh, 9fh, 0
    query2 'LAR conforming code, RPL 3', lar eax, ecx, T1 + 3, 1
    query 'VERR data', verr cx, DATA, 1
    query 'VERW data', verw cx, DATA, 1
    query 'VERR null', verr cx, 0, 0
    query 'VERW code', verw cx, CODE, 0
    query 'VERR readable code', verr cx, CODE, 1
    query 'VERR RPL 3 of ring 0', verr cx, DATA + 3, 0
    query 'VERW TSS', verw cx, TSS, 0
    setdesc T1, 0, 0ffffh, 99h, 0
    query 'VERR execute-only', verr cx, T1, 0
    setdesc T1, 0, 0ffffh, 91h, 0
    query 'VERW read-only', verw cx, T1, 0
    query 'VERR read-only', verr cx, T1, 1
    setdesc T1, 0, 0ffffh, 9fh, 0
    query 'VERR conforming code, RPL 3', verr cx, T1 + 3, 1
    mov eax, 10h
    mov ecx, 3
    arpl ax, cx
    setz [zf]
    equal 'ARPL raises', eax, 13h
    movzx eax, byte [zf]
    equal 'ARPL ZF', eax, 1
    mov eax, 13h
    mov ecx, 1
    arpl ax, cx
    setz [zf]
    equal 'ARPL keeps', eax, 13h
    movzx eax, byte [zf]
    equal 'ARPL ZF clear', eax, 0
    jmp finish
pointer dd 0, 0
mark dd 0
zf dd 0
