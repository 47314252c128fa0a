; The frame of a CPU test ROM.
;
; The image is 64 KiB. At reset it copies itself to linear address 0, so that a label is at the same
; time an offset in segment 0, a linear address and a flat pointer, in every mode: real and V86 mode
; with zero segment registers, protected mode with flat segments. The first kilobyte of the image is
; the real-mode interrupt table. Code ends below A000h; above are stacks, tests use RAM from 20000h.
;
; A test announces what it is about to do with `try`, does it, and ends with INT 80h, which counts as
; "no fault" (NONE). Whatever exception comes first is recorded and execution goes on at the resume
; label in the test's home context (real mode, or ring 0 with flat segments), where `expect` compares.

bits 16
org 0

; --- numbers ---------------------------------------------------------------------------------------
ANY     equ 0a5a5a5a5h          ; matches everything
NOERR   equ 0ffffffffh          ; no error code was pushed
NONE    equ 80h                 ; no exception: the closing INT 80h was reached

DE equ 0
DBG equ 1
BRK equ 3
OF equ 4
BR equ 5
UD equ 6
NM equ 7
DF equ 8
TS equ 10
NP equ 11
SS_ equ 12
GP equ 13
PF equ 14
MF equ 16
AC equ 17

CODE   equ 08h                  ; ring 0, 32 bit, flat
DATA   equ 10h
CODE3  equ 1bh                  ; ring 3, 32 bit, flat
DATA3  equ 23h
CODE16 equ 28h                  ; ring 0, 16 bit, base 0, limit FFFFh
DATA16 equ 30h
CODE16_3 equ 3bh
DATA16_3 equ 43h
TSS    equ 48h
LDT    equ 50h
T0     equ 58h                  ; from here on descriptors that tests make
T1     equ 60h
T2     equ 68h
T3     equ 70h
T4     equ 78h
T5     equ 80h
T6     equ 88h
T7     equ 90h

USER_STACK equ 0c000h
INNER_STACK equ 0d000h
STACK equ 0e000h

; --- macros for both sizes -------------------------------------------------------------------------

; Announces that the next exception resumes at %1.
%macro try 1
    mov dword [resume], %1
    mov [saved_esp], esp
    mov dword [got_vector], 0ffh
%endmacro

; What must have happened: text, vector, error code, offset of the instruction pointed to.
%macro expect 4
    call check
    dd %2, %3, %4
    db %1, 0
%endmacro

; Same for 16-bit code.
%macro expect16 4
    call check16
    dd %2, %3, %4
    db %1, 0
%endmacro

; A value that must have come out: text, what (anything MOV EAX takes), wanted.
%macro equal 3
    mov eax, %2
    call check_value
    dd %3
    db %1, 0
%endmacro

%macro equal16 3
    mov eax, %2
    call check_value16
    dd %3
    db %1, 0
%endmacro

; One instruction in ring 0 (protected mode) that must raise: text, vector, error, instruction.
; The restart address must be that of the instruction. fault2 is for instructions with a comma.
%macro fault1 4
    try %%done
%%at: %4
    int 80h
%%done: expect %1, %2, %3, %%at
%endmacro

%macro fault2 5
    try %%done
%%at: %4, %5
    int 80h
%%done: expect %1, %2, %3, %%at
%endmacro

; One instruction that must raise nothing: text, instruction.
%macro fine1 2
    try %%done
    %2
    int 80h
%%done: expect %1, NONE, ANY, ANY
%endmacro

%macro fine2 3
    try %%done
    %2, %3
    int 80h
%%done: expect %1, NONE, ANY, ANY
%endmacro

; The same in real mode.
%macro rfault1 3
    try %%done
%%at: %3
    int 80h
%%done: expect16 %1, %2, NOERR, %%at
%endmacro

%macro rfault2 4
    try %%done
%%at: %3, %4
    int 80h
%%done: expect16 %1, %2, NOERR, %%at
%endmacro

%macro rfine1 2
    try %%done
    %2
    int 80h
