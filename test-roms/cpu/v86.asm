; Virtual-8086 mode without VME: sensitive instructions, exceptions, frames, the I/O bitmap.
bits 16
main:
    protected
    mov dword [user_flags], 3002h
    ; --- IOPL 3
    vfault1 'INT 80h reaches its gate', NONE, NOERR, nop
    try .frame
    go_v86 .frame_go
bits 16
.frame_go:
    mov ax, 1234h
    mov ds, ax
    mov es, ax
    mov ax, 5678h
    mov fs, ax
    mov gs, ax
    mov ax, 0b00h
    mov ss, ax
    mov sp, 0f0h
    int 80h
bits 32
.frame: expect 'frame', NONE, ANY, ANY
    equal 'starts at ESP0 below the segments', [got_handler_esp], INNER_STACK - 36
    movzx eax, word [INNER_STACK - 4]
    equal 'GS', eax, 5678h
    movzx eax, word [INNER_STACK - 8]
    equal 'FS', eax, 5678h
    movzx eax, word [INNER_STACK - 12]
    equal 'DS', eax, 1234h
    movzx eax, word [INNER_STACK - 16]
    equal 'ES', eax, 1234h
    equal 'SS', [got_ss], 0b00h
    equal 'ESP', [got_esp], 0f0h
    equal 'DS is null in the handler', [got_ds], 0
    equal 'GS is null in the handler', [got_gs], 0
    mov eax, [got_eflags]
    and eax, 23000h
    equal 'VM and IOPL in the flags', eax, 23000h
    mov eax, [got_handler_flags]
    and eax, 20000h
    equal 'VM clear in the handler', eax, 0
    vfault1 'CLI with IOPL 3', NONE, NOERR, cli
    vfault1 'UD2', UD, NOERR, ud2
    vfault1 'HLT', GP, 0, hlt
    vfault1 'CLTS', GP, 0, clts
    vfault2 'MOV from CR0', GP, 0, mov eax, cr0
    vfault2 'MOV from DR7', GP, 0, mov eax, dr7
    vfault1 'LGDT', GP, 0, lgdt [0b000h]
    vfault1 'LMSW', GP, 0, lmsw ax
    vfault1 'WBINVD', GP, 0, wbinvd
    vfault1 'RDMSR', GP, 0, rdmsr
    vfault1 'LLDT', UD, NOERR, lldt ax
    vfault1 'STR', UD, NOERR, str ax
    vfault1 'VERR', UD, NOERR, verr ax
    vfault2 'ARPL', UD, NOERR, arpl ax, bx
    vfault2 'LAR', UD, NOERR, lar ax, bx
    vfault2 'word at FFFF', GP, 0, mov ax, [0ffffh]
    vfault2 'stack word at FFFF', SS_, 0, mov ax, [ss:0ffffh]
    try .int3
    go_v86 .int3_go
bits 16
.int3_go: int3
.int3_next:
    int 80h
bits 32
.int3: expect 'INT3', BRK, NOERR, .int3_next
    vfault1 'INT 81h to a gate of DPL 0', GP, 81h * 8 + 2, int 81h
    ; far jumps and loads are those of real mode
    try .far
    go_v86 .far_go
bits 16
.far_go:
    jmp 10h:.far_to - 100h
.far_to:
    mov ax, cs
    mov [cs:0b000h - 100h], ax
    int 80h
bits 32
.far: expect 'JMP FAR', NONE, ANY, .far_to - 100h + 8
    movzx eax, word [0b000h]
    equal 'CS', eax, 10h
    ; a gate to code that is not ring 0
    mov word [idt + 81h * 8 + 2], CODE3
    mov byte [idt + 81h * 8 + 5], 0eeh
    vfault1 'gate to ring 3', GP, CODE3 - 3, int 81h
    setdesc T0, 0, 0fffffh, 9fh, 0ch
    mov word [idt + 81h * 8 + 2], T0
    vfault1 'gate to conforming code', GP, T0, int 81h
    restore_idt 81h
    ; --- IOPL 0
    mov dword [user_flags], 2
    vfault1 'CLI', GP, 0, cli
    vfault1 'STI', GP, 0, sti
    vfault1 'PUSHF', GP, 0, pushf
    vfault1 'POPF', GP, 0, popf
    vfault1 'INT 80h', GP, 0, int 80h
    vfault1 'INT 81h', GP, 0, int 81h
    vfault1 'IRET', GP, 0, iret
    vfault1 'PUSHFD', GP, 0, pushfd
    try .bp0
    go_v86 .bp0_go
