; Self-modifying code: from P6 on stores reach code that is about to run, without a jump (the SDM,
; vol. 3, 11.6, asks for a jump; through another linear address for a serialising instruction).
bits 16
WIN equ 400000h
main:
    protected
    ; --- next instruction
    mov byte [.n1 + 1], 55h
.n1: mov bl, 11h
    movzx eax, bl
    equal 'the next instruction', eax, 55h
    ; --- behind a jump
    mov byte [.n2 + 1], 56h
    jmp short .n2
.n2: mov bl, 11h
    movzx eax, bl
    equal 'behind a jump', eax, 56h
    ; --- a loop that counts in its own immediate
    mov ecx, 100
    xor edx, edx
.loop:
.n3: add edx, 0
    inc byte [.n3 + 2]
    dec ecx
    jnz .loop
    equal 'a loop that changes itself', edx, 4950
    ; --- an instruction already run, changed from elsewhere
    call .sub
    mov [before], eax
    mov dword [.sub + 1], 2222h
    call .sub
    equal 'a routine called before', eax, 2222h
    equal 'and what it was', [before], 1111h
    ; --- opcode
    mov word [.n4], 9090h
    mov eax, 5
.n4: inc eax
    inc eax
    equal 'instructions replaced by NOP', eax, 5
    ; --- in the middle of a block, by a string store
    mov edi, .n5
    mov ecx, 8
    mov al, 40h
    mov ebx, 0
    rep stosb
    xor eax, eax
.n5: times 8 nop
    equal 'REP STOSB', eax, 8
    ; --- REP STOSB over itself: iterations go on with the prefix and opcode read at its beginning,
    ; or stop where it was overwritten; the bytes behind must be the new ones
    mov esi, .n6_new
    mov edi, .n6
    mov ecx, 6
    rep movsb
.n6: mov eax, 1
    nop
    equal 'REP MOVSB just ahead', eax, 99h
    ; --- PUSH writes code
    mov edx, esp
    mov esp, .n7 + 4
    push dword 90909040h        ; INC EAX, NOP ...
    mov esp, edx
    mov eax, 7
.n7: times 4 nop
    equal 'PUSH', eax, 8
    ; --- other pages: 30000h and an instruction across 30FFFh/31000h
    mov dword [30ffch], 0b8909090h      ; NOP NOP NOP MOV EAX,
    mov dword [31000h], 11111111h
    mov dword [31004h], 0c3h
    mov edi, 30ffch
    call edi
    mov [before], eax
    mov byte [31003h], 22h
    call edi
    equal 'second page of an instruction across', eax, 22111111h
    equal 'before', [before], 11111111h
    mov byte [30ffeh], 40h
    mov byte [30fffh], 3dh      ; CMP EAX, imm: EAX stays
    mov eax, 5
    call edi
    equal 'first page of an instruction across', eax, 6
    ; --- data beside code on the same page
    mov dword [32000h], 0320100fh
    mov dword [32000h], 201005ffh       ; INC DWORD [32010h]
    mov dword [32004h], 0c3000300h
    mov word [32004h], 0003h
    mov byte [32006h], 0c3h
    mov edi, 32000h
    mov dword [32010h], 0
    mov ecx, 1000
.beside:
    call edi
    dec ecx
    jnz .beside
    equal 'data beside code', [32010h], 1000
    ; --- through an alias, with paging
    window 33007h, 34007h
    mov byte [33000h], 0b8h
    mov dword [33001h], 1
    mov byte [33005h], 0c3h
    mov edi, 33000h
    call edi
    mov [before], eax
    mov dword [WIN + 1], 2
    xor eax, eax
    cpuid
    call edi
    equal 'through an alias', eax, 2
    equal 'before', [before], 1
    mov dword [33001h], 3
    mov edi, WIN
    xor eax, eax
    cpuid
    call edi
    equal 'run at the alias', eax, 3
    ; remap: the same linear address, another page
    mov byte [34000h], 0b8h
    mov dword [34001h], 4
    mov byte [34005h], 0c3h
    mov dword [22000h], 34007h
    invlpg [WIN]
    call edi
    equal 'remapped', eax, 4
    mov dword [22000h], 33007h
    mov eax, cr3
    mov cr3, eax
    call edi
    equal 'and back', eax, 3
    ; the second page of an instruction across is remapped
    mov byte [33fffh], 0b8h
    mov dword [34000h], 5
    mov byte [34004h], 0c3h
    mov dword [35000h], 6
    mov byte [35004h], 0c3h
    mov edi, WIN + 0fffh
    call edi
    mov [before], eax
    mov dword [22004h], 35007h
    invlpg [WIN + 1000h]
    call edi
    equal 'second page remapped', eax, 6
    equal 'before', [before], 5
    ; a store in ring 3 to a page with code, read-only to it, changes nothing
    mov dword [22000h], 33005h
    invlpg [WIN]
    ufault2 'ring 3 writes to read-only code', PF, 7, mov byte [WIN + 1], 9
    mov edi, WIN
    call edi
    equal 'the code is unchanged', eax, 3
    jmp finish
.sub:
    mov eax, 1111h
    ret
.n6_new:
    mov eax, 99h
    nop
before dd 0
