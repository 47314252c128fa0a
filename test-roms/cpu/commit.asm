; Accesses that fault on their second page, in ring 3: ESP, the other registers and EIP are those of
; before; locked and 64-bit stores have written nothing. Pages 0 and 2 of the window are absent,
; page 1 is there.
bits 16
WIN equ 400000h
LOW equ WIN + 1000h             ; going down from here faults
HIGH equ WIN + 2000h            ; going up from here faults
; text, ESP, instruction, EIP of it is checked; CR2 must lie in the page given.
%macro stack1 5                 ; text, ESP, CR2 page, error, instruction
    try %%done
    push dword DATA3
    push dword %2
    push dword [user_flags]
    push dword CODE3
    push dword %%at
    mov eax, 11111111h
    mov ebp, HIGH - 40h
    jmp to_user_kept
%%at: %5
    int 80h
%%done: expect %1, PF, %4, %%at
    equal 'ESP', [got_esp], %2
    equal 'EBP', [got_ebp], HIGH - 40h
    mov eax, [got_cr2]
    and eax, 0fffff000h
    equal 'CR2', eax, %3
%endmacro
%macro cross1 4                 ; text, error, CR2, instruction
    ufault1 %1, PF, %2, %4
    equal 'CR2', [got_cr2], %3
%endmacro
%macro cross2 5
    ufault2 %1, PF, %2, %4, %5
    equal 'CR2', [got_cr2], %3
%endmacro
main:
    protected
    mov eax, cr4
    or eax, 200h
    mov cr4, eax
    window 0, 31007h
    setdesc T0, 0, 0fffffh, 0fbh, 0ch
    ; --- pushes
    stack1 'PUSH', LOW + 2, WIN, 6, push eax
    stack1 'PUSHAD', LOW + 16, WIN, 6, pushad
    stack1 'PUSHA', LOW + 7, WIN, 6, pushaw
    stack1 'PUSHFD', LOW, WIN, 6, pushfd
    stack1 'PUSH from memory', LOW, WIN, 6, push dword [0b000h]
    stack1 'CALL', LOW + 1, WIN, 6, call dword [near_target]
    stack1 'CALL relative', LOW + 3, WIN, 6, call near_code
    stack1 'CALL FAR, first push', LOW, WIN, 6, call dword T0+3:near_code
    stack1 'CALL FAR, second push', LOW + 4, WIN, 6, call dword T0+3:near_code
    stack1 'CALL FAR through memory', LOW + 4, WIN, 6, call far dword [far_target]
    ; --- pops
    stack1 'POP', HIGH - 2, HIGH, 4, pop eax
    equal 'EAX', [got_eax], 11111111h
    stack1 'POPAD', HIGH - 16, HIGH, 4, popad
    equal 'EAX', [got_eax], 11111111h
    stack1 'POPFD', HIGH - 1, HIGH, 4, popfd
    stack1 'RET', HIGH - 3, HIGH, 4, ret
    stack1 'RETF', HIGH - 4, HIGH, 4, retf
    stack1 'IRETD', HIGH - 8, HIGH, 4, iretd
    stack1 'POP to memory', HIGH, HIGH, 4, pop dword [0b000h]
    stack1 'POP ES', HIGH, HIGH, 4, pop es
    ; POP to a bad place: ESP is back
    stack1 'POP to an absent page', HIGH - 40h, HIGH, 6, pop dword [HIGH]
    ; ENTER: EBP and ESP stay (two operands; the macro takes one)
    try .enter
    push dword DATA3
    push dword LOW + 8
    push dword 2
    push dword CODE3
    push dword .enter_at
    mov ebp, HIGH - 40h
    jmp to_user_kept
.enter_at: enter 16, 4
    int 80h
.enter: expect 'ENTER', PF, 6, .enter_at
    equal 'ESP', [got_esp], LOW + 8
    equal 'EBP', [got_ebp], HIGH - 40h
    ; the last push fits, but the new ESP must be writable
    try .enter0
    push dword DATA3
    push dword LOW + 8
    push dword 2
    push dword CODE3
    push dword .enter0_at
    mov ebp, HIGH - 40h
    jmp to_user_kept
.enter0_at: enter 16, 0
    int 80h
