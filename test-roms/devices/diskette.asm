; Floppy controller with a disk of 1440 KiB in drive A and none in B: recalibrate, seek, read, write, format, each way
; that a transfer ends.
bits 16
BUFFER equ 0b000h
; DMA channel 2: mode (46h disk to memory, 4Ah memory to disk), bytes
%macro dma2 2
    wr 0ah, 6
    wr 0ch, 0
    wr 0bh, %1
    wr 4, BUFFER & 0ffh
    wr 4, BUFFER >> 8
    wr 5, ((%2) - 1) & 0ffh
    wr 5, ((%2) - 1) >> 8
    wr 81h, 0
    wr 0ah, 2
%endmacro
; A sector command and its result: command, drive and head, cylinder, head, sector, last sector
%macro sectors 6
    mov dword [count], 0
    send %1
    send %2
    send %3
    send %4
    send %5
    send 2
    send %6
    send 1bh
    send 0ffh
    call result
%endmacro
main:
    controllers 0bfh, 0ffh
    vector 26h, handler
    wr 0d6h, 0c0h               ; cascade
    wr 0d4h, 0
    wr 8, 0
    wr 3f2h, 0
    wr 3f2h, 1ch
    call interrupt
    mov cx, 4
.reset:
    push cx
    send 8
    call get
    call get
    pop cx
    loop .reset
    wr 3f7h, 0
    rd 3f7h
    and al, 80h
    equal16 'the disk is new', eax, 80h
    send 3
    send 0d1h
    send 2
    ; recalibrate, seek
    mov dword [count], 0
    send 7
    send 0
    call interrupt
    call sense
    equal16 'recalibrate', eax, 0020h
    rd 3f7h
    and al, 80h
    equal16 'the change was noticed', eax, 0
    send 4
    send 0
    call get
    equal16 'drive status: track 0', eax, 38h
    mov dword [count], 0
    send 0fh
    send 0
    send 5
    call interrupt
    call sense
    equal16 'seek', eax, 0520h
    send 4
    send 4
    call get
    equal16 'drive status: not track 0, head 1', eax, 2ch
    mov dword [count], 0
    send 4ah
    send 0
    call result
    equal16 'read ID', [seen], 05000000h
    mov eax, [seen + 4]
    and eax, 0ff00ffh
    equal16 'read ID: sector size', eax, 20000h
    ; implied seek from here on
    send 13h
    send 0
    send 57h
    send 0
    dma2 46h, 512
    sectors 0e6h, 0, 0, 0, 1, 18
    equal16 'read: status', [seen], 0
    equal16 'read: the next sector', [seen + 4], 00020200h
    movzx eax, word [BUFFER + 510]
    equal16 'the boot sector', eax, 0aa55h
    equal16 'one interrupt', [count], 1
    rd 8
    and al, 4
    equal16 'DMA: terminal count', eax, 4
    ; from one side to the other
    dma2 46h, 1024
    sectors 0e6h, 0, 0, 0, 18, 18
    equal16 'both sides: status', [seen], 00000004h
    equal16 'both sides: side 1, sector 2', [seen + 4], 00020201h
    ; writing
    mov di, BUFFER
    mov eax, 0badc0de0h
    mov cx, 128
.make:
    mov [di], eax
    inc eax
    add di, 4
    loop .make
    dma2 4ah, 512
    sectors 0c5h, 4, 2, 1, 3, 18
    equal16 'write: status', [seen], 02000004h
    equal16 'write: the next sector', [seen + 4], 00020401h
    call clear
    dma2 46h, 512
    sectors 0e6h, 4, 2, 1, 3, 18
    equal16 'what was written: first', [BUFFER], 0badc0de0h
    equal16 'what was written: last', [BUFFER + 508], 0badc0e5fh
    ; errors
    dma2 46h, 512
    sectors 46h, 0, 2, 0, 19, 18
    equal16 'no such sector', [seen], 02000440h
    sectors 46h, 0, 2, 1, 1, 18
    equal16 'the wrong head in the address', [seen], 02000440h
    dma2 46h, 1024
    sectors 46h, 0, 2, 0, 18, 18
    equal16 'end of cylinder', [seen], 03008040h
    wr 0ah, 6
    sectors 46h, 0, 2, 0, 1, 18
    equal16 'nobody takes the data', [seen], 02001040h
    wr 3f7h, 2
    dma2 46h, 512
    sectors 46h, 0, 2, 0, 1, 18
    equal16 'at the wrong rate there are no marks', [seen], 02000140h
    wr 3f7h, 0
    sectors 46h, 1, 0, 0, 1, 18
    mov eax, [seen]
    and eax, 0ffffffh
    equal16 'no disk', eax, 000141h
    ; without implied seek the cylinder must be the right one
    send 13h
    send 0
    send 17h
    send 0
    dma2 46h, 512
    sectors 46h, 0, 7, 0, 1, 18
    equal16 'the wrong cylinder', [seen], 07100440h
    mov dword [count], 0
    send 0fh
    send 0
    send 3
    call interrupt
    call sense
    ; a track of 18 sectors full of F6h
    mov di, BUFFER
    mov eax, 02010003h
    mov cx, 18
.ids:
    mov [di], eax
    add di, 4
    add eax, 10000h
    loop .ids
    dma2 4ah, 72
    mov dword [count], 0
    send 4dh
    send 0
    send 2
    send 18
    send 54h
    send 0f6h
    call result
    equal16 'format: status', [seen], 03000000h
    call clear
    dma2 46h, 512
    sectors 46h, 0, 3, 0, 18, 18
    equal16 'a formatted sector: status', [seen], 04000000h
    equal16 'a formatted sector: first', [BUFFER], 0f6f6f6f6h
    equal16 'a formatted sector: last', [BUFFER + 508], 0f6f6f6f6h
    ; verify
    mov dword [count], 0
    sectors 56h, 0, 3, 0, 1, 18
    equal16 'verify a track', [seen], 04000000h
    rd 3f4h
    and al, 0d0h
    equal16 'idle again', eax, 80h
    done
clear:
    mov di, BUFFER
    xor eax, eax
    mov cx, 128
    rep stosd
    ret
; Waits for one interrupt
interrupt:
    sti
    mov ecx, 10000000
.wait:
    cmp dword [count], 0
    jne .end
    dec ecx
    jnz .wait
.end:
    cli
    ret
; EAX = sense interrupt status: status, cylinder
sense:
    send 8
    call get
    push ax
    call get
    mov ah, al
    pop dx
    mov al, dl
    movzx eax, ax
    ret
; Waits for the interrupt and takes seven bytes into `seen`
result:
    mov dword [seen + 4], 0
    call interrupt
    xor si, si
.next:
    call get
    mov [seen + si], al
    inc si
    cmp si, 7
    jb .next
    ret
    floppy_routines
align 4, 0
seen: times 4 dd 0