bits 16
.bp0_go: int3
.bp0_next:
    hlt
bits 32
.bp0: expect 'INT3 does not look at IOPL', BRK, NOERR, .bp0_next
    try .into0
    go_v86 .into0_go
bits 16
.into0_go:
    mov al, 7fh
    inc al
    into
.into0_next:
    hlt
bits 32
.into0: expect 'INTO does not look at IOPL', OF, NOERR, .into0_next
    ; --- POPF and IRET with IOPL 3: IOPL and VM stay, IF changes
    mov dword [user_flags], 3002h
    try .popf
    go_v86 .popf_go
bits 16
.popf_go:
    push word 4202h
    popf
    int 80h
bits 32
.popf: expect 'POPF', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 27200h
    equal 'flags after POPF', eax, 27200h
    try .iret
    go_v86 .iret_go
bits 16
.iret_go:
    push word 0002h
    push word 0
    push word .iret_to
    iret
.iret_to:
    int 80h
bits 32
.iret: expect 'IRET', NONE, ANY, ANY
    mov eax, [got_eflags]
    and eax, 27200h
    equal 'flags after IRET', eax, 23000h
    ; --- I/O: the bitmap always counts
    mov word [main_tss + 102], 104
    mov dword [main_tss + 104], 0fffffffeh
    mov dword [main_tss + 108], 0ffff00ffh
    mov dword [main_tss + 112], -1
    setdesc TSS, main_tss, 115, 89h, 0
    reload_tr
    vfault2 'port 0 allowed', NONE, ANY, in al, 0
    vfault2 'port 1', GP, 0, in al, 1
    vfault2 'ports 0 and 1', GP, 0, in ax, 0
    vfault2 'ports 28h to 2Bh allowed', NONE, ANY, in eax, 28h
    vfault2 'ports 2Eh and 2Fh allowed', NONE, ANY, in ax, 2eh
    vfault2 'ports 2Fh and 30h', GP, 0, in ax, 2fh
    vfault2 'ports 27h and 28h', GP, 0, in ax, 27h
    vfault2 'a port beyond the TSS', GP, 0, in al, 70h
    vfault2 'OUT', GP, 0, out 1, al
    ; The processor reads two bytes of the map: the one behind the last must be there.
    mov dword [main_tss + 112], 0
    vfault2 'port 50h', NONE, ANY, in al, 50h
    vfault2 'port 58h: the next byte is beyond the limit', GP, 0, in al, 58h
    vfault2 'port 60h beyond the limit', GP, 0, in al, 60h
    ; the same from ring 3
    mov dword [user_flags], 2
    ufine2 'ring 3, port 0', in al, 0
    ufault2 'ring 3, port 1', GP, 0, in al, 1
    ufine2 'ring 3, ports 2Eh and 2Fh', in ax, 2eh
    ufault2 'ring 3, ports 2Fh and 30h', GP, 0, in ax, 2fh
    ufault2 'ring 3, port 58h', GP, 0, in al, 58h
    ; ring 3 with IOPL 3 does not need the map
    mov dword [user_flags], 3002h
    ufine2 'ring 3, IOPL 3, port 1', in al, 1
    ; a map base beyond the limit
    mov word [main_tss + 102], 200h
    vfault2 'base beyond the limit', GP, 0, in al, 0
    mov word [main_tss + 102], 0ffffh
    vfault2 'base FFFF', GP, 0, in al, 0
    mov word [main_tss + 102], 115
    vfault2 'base at the limit', GP, 0, in al, 0
    ; a 16-bit TSS has no map
    setdesc T0, main_tss, 115, 81h, 0
    mov word [main_tss + 2], INNER_STACK
    mov word [main_tss + 4], DATA
    mov word [main_tss + 102], 104
    mov ax, T0
    ltr ax
    vfault2 '16-bit TSS', GP, 0, in al, 0
    equal '16-bit TSS: inner stack', [got_handler_esp], INNER_STACK - 36
    mov dword [main_tss + 2], 0
    mov dword [main_tss + 4], INNER_STACK
    mov dword [main_tss + 8], DATA
    reload_tr
    jmp finish
