; Triple faults, each in its own way; the board answers with a reset, RAM survives, and the count in
; it says which comes next.
bits 16
main:
    mov ax, 9f00h
    mov ds, ax
    cmp dword [0], 5a5a1234h
    je .again
    mov dword [0], 5a5a1234h
    mov dword [4], 0
.again:
    inc dword [4]
    mov eax, [4]
    xor bx, bx
    mov ds, bx
    mov [stage], eax
    cmp eax, 6
    jae .done
    mov eax, cr0
    and eax, 9fffffffh
    cmp eax, 10h                ; what reset leaves
    je .fine
    inc dword [failures]
.fine:
    cmp dword [stage], 5
    je .real
    protected
    cmp dword [stage], 1
    je .one
    cmp dword [stage], 2
    je .two
    cmp dword [stage], 3
    je .three
    ; 4: #DF with a gate that is not present
    mov byte [idt + GP * 8 + 5], 0eh
    mov byte [idt + DF * 8 + 5], 0eh
    mov ax, DATA + 3
    mov es, ax
    jmp .alive
.one: lidt [no_idt]             ; 1: no IDT at all
    int3
    jmp .alive
.two: mov word [gdt + DATA], 0fh   ; 2: a stack that is too small
    mov byte [gdt + DATA + 6], 40h
    mov ax, DATA
    mov ss, ax
    mov esp, 10000h
    ud2
    jmp .alive
.three:                         ; 3: paging on without tables
    mov eax, 20000h
    mov cr3, eax
    mov edi, 20000h
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    nop
.alive:
    inc dword [failures]
    mov dword [checks], 0
    jmp finish
bits 16
.real:                          ; 5: real mode, vector table too short for #GP and #DF
    lidt [no_idt]
    int 3
    inc dword [failures]
    jmp finish16
.done:
    mov ax, 9f00h
    mov es, ax
    mov dword [es:0], 0
    equal16 'stages', [stage], 6
    jmp finish16
stage dd 0
no_idt dw 0
    dd 0
