; Exceptions raised in ring 0, 32 bit: vector, error code, restart address, registers untouched.
bits 16
main:
    protected
    ; --- #DE
    xor edx, edx
    mov eax, 5
    fault1 'DIV by zero', DE, NOERR, div dword [zero]
    equal 'DIV left EAX', [got_eax], 5
    mov edx, 5
    fault1 'DIV overflow', DE, NOERR, div dword [five]
    mov eax, 80000000h
    cdq
    fault1 'IDIV overflow', DE, NOERR, idiv dword [minus]
    mov ax, 8000h
    cwd
    fault1 'IDIV word overflow', DE, NOERR, idiv word [minus]
    mov ax, 0ff80h
    fine1 'IDIV byte to -128', idiv byte [one]
    mov ax, 0ff7fh
    fault1 'IDIV byte to -129', DE, NOERR, idiv byte [one]
    fault1 'AAM 0', DE, NOERR, aam 0
    ; --- traps: the address is that of the next instruction
    try .bp
    int3
.bp_next:
    int 80h
.bp: expect 'INT3', BRK, NOERR, .bp_next
    try .of
    mov al, 7fh
    add al, 1
    into
.of_next:
    int 80h
.of: expect 'INTO taken', OF, NOERR, .of_next
    xor eax, eax
    fine1 'INTO not taken', into
    try .db
    db 0f1h
.db_next:
    int 80h