%%done: expect16 %1, NONE, ANY, ANY
%endmacro

%macro rfine2 3
    try %%done
    %2, %3
    int 80h
%%done: expect16 %1, NONE, ANY, ANY
%endmacro

; Turns paging on: the directory at 20000h, the first 4 MiB as they are by the table at 21000h, and at 400000h a window by
; the table at 22000h, whose first two entries are %1 and %2. All is user's and writable.
%macro window 2
    mov edi, 21000h
    mov eax, 7
    mov ecx, 1024
%%fill:
    stosd
    add eax, 1000h
    dec ecx
    jnz %%fill
    mov edi, 20000h
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov edi, 22000h
    mov ecx, 1024
    rep stosd
    mov dword [20000h], 21007h
    mov dword [20004h], 22007h
    mov dword [22000h], %1
    mov dword [22004h], %2
    mov eax, 20000h
    mov cr3, eax
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
%endmacro

; Goes to ring 3, 32 bit, at %1, with EFLAGS from [user_flags].
%macro go_user 1
    push dword DATA3
    push dword USER_STACK
    push dword [user_flags]
    push dword CODE3
    push dword %1
    jmp to_user
%endmacro

; Goes to V86 mode at 0:%1 with zero segments and EFLAGS from [user_flags] with VM set.
%macro go_v86 1
    push dword 0
    push dword 0
    push dword 0
    push dword 0
    push dword 0
    push dword USER_STACK
    mov eax, [user_flags]
    or eax, 20000h
    push eax
    push dword 0
    push dword %1
    iretd
%endmacro

; One instruction in ring 3.
%macro ufault1 4
    try %%done
    go_user %%at
%%at: %4
    int 80h
%%done: expect %1, %2, %3, %%at
%endmacro

%macro ufault2 5
    try %%done
    go_user %%at
%%at: %4, %5
    int 80h
%%done: expect %1, %2, %3, %%at
%endmacro

%macro ufine1 2
    try %%done
    go_user %%at
%%at: %2
    int 80h
%%done: expect %1, NONE, ANY, ANY
%endmacro

%macro ufine2 3
    try %%done
    go_user %%at
%%at: %2, %3
    int 80h
%%done: expect %1, NONE, ANY, ANY
%endmacro

; One instruction in V86 mode.
%macro vfault1 4
    try %%done
    go_v86 %%at
bits 16
%%at: %4
    int 80h
bits 32
%%done: expect %1, %2, %3, %%at
%endmacro

%macro vfault2 5
    try %%done
    go_v86 %%at
bits 16
%%at: %4, %5
    int 80h
bits 32
%%done: expect %1, %2, %3, %%at
%endmacro

; One instruction in ring 0, 16-bit code and stack.
%macro pfault1 4
    try %%done
    jmp dword CODE16:%%at
bits 16
%%at: %4
    int 80h
bits 32
%%done: expect %1, %2, %3, %%at
%endmacro

%macro pfault2 5
    try %%done
    jmp dword CODE16:%%at
bits 16
%%at: %4, %5
    int 80h
bits 32
%%done: expect %1, %2, %3, %%at
%endmacro

; Writes a descriptor: selector, base, limit (20 bits as stored), access byte, flags nibble (G D 0 A).
%macro setdesc 5
    mov dword [gdt + %1 + 0], (%3 & 0ffffh) | (%2 & 0ffffh) << 16
    mov dword [gdt + %1 + 4], (%2 >> 16 & 0ffh) | %4 << 8 | (%3 >> 16 & 0fh) << 16 | %5 << 20 | (%2 >> 24 & 0ffh) << 24
%endmacro

; Writes a gate: address of it, selector, offset (a label below 64 KiB), access byte, parameters.
%macro setgate 5
    mov word [%1 + 0], %3
    mov word [%1 + 2], %2
    mov byte [%1 + 4], %5
    mov byte [%1 + 5], %4
    mov word [%1 + 6], 0
%endmacro

