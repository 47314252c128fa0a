; Real mode: exceptions, wrap-around, instructions that do not exist there.
bits 16
main:
    xor edx, edx
    mov ax, 5
    rfault1 'DIV by zero', DE, div word [zero]
    rfault1 'UD2', UD, ud2
    try .bp
    int3
.bp_next:
    int 80h
.bp: expect16 'INT3', BRK, NOERR, .bp_next
    try .of
    mov al, 7fh
    add al, 1
    into
.of_next:
    int 80h
.of: expect16 'INTO', OF, NOERR, .of_next
    mov ax, 4
    rfault2 'BOUND', BR, bound ax, [bounds]
    ; --- segment limits: FFFFh
    rfault2 'word read at FFFF', GP, mov ax, [0ffffh]
    rfault2 'word write at FFFF', GP, mov [0ffffh], ax
    rfine2 'byte read at FFFF', mov al, [0ffffh]
    rfault2 'dword read at FFFD', GP, mov eax, [0fffdh]
    rfine2 'dword read at FFFC', mov eax, [0fffch]
    mov ebx, 10000h
    rfault2 '32-bit address beyond the limit', GP, mov al, [ebx]
    try .ss
    mov bp, 0ffffh
.ss_at: mov ax, [bp]
    int 80h
.ss: expect16 'stack word at FFFF', SS_, NOERR, .ss_at
    ; A PUSH with SP = 0 wraps to FFFE: SS has room at the top of its own segment.
    try .wrap
    mov ax, 2000h
    mov ss, ax
    xor sp, sp
    push word 1234h
    mov bp, sp
    mov ax, [bp]
    mov [word0], ax
    mov [word1], sp
    int 80h
.wrap: expect16 'PUSH with SP = 0', NONE, ANY, ANY
    movzx eax, word [word1]
    equal16 'SP afterwards', eax, 0fffeh
    movzx eax, word [word0]
    equal16 'the word', eax, 1234h
    ; IP beyond FFFF
    try .ip
    mov eax, 10000h
.ip_at: jmp eax
    int 80h
.ip: expect16 'JMP beyond the code limit', GP, NOERR, .ip_at
    ; String instruction that runs over the end of the segment: #GP with the registers of that element.
    try .str
    mov ax, 2000h
    mov es, ax
    mov di, 0fffch
    mov cx, 4
    xor ax, ax
.str_at: rep stosw
    int 80h
.str: expect16 'REP STOSW to the end of the segment', NONE, ANY, ANY
    try .str2
    mov ax, 2000h
    mov es, ax
    mov edi, 0fffdh
    mov ecx, 4
.str2_at: rep stosw
    int 80h
.str2: expect16 'REP STOSW over the end', GP, NOERR, .str2_at
    movzx eax, word [got_ecx]
    equal16 'CX then', eax, 3
    movzx eax, word [got_edi]
    equal16 'DI then', eax, 0ffffh
    ; --- not in real mode
    rfault1 'LLDT', UD, lldt ax
    rfault1 'LTR', UD, ltr ax
    rfault1 'SLDT', UD, sldt ax
    rfault1 'STR', UD, str ax
    rfault1 'VERR', UD, verr ax
    rfault1 'VERW', UD, verw ax
    rfault2 'LAR', UD, lar ax, bx
    rfault2 'LSL', UD, lsl ax, bx
    rfault2 'ARPL', UD, arpl ax, bx
    rfault1 'SYSENTER', GP, sysenter
    rfault1 'SYSEXIT', GP, sysexit
    ; --- may be used
    rfine1 'SMSW', smsw ax
    rfine1 'CLTS', clts
    rfine1 'INVLPG', invlpg [0]
    rfine1 'WBINVD', wbinvd
    rfine2 'MOV CR0', mov eax, cr0
    rfine1 'CPUID', cpuid
    ; --- the limit of the vector table: INT beyond it is #GP
    mov word [small_idtr], 80h * 4 + 3
    lidt [small_idtr]
    rfault1 'INT 81h beyond the table', GP, int 81h
    mov word [small_idtr], 80h * 4 + 3 + 3
    lidt [small_idtr]
    rfault1 'INT 81h partly beyond the table', GP, int 81h
    mov word [small_idtr], 80h * 4 + 3 + 4
    lidt [small_idtr]
    try .int81
    int 81h
.int81_next:
    int 80h
.int81: expect16 'INT 81h within the table', 81h, NOERR, .int81_next
    lidt [real_idtr]
    ; --- the table may be elsewhere
    mov si, vectors
    mov di, 0b000h
    mov cx, 200h
    xor ax, ax
    mov es, ax
    rep movsw
    mov word [0b000h + 6 * 4], .moved
    lidt [moved_idtr]
    try .moved_end
    ud2
.moved:
    mov dword [got_vector], 77h
.moved_end:
    lidt [real_idtr]
    expect16 'a table at B000h', 77h, ANY, ANY
    ; --- flags pushed by INT, IF and TF in the handler
    try .flags
    sti
    int 82h
.flags:
    cli
    expect16 'INT 82h with IF', 82h, NOERR, ANY
    mov eax, [got_eflags]
    and eax, 200h
    equal16 'IF in the pushed flags', eax, 200h
    ; --- POPF keeps nothing back in real mode, IRET takes 16 bits
    push word 7002h
    popf
    pushf
    pop ax
    movzx eax, ax
    and eax, 7000h
    equal16 'NT and IOPL can be set', eax, 7000h
    push word 2
    popf
    pushfd
    pop eax
    xor eax, 240000h
    push eax
    popfd
    pushfd
    pop edx
    xor eax, edx
    and eax, 240000h
    equal16 'POPFD changes AC and ID', eax, 0
    ; --- unreal mode: a limit loaded in protected mode stays
    setdesc T0, 0, 0fffffh, 93h, 0ch
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp short .pm
.pm:
    mov bx, T0
    mov fs, bx
    and al, 0feh
    mov cr0, eax
    jmp short .rm
.rm:
    mov ebx, 100000h
    rfine2 'big limit in real mode', mov [fs:ebx], eax
    mov ebx, 100000h
    xor ax, ax
    mov fs, ax
    rfine2 'big limit after a load', mov [fs:ebx], eax
    ; --- DR and TR registers
    rfine2 'MOV DR7', mov eax, dr7
    rfault1 'MOV TR6', UD, dd 90f0240fh
    ; --- LOCK
    rfault1 'LOCK NOP', UD, lock nop
    rfault2 'LOCK MOV', UD, lock mov [zero], ax
    rfine2 'LOCK ADD', lock add [scratch], ax
    jmp finish16
zero dw 0
scratch dw 0
word0 dw 0
word1 dw 0
bounds dw 0, 3
small_idtr dw 0
    dd 0
moved_idtr dw 3ffh
    dd 0b000h