.db: expect 'INT1', DBG, NOERR, .db_next
    mov eax, 3
    fine2 'BOUND inside', bound eax, [bounds]
    mov eax, 10
    fine2 'BOUND at the upper bound', bound eax, [bounds]
    mov eax, -3
    fault2 'BOUND below', BR, NOERR, bound eax, [bounds]
    mov eax, 11
    fault2 'BOUND above', BR, NOERR, bound eax, [bounds]
    mov eax, 3
    fine2 'BOUND word', bound ax, [bounds16]
    mov eax, 4
    fault2 'BOUND word above', BR, NOERR, bound ax, [bounds16]
    ; --- #UD
    fault1 'UD2', UD, NOERR, ud2
    fault2 'UD1', UD, NOERR, ud1 eax, eax
    fault1 '0F FF', UD, NOERR, dd 090c0ff0fh
    fault1 'LEA with a register', UD, NOERR, dw 0c08dh
    fault1 'LES with a register', UD, NOERR, dw 0c0c4h
    fault1 'BOUND with a register', UD, NOERR, dw 0c062h
    fault1 'MOV CS', UD, NOERR, dw 0c88eh
    fault1 'MOV to segment register 6', UD, NOERR, dw 0f08eh
    fault1 'MOV from segment register 7', UD, NOERR, dw 0f88ch
    fault1 'MOV CR1', UD, NOERR, dd 090c8200fh
    fault1 'MOV CR5', UD, NOERR, dd 090e8200fh
    fault1 'MOV CR7', UD, NOERR, dd 090f8220fh
    fault1 'CMPXCHG8B with a register', UD, NOERR, dd 090c8c70fh
    fault1 'LGDT with a register', UD, NOERR, dd 090d0010fh
    fault1 'INVLPG with a register', UD, NOERR, dd 090f8010fh
    fault1 'FE /2', UD, NOERR, dw 0d0feh
    fault1 'FF /7', UD, NOERR, dw 0f8ffh
    fault1 '8F /1', UD, NOERR, dw 0c88fh
    fault1 'C6 /1', UD, NOERR, dd 09000c8c6h
    fault1 'RSM outside SMM', UD, NOERR, rsm
    fault1 'JMP FAR with a register', UD, NOERR, dw 0e8ffh
    fault1 'CALL FAR with a register', UD, NOERR, dw 0d8ffh
    fault1 'SLDT prefix: 0F 00 /6', UD, NOERR, dd 090f0000fh
    fault1 'BT group /0', UD, NOERR, dd 000c0ba0fh
    ; DR4 and DR5 are DR6 and DR7 unless CR4.DE
    fine1 'MOV DR4', dd 090e0210fh
    mov eax, cr4
    or eax, 8
    mov cr4, eax
    fault1 'MOV DR4 with CR4.DE', UD, NOERR, dd 090e0210fh
    fault1 'MOV DR5 with CR4.DE', UD, NOERR, dd 090e8230fh
    mov eax, cr4
    and eax, -9
    mov cr4, eax
    ; --- #NM
    mov eax, cr0
    or eax, 8
    mov cr0, eax
    fault1 'FLD1 with TS', NM, NOERR, fld1
    fault1 'EMMS with TS', NM, NOERR, emms
    fault2 'MOVUPS without OSFXSR, TS or not', UD, NOERR, movups xmm0, [zero]
    fine1 'WAIT with TS, MP clear', wait
    mov eax, cr0
    or eax, 2
    mov cr0, eax
    fault1 'WAIT with TS and MP', NM, NOERR, wait
    clts
    fine1 'WAIT with MP', wait
    mov eax, cr0
    or eax, 4
    and eax, -3
    mov cr0, eax
    fault1 'FNINIT with EM', NM, NOERR, fninit
    fault1 'EMMS with EM', UD, NOERR, emms
    fine1 'WAIT with EM', wait
    mov eax, cr0
    and eax, -5
    or eax, 20h
    mov cr0, eax
    ; --- #MF: reported by the next waiting instruction
    fninit
    fldcw [unmasked]
    fld1
    fldz
    db 0deh, 0f9h               ; FDIVP: 1/0
    fault1 'WAIT with a pending exception', MF, NOERR, wait
    fault1 'FLD1 with a pending exception', MF, NOERR, fld1
    fault1 'EMMS with a pending exception', MF, NOERR, emms
    fine1 'FNSTSW does not wait', dw 0e0dfh
    fine1 'FNCLEX does not wait', fnclex
    fine1 'WAIT afterwards', wait
    fninit
    ; --- SSE without CR4.OSFXSR
    mov eax, cr4
    and eax, -201h
    mov cr4, eax
    fault2 'ADDPS without OSFXSR', UD, NOERR, addps xmm0, xmm1
    mov eax, cr4
    or eax, 200h
    mov cr4, eax
    fine2 'ADDPS with OSFXSR', addps xmm0, xmm1
    fault2 'MOVAPS at an odd address', GP, 0, movaps xmm0, [odd + 1]
    fault1 'FXSAVE at an odd address', GP, 0, fxsave [odd + 1]
    fault1 'LDMXCSR with a reserved bit', GP, 0, ldmxcsr [bad_mxcsr]
    ; #XM: division by zero, unmasked, with and without CR4.OSXMMEXCPT
    ldmxcsr [open_mxcsr]
    movups xmm0, [ones]
    movups xmm1, [zeroes]
    fault1 'DIVPS by zero without OSXMMEXCPT', UD, NOERR, dd 090c15e0fh
    mov eax, cr4
    or eax, 400h
    mov cr4, eax
    fault1 'DIVPS by zero with OSXMMEXCPT', 19, NOERR, dd 090c15e0fh
    ; --- #GP and #SS with error code 0
    setdesc T0, 1000h, 0fh, 93h, 4
    mov ax, T0
    mov fs, ax
    fault2 'read beyond the limit', GP, 0, mov eax, [fs:0dh]
    fine2 'read at the limit', mov eax, [fs:0ch]
    fault2 'write beyond the limit', GP, 0, mov [fs:10h], al
    fault2 'read at FFFFFFFF', GP, 0, mov ax, [fs:0ffffffffh]
    fine2 'write at the limit', mov [fs:0fh], al
    mov ax, T0
    mov fs, ax
    mov dword [user_flags], 2
    setdesc T0, 1000h, 0fh, 0f3h, 4
    try .ss
    go_user .ss_go
.ss_go:
    mov ax, T0 + 3
    mov ss, ax
    mov esp, 10h
.ss_at:
    mov eax, [esp]
    int 80h
.ss: expect 'stack read beyond the limit', SS_, 0, .ss_at
    try .ss2
    go_user .ss2_go
.ss2_go:
    mov ax, T0 + 3
    mov ss, ax
    mov ebp, 10h
.ss2_at:
    mov al, [ebp]
    int 80h
.ss2: expect 'EBP addresses the stack', SS_, 0, .ss2_at
    try .ss3
    go_user .ss3_go
.ss3_go:
    mov ax, T0 + 3
    mov ss, ax
    mov esp, 2
.ss3_at:
    push eax
    int 80h
