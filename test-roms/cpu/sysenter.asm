; SYSENTER and SYSEXIT.
bits 16
%macro msr 2
    mov ecx, %1
    mov eax, %2
    xor edx, edx
    wrmsr
%endmacro
main:
    protected
    ufault1 'SYSENTER without a CS', GP, 0, sysenter
    fault1 'SYSEXIT without a CS', GP, 0, sysexit
    msr 174h, 3
    ufault1 'SYSENTER with a null CS', GP, 0, sysenter
    msr 174h, CODE
    msr 175h, 0b800h
    msr 176h, .entered
    mov dword [user_flags], 3202h
    try .enter
    go_user .enter_go
.enter_go:
    mov esp, USER_STACK - 100h
    sysenter
    int 80h
.entered:
    mov [seen], esp
    mov [seen + 4], cs
    mov [seen + 8], ss
    pushfd
    pop dword [seen + 12]
    int 80h
.enter: expect 'SYSENTER', NONE, ANY, ANY
    equal 'ESP', [seen], 0b800h
    movzx eax, word [seen + 4]
    equal 'CS', eax, CODE
    movzx eax, word [seen + 8]
    equal 'SS', eax, DATA
    mov eax, [seen + 12]
    and eax, 23200h
    equal 'IF clear, IOPL stays', eax, 3000h
    equal 'ring 0', [got_cs], CODE
    ; the descriptors in memory are not read
    mov byte [gdt + CODE3 - 3 + 5], 0
    mov byte [gdt + DATA3 - 3 + 5], 0
    mov ax, DATA
    mov ds, ax
    try .exit
    mov edx, .exited
    mov ecx, USER_STACK - 40h
    sysexit
.exited:
    mov ax, cs
    mov bx, ss
    int 80h
.exit: mov byte [gdt + CODE3 - 3 + 5], 0fbh
    mov byte [gdt + DATA3 - 3 + 5], 0f3h
    expect 'SYSEXIT', NONE, ANY, ANY
    equal 'CS', [got_cs], CODE3
    equal 'SS', [got_ss], DATA3
    equal 'ESP', [got_esp], USER_STACK - 40h
    ufault1 'SYSEXIT in ring 3', GP, 0, sysexit
    vfault1 'SYSEXIT in V86 mode', GP, 0, sysexit
    ; from V86 mode: VM is cleared; the data segments stay as they were, with V86 bases and limits
    mov dword [user_flags], 2
    try .v86
    msr 176h, .v86_entered
    go_v86 .v86_go
bits 16
.v86_go: sysenter
bits 32
.v86_entered:
    pushfd
    pop eax
    int 80h
.v86: expect 'SYSENTER in V86 mode', NONE, ANY, ANY
    mov eax, [got_eax]
    and eax, 20200h
    equal 'VM clear', eax, 0
    jmp finish
seen dd 0, 0, 0, 0
