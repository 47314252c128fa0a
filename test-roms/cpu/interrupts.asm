; Maskable interrupts of the timer: the shadows of STI, MOV SS and POP SS, HLT, REP that is
; interrupted and goes on.
bits 16
; Makes IRQ 0 pending with interrupts off: counter 0 in mode 0, a short count.
%macro pend 0
    call pend_timer
%endmacro
; The interrupt must come with EIP at the label %2.
%macro came 2
    expect %1, 20h, NOERR, %2
    mov al, 20h
    out 20h, al
%endmacro
main:
    protected
    ; interrupt controllers: vectors 20h and 28h, only IRQ 0
    mov al, 11h
    out 20h, al
    out 0a0h, al
    mov al, 20h
    out 21h, al
    mov al, 28h
    out 0a1h, al
    mov al, 4
    out 21h, al
    mov al, 2
    out 0a1h, al
    mov al, 1
    out 21h, al
    out 0a1h, al
    mov al, 0feh
    out 21h, al
    mov al, 0ffh
    out 0a1h, al
    ; --- STI
    pend
    try .sti
    sti
.s0: nop
.s1: nop
    int 80h
.sti: came 'one instruction behind STI', .s1
    pend
    try .sticli
    sti
    cli
    nop
    nop
    int 80h
.sticli: expect 'STI, CLI: no interrupt', NONE, ANY, ANY
    try .stisti
    sti
.t0: sti
.t1: nop
    int 80h
.stisti: came 'a second STI casts no shadow', .t1
    ; --- POPFD and IRETD cast none
    pend
    try .popf
    push dword 202h
    popfd
.p0: nop
    int 80h
.popf: came 'POPFD', .p0
    pend
    try .iret
    push dword 202h
    push dword CODE
    push dword .i0
    iretd
.i0: nop
    int 80h
.iret: came 'IRETD', .i0
    ; --- MOV SS, POP SS
    pend
    try .movss
    mov eax, DATA
    sti
    mov ss, ax
.m0: nop
.m1: nop
    int 80h
.movss: came 'STI, MOV SS and one more', .m1
    pend
    try .popss
    push ss
    sti
    pop ss
.o0: nop
.o1: nop
    int 80h
.popss: came 'STI, POP SS and one more', .o1
    ; MOV to another segment register casts none
    pend
    try .moves
    mov eax, DATA
    sti
    mov es, ax
.e0: nop
    int 80h
.moves: came 'STI, MOV ES', .e0
    ; --- HLT
    call start_timer
    try .hlt
    sti
    hlt
.h0: nop
    int 80h
.hlt: came 'HLT returns behind itself', .h0
    pend
    try .stihlt
    sti
    hlt
.h1: nop
    int 80h
.stihlt: came 'STI, HLT with an interrupt pending', .h1
    ; --- the saved flags have IF, the handler's have not; RF is clear
    mov eax, [got_eflags]
    and eax, 10200h
    equal 'IF in the saved flags', eax, 200h
    mov eax, [got_handler_flags]
    and eax, 200h
    equal 'IF clear in the handler', eax, 0
    ; --- from ring 3
    pend
    mov dword [user_flags], 202h
    try .user
    go_user .u0
.u0: nop
    int 80h
.user: came 'on the way to ring 3', .u0
    mov dword [user_flags], 2
    ; --- REP: interrupted between iterations, goes on afterwards
    mov dword [hook], .note
    mov dword [tries], 50
.rep_again:
    mov edi, 200000h
    mov ecx, 100000h
    xor eax, eax
    cld
    rep stosd
    mov dword [count], 0
    mov dword [wrong], 0
    call start_timer
    try .rep_end
    mov edi, 200000h
    mov ecx, 100000h
    mov eax, 77777777h
    sti
.rep: rep stosd
    cli
    cmp dword [count], 0
    jne .rep_seen
    dec dword [tries]
    jnz .rep_again
.rep_seen:
    mov [count_ecx], ecx
    mov [count_edi], edi
    int 80h
.rep_end: mov dword [hook], 0
    expect 'REP STOSD with interrupts', NONE, ANY, ANY
    mov eax, [tries]
    cmp eax, 0
    setnz al
    movzx eax, al
    equal 'was interrupted', eax, 1
    equal 'ECX and EDI fit at each interrupt', [wrong], 0
    equal 'ECX at the end', [count_ecx], 0
    equal 'EDI at the end', [count_edi], 600000h
    mov edi, 200000h
    mov ecx, 100000h
    mov eax, 77777777h
    repe scasd
    equal 'all was stored', ecx, 0
    ; --- an interrupt and a fault: the fault of the instruction before comes first
    pend
    try .order
    sti
    ud2
.order: expect 'STI, UD2', UD, NOERR, ANY
    mov al, 0ffh
    out 21h, al
    jmp finish
; Looks at the REP that was interrupted.
.note:
    cmp dword [got_vector], 20h
    jne .other
    mov al, 20h
    out 20h, al
    cmp dword [got_eip], .rep
    jne .outside
    mov eax, 100000h
    sub eax, [got_ecx]
    jz .outside
    inc dword [count]
    shl eax, 2
    add eax, 200000h
    cmp eax, [got_edi]
    je .fits
    inc dword [wrong]
.fits:
    ; the next one while it goes on
    mov al, 30h
    out 43h, al
    mov al, 40h
    out 40h, al
    mov al, 0
    out 40h, al
.outside:
    clc
    ret
.other:
    stc
    ret
start_timer:
    mov al, 30h
    out 43h, al
    mov al, 80h
    out 40h, al
    mov al, 0
    out 40h, al
    ret
pend_timer:
    call start_timer
    mov al, 0ah
    out 20h, al
    mov ecx, 10000000
.wait:
    in al, 20h
    test al, 1
    jnz .pending
    dec ecx
    jnz .wait
.pending:
    ret
tries dd 0
wrong dd 0
count_ecx dd 0
count_edi dd 0
