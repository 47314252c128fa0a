; Debug registers: code, data and I/O breakpoints, general detection, RF.
bits 16
; address, DR7, text; the code between breakpoint and hit runs with the first register set.
%macro arm 2
    mov eax, 0ffff0ff0h
    mov dr6, eax
    mov eax, %1
    mov dr0, eax
    mov eax, %2
    mov dr7, eax
%endmacro
%macro disarm 1                 ; the bits 0 to 3 and 12 to 15 wanted in DR6
    xor eax, eax
    mov dr7, eax
    mov eax, [got_dr6]
    and eax, 0e00fh
    equal 'DR6', eax, %1
%endmacro
W1 equ 10001h
W2 equ 50001h
W4 equ 0d0001h
R1 equ 30001h
R4 equ 0f0001h
main:
    protected
    ; --- code: a fault before the instruction
    arm .x1, 1
    try .x1_end
    nop
.x1: mov ebx, 77h
    int 80h
.x1_end: expect 'code breakpoint', DBG, NOERR, .x1
    disarm 1
    mov eax, [got_eflags]
    and eax, 10000h
    equal 'RF clear in the saved flags', eax, 0
    ; with RF it is passed
    arm .x2, 2
    try .x2_end
    push dword 10002h
    push dword CODE
    push dword .x2
    iretd
.x2: nop
.x2_flags:
    pushfd
    pop dword [seen]
    int 80h
.x2_end: expect 'RF by IRETD', NONE, ANY, ANY
    mov eax, [seen]
    and eax, 10000h
    equal 'PUSHFD shows RF clear', eax, 0
    ; RF only for one instruction
    arm .x3, 1
    try .x3_end
    push dword 10002h
    push dword CODE
    push dword .x3_start
    iretd
.x3_start: nop
.x3: nop
    int 80h
.x3_end: expect 'RF lasts one instruction', DBG, NOERR, .x3
    disarm 1
    ; a fault handler's IRET: faults save RF set, so that the breakpoint does not strike twice
    arm .x4, 1
    mov dword [hook], .mend
    mov dword [count], 0
    try .x4_end
.x4: mov eax, [esi_bad]
    int 80h
.x4_end: mov dword [hook], 0
    expect 'breakpoint once', NONE, ANY, ANY
    equal 'hook called once', [count], 1
    disarm 1
    ; disabled
    arm .x5, 0
    try .x5_end
.x5: nop
    int 80h
.x5_end: expect 'disabled', NONE, ANY, ANY
    ; code breakpoint on the instruction behind MOV SS is held back
    arm .x6, 1
    try .x6_end
    mov ax, DATA
    mov ss, ax
.x6: nop
    int 80h
.x6_end: expect 'behind MOV SS', NONE, ANY, ANY
    ; only the first byte counts
    arm .x7 + 1, 1
    try .x7_end
.x7: mov eax, 1
    int 80h
.x7_end: expect 'inside an instruction', NONE, ANY, ANY
    ; --- data: a trap after the instruction
%macro trap2 5                  ; text, address, DR7, instruction
    arm %2, %3
    try %%done
    %4, %5
%%next:
    int 80h
%%done: expect %1, DBG, NOERR, %%next
    disarm 1
%endmacro
%macro calm2 5
    arm %2, %3
    try %%done
    %4, %5
    int 80h
%%done: expect %1, NONE, ANY, ANY
%endmacro
    trap2 'write byte', 0b001h, W1, mov [0b001h], al
    calm2 'read of a write breakpoint', 0b001h, W1, mov al, [0b001h]
    calm2 'write beside', 0b001h, W1, mov [0b002h], al
    trap2 'dword write over it', 0b001h, W1, mov [0b000h], eax
    trap2 'word breakpoint, second byte', 0b000h, W2, mov [0b001h], al
    calm2 'word breakpoint, beside', 0b000h, W2, mov [0b002h], al
    trap2 'dword breakpoint, last byte', 0b000h, W4, mov [0b003h], al
    trap2 'dword breakpoint ignores low address bits', 0b002h, W4, mov [0b000h], al
    calm2 'dword breakpoint, beside', 0b000h, W4, mov [0b004h], al
    trap2 'read', 0b000h, R4, mov al, [0b002h]
    trap2 'write of a read-write breakpoint', 0b000h, R1, mov [0b000h], al
    trap2 'read-modify-write', 0b000h, W4, add [0b000h], eax
    calm2 'fetch does not count', .code, R1, .code: mov eax, 1
    ; PUSH and POP
    arm STACK - 104h, W4
    try .push_end
    mov esp, STACK - 100h
    push eax
.push_next:
    int 80h
.push_end: expect 'PUSH', DBG, NOERR, .push_next
    disarm 1
    ; string instructions: after the iteration
    arm 0b008h, W4
    try .rep_end
    mov edi, 0b000h
    mov ecx, 8
.rep: rep stosd
    int 80h
.rep_end: expect 'REP STOSD', DBG, NOERR, .rep
    equal 'ECX', [got_ecx], 5
    equal 'EDI', [got_edi], 0b00ch
    disarm 1
    ; the hit waits behind MOV SS
    arm ss_value, R1
    try .ss_end
    mov ss, [ss_value]
    nop
.ss_next:
    nop
    int 80h
.ss_end: expect 'data breakpoint of MOV SS', DBG, NOERR, .ss_next
    disarm 1
    ; two at once
    arm 0b000h, 30001h + 300004h
    mov eax, 0b002h
    mov dr1, eax
    try .two_end
    mov eax, [0b000h]
.two_next:
    int 80h
.two_end: expect 'two breakpoints', DBG, NOERR, .two_next
    disarm 3
    ; --- I/O with CR4.DE
    mov eax, cr4
    or eax, 8
    mov cr4, eax
    trap2 'OUT', 80h, 20001h, out 80h, al
    trap2 'IN', 80h, 20001h, in al, 80h
    calm2 'another port', 81h, 20001h, out 80h, al
    trap2 'word over the port', 81h, 20001h, out 80h, ax
    mov eax, cr4
    and eax, -9
    mov cr4, eax
    calm2 'without CR4.DE', 80h, 20001h, out 80h, al
    ; --- general detection
    arm 0, 2000h
    try .gd_end
.gd: mov eax, dr0
    int 80h
.gd_end: expect 'general detection', DBG, NOERR, .gd
    mov eax, dr7
    and eax, 2000h
    equal 'GD clear in the handler', eax, 0
    disarm 2000h
    ; --- linear addresses: a segment base counts
    setdesc T0, 0b000h, 0fffffh, 93h, 0ch
    mov ax, T0
    mov fs, ax
    trap2 'segment base', 0b010h, W1, mov [fs:10h], al
    ; --- ring 3 and V86
    arm 0b000h, W1
    try .r3_end
    go_user .r3
.r3: mov [0b000h], al
.r3_next:
    int 80h
.r3_end: expect 'ring 3', DBG, NOERR, .r3_next
    disarm 1
    ; --- breakpoint and single step in one: one exception, both bits
    arm 0b000h, W1
    try .both_end
    push dword 102h
    popfd
    mov [0b000h], al
.both_next:
    int 80h
.both_end: expect 'breakpoint and single step', DBG, NOERR, .both_next
    disarm 4001h
    jmp finish
.mend:
    cmp dword [got_vector], DBG
    jne .other
    inc dword [count]
    or dword [esi + 8], 10000h
    clc
    ret
.other:
    stc
    ret
esi_bad dd 0
seen dd 0
ss_value dw DATA