; Puts the IDT gate of vector %1 back.
%macro restore_idt 1
    mov word [idt + %1 * 8 + 0], stubs + %1 * 8
    mov word [idt + %1 * 8 + 2], CODE
    mov word [idt + %1 * 8 + 4], (%1 == 3 || %1 == 4 || %1 == 80h) * 6000h | 8e00h
    mov word [idt + %1 * 8 + 6], 0
%endmacro

; Makes the main TSS available and loads it.
%macro reload_tr 0
    mov byte [gdt + TSS + 5], 89h
    mov ax, TSS
    ltr ax
%endmacro

; From real mode to the home context of protected mode; the code that follows is 32 bit.
%macro protected 0
    mov bx, %%in
    jmp enter_protected
bits 32
%%in:
%endmacro

; --- image -----------------------------------------------------------------------------------------

vectors:
    times 256 dw real_stubs + ($ - vectors) / 4 * 5, 0

; Everything below A000h can be written: this runs in RAM.
checks dd 0
failures dd 0
align 4, 0
resume dd 0
saved_esp dd 0
hook dd 0                       ; 0, or a routine that handles the exception and returns; CF: abandon
got_vector dd 0
got_error dd 0
got_eip dd 0
got_cs dd 0
got_eflags dd 0
got_esp dd 0                    ; only from an outer ring
got_ss dd 0
got_cr2 dd 0
got_dr6 dd 0
got_handler_esp dd 0            ; ESP in front of the frame's EIP
got_handler_flags dd 0
got_edi dd 0
got_esi dd 0
got_ebp dd 0
got_inner dd 0
got_ebx dd 0
got_edx dd 0
got_ecx dd 0
got_eax dd 0
got_ds dd 0
got_es dd 0
got_fs dd 0
got_gs dd 0
user_flags dd 2
count dd 0                      ; for hooks
with_error dd 00027d00h         ; vectors that push an error code: 8, 10-14, 17

gdtr dw gdt_end - gdt - 1
    dd gdt
idtr dw 100h * 8 - 1
    dd idt
real_idtr dw 3ffh
    dd 0

align 8, 0
gdt:
    dq 0
    dq 00cf9b000000ffffh
    dq 00cf93000000ffffh
    dq 00cffb000000ffffh
    dq 00cff3000000ffffh
    dq 00009b000000ffffh
    dq 000093000000ffffh
    dq 0000fb000000ffffh
    dq 0000f3000000ffffh
    dw 103, main_tss, 8900h, 0
    dw 63, ldt, 8200h, 0
    times 32 dq 0
gdt_end:
ldt:
    times 8 dq 0
idt:
    times 256 dw 0, 0, 0, 0

main_tss:
    dd 0, INNER_STACK, DATA
    times 22 dd 0
    dw 0, 104
    times 64 db 0               ; room for bitmaps
main_tss_end:

; --- real-mode exceptions --------------------------------------------------------------------------
real_stubs:
%rep 256
    db 6ah, ($ - real_stubs) / 5
    jmp near real_common
%endrep

real_common:
    pushad
    push ds
    push es
    mov bp, sp
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov [got_handler_esp], esp
    add word [got_handler_esp], 38
    movzx eax, byte [ss:bp + 36]
    mov [got_vector], eax
    movzx eax, word [ss:bp + 38]
    mov [got_eip], eax
    movzx eax, word [ss:bp + 40]
    mov [got_cs], eax
    movzx eax, word [ss:bp + 42]
    mov [got_eflags], eax
    mov dword [got_error], NOERR
    mov eax, [ss:bp + 4]
    mov [got_edi], eax
    mov eax, [ss:bp + 8]
    mov [got_esi], eax
    mov eax, [ss:bp + 28]
    mov [got_ecx], eax
    mov eax, [ss:bp + 32]
    mov [got_eax], eax
    mov eax, dr6
    mov [got_dr6], eax
    cmp dword [hook], 0
    je .abandon
    mov esi, 38
    call [hook]
    jc .abandon
    pop es
    pop ds
    popad
    add sp, 2
    iret
