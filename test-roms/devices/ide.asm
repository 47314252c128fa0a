; The first IDE channel with one disk of 2880 sectors: identify, read, write, errors, interrupts, diagnostics.
bits 16
; A command with an LBA below 65536 and a number of sectors: command, LBA, sectors.
%macro run 3
    wr 1f6h, 0e0h
    wr 1f2h, %3
    wr 1f3h, (%2) & 0ffh
    wr 1f4h, (%2) >> 8
    wr 1f5h, 0
    wr 1f7h, %1
    call ready
%endmacro
BUFFER equ 0b000h
main:
    wr 3f6h, 6                  ; reset, no interrupts
    mov cx, 2000
.reset:
    loop .reset
    wr 3f6h, 2
    call ready
    equal16 'ready after reset', eax, 50h
    rd 1f1h
    equal16 'diagnostics: passed', eax, 1
    call signature
    equal16 'signature of a disk', eax, 00000101h
    run 0ech, 0, 0
    equal16 'identify: data', eax, 58h
    call take
    movzx eax, word [BUFFER]
    and ax, 8000h
    equal16 'identify: no packet device', eax, 0
    movzx eax, word [BUFFER + 98]
    and ax, 300h
    equal16 'identify: LBA and DMA', eax, 300h
    equal16 'identify: sectors', [BUFFER + 120], 2880
    call status
    equal16 'all was taken', eax, 50h
    run 20h, 0, 1
    equal16 'read: data', eax, 58h
    call take
    movzx eax, word [BUFFER + 510]
    equal16 'the boot sector', eax, 0aa55h
    ; two sectors, one after the other
    run 20h, 0, 2
    call take
    call status
    equal16 'the second sector follows', eax, 58h
    call take
    call status
    equal16 'and no third', eax, 50h
    ; writing
    mov di, BUFFER
    mov eax, 0badc0de0h
    mov cx, 128
.make:
    mov [di], eax
    inc eax
    add di, 4
    loop .make
    run 30h, 2000, 1
    equal16 'write: it wants data', eax, 58h
    call give
    call ready
    equal16 'write: done', eax, 50h
    mov di, BUFFER
    mov cx, 128
.clear:
    mov dword [di], 0
    add di, 4
    loop .clear
    run 20h, 2000, 1
    call take
    equal16 'what was written: first', [BUFFER], 0badc0de0h
    equal16 'what was written: last', [BUFFER + 508], 0badc0e5fh
    run 40h, 2879, 1
    equal16 'verify the last sector', eax, 50h
    ; errors
    run 20h, 2880, 1
    and al, 89h
    equal16 'behind the end: an error', eax, 1
    rd 1f1h
    equal16 'not found', eax, 10h
    run 0feh, 0, 0
    and al, 89h
    equal16 'no such command', eax, 1
    rd 1f1h
    equal16 'aborted', eax, 4
    run 0c6h, 0, 4
    equal16 'multiple: four', eax, 50h
    run 0c4h, 0, 4
    call take
    call status
    equal16 'four sectors in one block', eax, 58h
    call take
    call take
    call take
    call status
    equal16 'the block is over', eax, 50h
    run 0c6h, 0, 3
    and al, 1
    equal16 'multiple: three is refused', eax, 1
    ; the interrupt
    controllers 0fbh, 0bfh
    vector 2eh, handler
    wr 3f6h, 0
    wr 1f6h, 0e0h
    wr 1f2h, 1
    wr 1f7h, 20h
    sti
    hlt
    cli
    equal16 'IRQ 14', [count], 1
    equal16 'status at the interrupt', [seen], 58h
    call take
    ; nobody is the other drive
    wr 1f6h, 0b0h
    rd 1f7h
    and al, 0d8h
    equal16 'no second drive', eax, 0
    wr 1f6h, 0a0h
    wr 1f7h, 90h
    call ready
    rd 1f1h
    equal16 'diagnostics', eax, 1
    done
; EAX = status when it is no longer busy
ready:
    mov ebx, 4000000
    mov dx, 1f7h
    xor eax, eax
.look:
    in al, dx
    test al, 80h
    jz .end
    dec ebx
    jnz .look
.end:
    ret
; EAX = status, a moment later
status:
    mov cx, 1000
.wait:
    loop .wait
    jmp ready
take:
    mov di, BUFFER
    mov dx, 1f0h
    mov cx, 256
    rep insw
    jmp status
give:
    mov si, BUFFER
    mov dx, 1f0h
    mov cx, 256
    rep outsw
    ret
; EAX = sector number, count, cylinder
signature:
    mov dx, 1f5h
    xor eax, eax
    in al, dx
    shl eax, 8
    dec dx
    in al, dx
    shl eax, 8
    dec dx
    in al, dx
    shl eax, 8
    dec dx
    in al, dx
    ret
handler:
    handles
    mov dx, 1f7h
    in al, dx
    mov [seen], al
    handled 2
align 4, 0
seen dd 0
