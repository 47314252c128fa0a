; The longest instruction is 15 bytes; code that runs over the end of its segment; LOCK legality.
bits 16
%macro lock_ud1 2
    fault1 %1, UD, NOERR, %2
%endmacro
main:
    ; --- real mode
    try .real15
    times 14 db 66h
    nop
    int 80h
.real15: expect16 'real mode: 15 bytes', NONE, ANY, ANY
    try .real16
.real16_at:
    times 15 db 66h
    nop
    int 80h
.real16: expect16 'real mode: 16 bytes', GP, NOERR, .real16_at
    protected
    try .p15
    times 14 db 3eh
    nop
    int 80h
.p15: expect '15 bytes', NONE, ANY, ANY
    try .p16
.p16_at:
    times 15 db 3eh
    nop
    int 80h
.p16: expect '16 bytes', GP, 0, .p16_at
    ; 15 with everything: LOCK ADD DWORD [FS:EAX*4 + 32 bits], 32 bits is 13; prefixes fill up
    xor eax, eax
    try .full15
    dd 64f03e3eh                ; 2 DS, LOCK, FS
    dd 00850481h                ; ADD [EAX*4 + B000h], 12345678h
    dd 780000b0h
    db 56h, 34h, 12h
    int 80h
.full15: expect 'a full 15 bytes', NONE, ANY, ANY
    try .full16
.full16_at:
    db 3eh
    dd 64f03e3eh
    dd 00850481h
    dd 780000b0h
    db 56h, 34h, 12h
    int 80h
.full16: expect 'a full 16 bytes', GP, 0, .full16_at
    ; too long comes before invalid
    try .long_ud
.long_ud_at:
    times 14 db 3eh
    dw 0b0fh
    int 80h
.long_ud: expect 'UD2 of 16 bytes', GP, 0, .long_ud_at
    ; across a page
    mov edi, 20ff8h
    mov al, 66h
    mov ecx, 15
    rep stosb
    mov byte [edi], 90h
    try .page
    jmp dword CODE:20ff8h
.page: expect '16 bytes across a page', GP, 0, 20ff8h
    ; --- the end of the code segment
    mov dword [20100h], 90909090h
    mov dword [20104h], 000000b8h
    setdesc T0, 20000h, 103h, 9bh, 4
    try .limit
    jmp dword T0:100h
.limit: expect 'running over the limit', GP, 0, 104h
    setdesc T0, 20000h, 106h, 9bh, 4
    try .limit2
    jmp dword T0:100h
.limit2: expect 'an instruction across the limit', GP, 0, 104h
    setdesc T0, 20000h, 108h, 9bh, 4
    mov word [20109h], 80cdh
    try .limit3
    jmp dword T0:100h
.limit3: expect 'up to the limit, then beyond', GP, 0, 109h
    ; --- LOCK
    mov ebx, 0b000h
    xor ecx, ecx
    fine2 'LOCK ADD', lock add [0b000h], eax
    fine2 'LOCK OR', lock or [0b000h], eax
    fine2 'LOCK ADC', lock adc [0b000h], eax
    fine2 'LOCK SBB', lock sbb [0b000h], eax
    fine2 'LOCK AND', lock and [0b000h], eax
    fine2 'LOCK SUB', lock sub byte [0b000h], 1
    fine2 'LOCK XOR', lock xor dword [0b000h], 1
    fine1 'LOCK INC', lock inc dword [0b000h]
    fine1 'LOCK DEC', lock dec byte [0b000h]
    fine1 'LOCK NOT', lock not dword [0b000h]
    fine1 'LOCK NEG', lock neg dword [0b000h]
    fine2 'LOCK XCHG', lock xchg [0b000h], eax
    fine2 'LOCK XADD', lock xadd [0b000h], eax
    fine2 'LOCK CMPXCHG', lock cmpxchg [0b000h], eax
    fine1 'LOCK CMPXCHG8B', lock cmpxchg8b [0b000h]
    fine2 'LOCK BTS', lock bts dword [0b000h], 1
    fine2 'LOCK BTR', lock btr dword [0b000h], 1
    fine2 'LOCK BTC', lock btc dword [0b000h], 1
    fault2 'LOCK ADD register', UD, NOERR, lock add eax, ecx
    fault2 'LOCK ADD from memory', UD, NOERR, lock add eax, [0b000h]
    fault2 'LOCK CMP', UD, NOERR, lock cmp [0b000h], eax
    fault2 'LOCK CMP immediate', UD, NOERR, lock cmp dword [0b000h], 1
    fault2 'LOCK TEST', UD, NOERR, lock test [0b000h], eax
    fault2 'LOCK BT', UD, NOERR, lock bt dword [0b000h], 1
    fault2 'LOCK MOV', UD, NOERR, lock mov [0b000h], eax
    fault2 'LOCK SHL', UD, NOERR, lock shl dword [0b000h], 1
    fault1 'LOCK INC register', UD, NOERR, lock inc eax
    fault1 'LOCK NOT register', UD, NOERR, lock not eax
    fault1 'LOCK MUL', UD, NOERR, lock mul dword [0b000h]
    fault2 'LOCK XCHG registers', UD, NOERR, lock xchg eax, ecx
    fault2 'LOCK XADD registers', UD, NOERR, lock xadd ecx, eax
    fault2 'LOCK CMPXCHG registers', UD, NOERR, lock cmpxchg ecx, eax
    fault2 'LOCK BTS register', UD, NOERR, lock bts eax, 1
    fault1 'LOCK PUSH', UD, NOERR, lock push dword [0b000h]
    fault1 'LOCK POP', UD, NOERR, lock pop dword [0b000h]
    fault1 'LOCK NOP', UD, NOERR, lock nop
    fault1 'LOCK MOVSB', UD, NOERR, lock movsb
    fault1 'LOCK HLT', UD, NOERR, lock hlt
    fault1 'LOCK CALL', UD, NOERR, lock call dword [0b000h]
    fault2 'LOCK LEA', UD, NOERR, lock lea eax, [0b000h]
    fault2 'LOCK IMUL', UD, NOERR, lock imul eax, [0b000h]
    fault1 'LOCK LGDT', UD, NOERR, lock lgdt [gdtr]
    fault1 'LOCK INVLPG', UD, NOERR, lock invlpg [0b000h]
    fault1 'LOCK MOV CR0', UD, NOERR, dd 0c0200ff0h
    fault1 'LOCK WAIT', UD, NOERR, lock wait
    fault1 'LOCK FLD1', UD, NOERR, lock fld1
    ufault1 'LOCK HLT in ring 3', UD, NOERR, lock hlt
    ufault2 'LOCK MOV in ring 3', UD, NOERR, lock mov [0b000h], eax
    jmp finish