.abandon:
    xor ax, ax
    mov ss, ax
    mov esp, [saved_esp]
    mov fs, ax
    mov gs, ax
    push ax
    popf
    cld
    jmp word [resume]

bits 32
align 8
stubs:
%rep 256
    db 6ah, ($ - stubs) / 8
    jmp near protected_common
    nop
%endrep

; --- protected-mode exceptions ---------------------------------------------------------------------
protected_common:
    pushad
    mov ebp, esp
    mov [ss:got_ds], ds
    mov [ss:got_es], es
    mov [ss:got_fs], fs
    mov [ss:got_gs], gs
    mov ax, DATA
    mov ds, ax
    mov es, ax
    cld
    mov esi, ebp
    mov edi, got_edi
    mov ecx, 8
    rep movsd
    lodsd
    and eax, 0ffh
    mov [got_vector], eax
    mov ecx, NOERR
    cmp eax, 32
    jae .no_error
    bt [with_error], eax
    jnc .no_error
    mov ecx, [esi]
    add esi, 4
.no_error:
    mov [got_error], ecx
    mov [got_handler_esp], esi
    mov eax, [esi]
    mov [got_eip], eax
    movzx eax, word [esi + 4]
    mov [got_cs], eax
    mov eax, [esi + 8]
    mov [got_eflags], eax
    mov eax, [esi + 12]
    mov [got_esp], eax
    movzx eax, word [esi + 16]
    mov [got_ss], eax
    mov eax, cr2
    mov [got_cr2], eax
    mov eax, dr6
    mov [got_dr6], eax
    pushfd
    pop dword [got_handler_flags]
    cmp dword [hook], 0
    je .abandon
    push esi
    call [hook]
    pop esi
    jc .abandon
    mov es, [ss:got_es]
    mov ds, [ss:got_ds]
    mov esp, ebp
    mov [ss:got_handler_esp], esi
    popad
    mov esp, [ss:got_handler_esp]
    iretd
.abandon:
    mov ax, DATA
    mov ss, ax
    mov esp, [saved_esp]
    push dword 2
    popfd
    jmp [resume]

; Not armed: the test itself is broken, or the processor raises what nobody asked for.
unexpected:
    call fail_head
    mov esi, text_unexpected
    call puts
    call show_got
    jmp finish

to_user:
    mov ax, DATA3
    mov ds, ax
    mov es, ax
    iretd

; --- reports, for both code sizes ------------------------------------------------------------------
%macro routines 2
putc%1:
    out 0e9h, al
    ret
puts%1:
    mov al, [esi]
    inc esi
    cmp al, 0
    je .end
    out 0e9h, al
    jmp puts%1
.end:
    ret
hex%1:
    mov ecx, 8
.digit:
    rol eax, 4
    push eax
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe .out
    add al, 7
.out:
    out 0e9h, al
    pop eax
    dec ecx
    jnz .digit
    ret
fail_head%1:
    inc dword [failures]
    push esi
    mov esi, text_fail
    call puts%1
    mov esi, rom_name
    call puts%1
    mov esi, text_colon
    call puts%1
    pop esi
    ret
show_got%1:
    mov eax, [got_vector]
    call hex%1
    mov esi, text_error
    call puts%1
    mov eax, [got_error]
    call hex%1
    mov esi, text_at
    call puts%1
    mov eax, [got_cs]
    call hex%1
    mov al, ':'
    call putc%1
    mov eax, [got_eip]
    call hex%1
    mov al, 10
    jmp putc%1
; Compares the record with the data behind the call.
check%1:
    pop %2
    movzx esi, si
    mov dword [resume], unexpected%1
    inc dword [checks]
    mov ebx, esi
    add esi, 12
    mov eax, [ebx]
    cmp eax, [got_vector]
    jne .bad
    cmp eax, NONE
    je .good
    mov eax, [ebx + 4]
    cmp eax, ANY
    je .error_fits
    cmp eax, [got_error]
    jne .bad