.enter0: expect 'ENTER with locals in an absent page', PF, 6, .enter0_at
    equal 'ESP', [got_esp], LOW + 8
    equal 'EBP', [got_ebp], HIGH - 40h
    ; --- stores across
    mov dword [HIGH - 4], 5a5a5a5ah
    cross2 'MOV', 6, HIGH, mov [HIGH - 2], eax
    cross2 'XCHG', 6, HIGH, xchg [HIGH - 2], eax
    cross2 'ADD', 6, HIGH, add [HIGH - 1], eax
    cross2 'LOCK XADD', 6, HIGH, lock xadd [HIGH - 3], eax
    cross2 'LOCK CMPXCHG', 6, HIGH, lock cmpxchg [HIGH - 3], eax
    cross1 'LOCK CMPXCHG8B', 6, HIGH, lock cmpxchg8b [HIGH - 4]
    cross2 'BTS', 6, HIGH, bts dword [HIGH - 2], 1
    cross2 'MOVUPS store', 6, HIGH, movups [HIGH - 4], xmm0
    cross1 'FISTP', 6, HIGH, fistp qword [HIGH - 4]
    cross1 'FSTP of 80 bits', 6, HIGH, fstp tword [HIGH - 4]
    equal 'nothing was written', [HIGH - 4], 5a5a5a5ah
    ; SIDT may write its limit before it notices
    cross1 'SIDT', 6, HIGH, sidt [HIGH - 2]
    ; --- loads across
    cross2 'MOV', 4, HIGH, mov eax, [HIGH - 2]
    cross2 'LES', 4, HIGH, les eax, [HIGH - 4]
    cross2 'BOUND', 4, HIGH, bound eax, [HIGH - 4]
    cross2 'MOVUPS load', 4, HIGH, movups xmm0, [HIGH - 8]
    cross1 'FLD of 80 bits', 4, HIGH, fld tword [HIGH - 4]
    cross1 'JMP through memory', 4, HIGH, jmp dword [HIGH - 1]
    fault1 'LGDT across', PF, 0, lgdt [HIGH - 4]
    sgdt [0b000h]
    movzx eax, word [0b000h]
    equal 'GDTR stays', eax, gdt_end - gdt - 1
    ; --- x87 state across: the registers stay as they were
    fninit
    fld1
    cross1 'FNSAVE', 6, HIGH, fnsave [HIGH - 40]
    xor eax, eax
    fnstsw ax
    equal 'FNSAVE did not initialise', eax, 3800h
    ufault1 'FNSTENV', PF, 6, fnstenv [HIGH - 8]
    ufault1 'FRSTOR', PF, 4, frstor [HIGH - 40]
    xor eax, eax
    fnstsw ax
    equal 'FRSTOR loaded nothing', eax, 3800h
    ; where in the second page is not said
    ufault1 'FXSAVE', PF, 6, fxsave [HIGH - 256]
    ufault1 'FXRSTOR', PF, 4, fxrstor [HIGH - 256]
    ufault1 'FLDENV', PF, 4, fldenv [HIGH - 8]
    xor eax, eax
    fnstsw ax
    equal 'status', eax, 3800h
    ; --- strings: whole iterations
    try .movs
    go_user .movs_go
.movs_go:
    mov esi, 0b000h
    mov edi, HIGH - 10
    mov ecx, 5
    cld
.movs_at: rep movsd
    int 80h
.movs: expect 'REP MOVSD', PF, 6, .movs_at
    equal 'ECX', [got_ecx], 3
    equal 'ESI', [got_esi], 0b008h
    equal 'EDI', [got_edi], HIGH - 2
    try .scas
    go_user .scas_go
.scas_go:
    mov edi, HIGH - 6
    mov ecx, 5
    mov eax, 12345678h
.scas_at: repne scasd
    int 80h
.scas: expect 'REPNE SCASD', PF, 4, .scas_at
    equal 'ECX', [got_ecx], 4
    equal 'EDI', [got_edi], HIGH - 2
    jmp finish
to_user_kept:
    push eax
    mov ax, DATA3
    mov ds, ax
    mov es, ax
    pop eax
    iretd
near_target dd near_code
far_target dd near_code
    dw T0 + 3
near_code:
    int 80h