.ss3: expect 'PUSH wraps out of the segment', SS_, 0, .ss3_at
    equal 'ESP stays', [got_esp], 2
    ; --- CR and MSR
    mov eax, 80000000h
    fault2 'CR0: PG without PE', GP, 0, mov cr0, eax
    mov eax, 20000001h
    fault2 'CR0: NW without CD', GP, 0, mov cr0, eax
    mov eax, 80000000h
    fault2 'CR4: a reserved bit', GP, 0, mov cr4, eax
    mov ecx, 0deadbeefh
    fault1 'RDMSR of nothing', GP, 0, rdmsr
    mov ecx, 0deadbeefh
    fault1 'WRMSR of nothing', GP, 0, wrmsr
    ; --- IDT limit and bad gates
    lidt [short_idt]
    fault1 'INT beyond the IDT', GP, 0efh * 8 + 2, int 0efh
    lidt [idtr]
    mov byte [idt + 0f0h * 8 + 5], 0
    fault1 'INT through an empty gate', GP, 0f0h * 8 + 2, int 0f0h
    mov byte [idt + 0f0h * 8 + 5], 0eh
    fault1 'INT through a gate not present', NP, 0f0h * 8 + 2, int 0f0h
    mov byte [idt + 0f0h * 8 + 5], 8ch
    fault1 'INT through a call gate', GP, 0f0h * 8 + 2, int 0f0h
    restore_idt 0f0h
    mov word [idt + 0f0h * 8 + 2], 0
    fault1 'INT to a null selector', GP, 0, int 0f0h
    mov word [idt + 0f0h * 8 + 2], DATA
    fault1 'INT to a data segment', GP, DATA, int 0f0h
    mov word [idt + 0f0h * 8 + 2], CODE3
    fault1 'INT to an outer ring', GP, CODE3 & 0fffch, int 0f0h
    setdesc T1, 0, 0fffffh, 1bh, 0ch
    mov word [idt + 0f0h * 8 + 2], T1
    fault1 'INT to a segment not present', NP, T1, int 0f0h
    setdesc T1, 0, 0fh, 9bh, 4
    fault1 'INT beyond the code limit', GP, 0, int 0f0h
    mov word [idt + 0f0h * 8 + 2], 0fff8h
    fault1 'INT beyond the GDT', GP, 0fff8h, int 0f0h
    restore_idt 0f0h
    ; The same while an exception is delivered has EXT set.
    mov byte [idt + UD * 8 + 5], 0eh
    fault1 'UD2 through a gate not present', NP, UD * 8 + 3, ud2
    restore_idt UD
    mov word [idt + UD * 8 + 2], DATA
    fault1 'UD2 to a data segment', GP, DATA + 1, ud2
    restore_idt UD
    mov byte [idt + BRK * 8 + 5], 6eh
    fault1 'INT3 through a gate not present', NP, BRK * 8 + 2, int3
    restore_idt BRK
    ; --- #AC needs ring 3
    mov eax, cr0
    or eax, 40000h
    mov cr0, eax
    try .ac
    pushfd
    or dword [esp], 40000h
    popfd
    mov eax, [odd + 1]
    int 80h
.ac: expect 'no #AC in ring 0', NONE, ANY, ANY
    mov dword [user_flags], 40002h
    ufault2 'dword at an odd address in ring 3', AC, 0, mov eax, [odd + 1]
    ufault2 'word at an odd address', AC, 0, mov ax, [odd + 1]
    ufine2 'byte at an odd address', mov al, [odd + 1]
    ufine2 'word at an even address', mov ax, [odd + 2]
    ufault2 'dword at a word address', AC, 0, mov eax, [odd + 2]
    mov dword [user_flags], 2
    ufine2 'without EFLAGS.AC', mov eax, [odd + 1]
    ; --- the saved flags: RF set for faults, clear for traps
    fault1 'UD2', UD, NOERR, ud2
    mov eax, [got_eflags]
    and eax, 10000h
    equal 'RF in the flags of a fault', eax, 10000h
    try .rf
    int3
.rf: expect 'INT3', BRK, NOERR, ANY
    mov eax, [got_eflags]
    and eax, 10000h
    equal 'RF in the flags of a trap', eax, 0
    jmp finish
align 16, 0
odd: times 32 db 0
ones dd 3f800000h, 3f800000h, 3f800000h, 3f800000h
zeroes dd 0, 0, 0, 0
zero dd 0
one dd 1
five dd 5
minus dd -1
bounds dd -2, 10
bounds16 dw -2, 3
unmasked dw 37bh
bad_mxcsr dd 10000h
open_mxcsr dd 1d80h
short_idt dw 0efh * 8 + 6
    dd idt