.error_fits:
    mov eax, [ebx + 8]
    cmp eax, ANY
    je .good
    cmp eax, [got_eip]
    je .good
.bad:
    call fail_head%1
    call puts%1
    push esi
    mov esi, text_got
    call puts%1
    call show_got%1
    mov esi, text_want
    call puts%1
    mov eax, [ebx]
    call hex%1
    mov esi, text_error
    call puts%1
    mov eax, [ebx + 4]
    call hex%1
    mov esi, text_at
    call puts%1
    mov eax, [ebx + 8]
    call hex%1
    mov al, 10
    call putc%1
    pop esi
    jmp %2
.good:
    mov al, [esi]
    inc esi
    cmp al, 0
    jne .good
    jmp %2
; Compares EAX with the number behind the call.
check_value%1:
    pop %2
    movzx esi, si
    inc dword [checks]
    mov edx, eax
    mov ebx, [esi]
    add esi, 4
    cmp eax, ebx
    je .good
    call fail_head%1
    call puts%1
    push esi
    mov esi, text_got_value
    call puts%1
    mov eax, edx
    call hex%1
    mov esi, text_want_value
    call puts%1
    mov eax, ebx
    call hex%1
    mov al, 10
    call putc%1
    pop esi
    jmp %2
.good:
    mov al, [esi]
    inc esi
    cmp al, 0
    jne .good
    jmp %2
; The verdict, and the end.
finish%1:
    mov esi, text_pass
    cmp dword [failures], 0
    je .head
    mov esi, text_fail
.head:
    call puts%1
    mov esi, rom_name
    call puts%1
    mov al, ' '
    call putc%1
    mov eax, [checks]
    call hex%1
    mov esi, text_checks
    call puts%1
    mov eax, [failures]
    call hex%1
    mov esi, text_failed
    call puts%1
    mov al, 10h
    cmp dword [failures], 0
    je .code
    inc al
.code:
    out 0f4h, al
    mov dx, 8900h
    mov esi, text_shutdown
.off:
    mov al, [esi]
    inc esi
    out dx, al
    cmp al, 0
    jne .off
.stop:
    cli
    hlt
    jmp .stop
%endmacro

    routines , esi
bits 16
    routines 16, si
unexpected16:
    call fail_head16
    mov esi, text_unexpected
    call puts16
    call show_got16
    jmp finish16

text_fail db 'FAIL ', 0
text_pass db 'PASS ', 0
text_colon db ': ', 0
text_got db 10, '    got  ', 0
text_want db '    want ', 0
text_error db ' error ', 0
text_at db ' at ', 0
text_unexpected db 'unexpected exception ', 0
text_got_value db 10, '    got  ', 0
text_want_value db ' want ', 0
text_checks db ' checks, ', 0
text_failed db ' failed', 10, 0
text_shutdown db 'Shutdown', 0

; --- into protected mode ---------------------------------------------------------------------------
enter_protected:
    movzx ebx, bx
    mov edi, idt
    mov eax, stubs
    mov ecx, 256
.gate:
    mov [edi], ax
    mov word [edi + 2], CODE
    mov word [edi + 4], 8e00h
    mov word [edi + 6], 0
    add eax, 8
    add edi, 8
    dec ecx
    jnz .gate
    mov byte [idt + 3 * 8 + 5], 0eeh
    mov byte [idt + 4 * 8 + 5], 0eeh
    mov byte [idt + 80h * 8 + 5], 0eeh
    lgdt [gdtr]
    lidt [idtr]
    mov dword [resume], unexpected
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    jmp dword CODE:.in
bits 32
.in:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov esp, STACK
    mov ax, LDT
    lldt ax
    mov ax, TSS
    ltr ax
    jmp ebx
bits 16

; Where the copy begins to run.
begin:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, STACK
    lidt [real_idtr]
    mov dword [resume], unexpected16
    mov eax, cr0
    and eax, 9fffffffh          ; caches on
    mov cr0, eax
    jmp main

; --- the test --------------------------------------------------------------------------------------
