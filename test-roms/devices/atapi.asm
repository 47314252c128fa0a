; A CD-ROM drive as master of the second IDE channel with a disc of 720 blocks: identify, packets, sense after errors,
; the tray, the lock, the interrupt, a disc that somebody changes.
bits 16
BUFFER equ 0b000h
; A packet: its first, third to sixth, eighth to tenth byte in what follows it; EAX = status
%macro packet 8
    mov dword [cdb], (%1) | (%2) << 8 | (%3) << 16 | (%4) << 24
    mov dword [cdb + 4], (%5) | (%6) << 8 | (%7) << 16 | (%8) << 24
    call command
%endmacro
; The same with its fifth byte alone
%macro short_packet 2
    packet %1, 0, 0, 0, %2, 0, 0, 0
%endmacro
; EAX = sense key, code << 8, qualifier << 16
%macro sense 0
    call request_sense
%endmacro
main:
    wr 376h, 6
    mov cx, 2000
.reset:
    loop .reset
    wr 376h, 2
    wr 176h, 0a0h
    call ready
    rd 174h
    mov ebx, eax
    rd 175h
    shl eax, 8
    or eax, ebx
    equal16 'signature of a packet device', eax, 0eb14h
    wr 177h, 0ech
    call ready
    and al, 1
    equal16 'IDENTIFY DEVICE is refused', eax, 1
    wr 177h, 0a1h
    call ready
    equal16 'IDENTIFY PACKET DEVICE: data', eax, 58h
    mov di, BUFFER
    mov dx, 170h
    mov cx, 256
    rep insw
    movzx eax, word [BUFFER]
    and ax, 0df03h
    equal16 'a CD-ROM drive with packets of 12 bytes', eax, 8500h
    call ready
    ; INQUIRY
    short_packet 12h, 36
    equal16 'inquiry: status', eax, 50h
    equal16 'inquiry: 36 bytes', [bytes], 36
    movzx eax, word [BUFFER]
    equal16 'inquiry: a disc that can be changed', eax, 8005h
    rd 172h
    and al, 3
    equal16 'the reason at the end: status', eax, 3
    ; after power-on or a change the drive wants attention once; then it is ready
    short_packet 0, 0
    short_packet 0, 0
    equal16 'test unit ready', eax, 50h
    packet 25h, 0, 0, 0, 0, 0, 0, 0
    equal16 'capacity: eight bytes', [bytes], 8
    equal16 'capacity: the last block', [BUFFER], 0cf020000h
    equal16 'capacity: 2048 bytes', [BUFFER + 4], 00080000h
    ; READ (10) of blocks 0 and 1
    mov word [cdb + 8], 2
    packet 28h, 0, 0, 0, 0, 0, 0, 0
    equal16 'read: status', eax, 50h
    equal16 'read: two blocks', [bytes], 4096
    movzx eax, word [BUFFER + 510]
    equal16 'read: the boot sector', eax, 0aa55h
    equal16 'read: in pieces as long as was asked for', [pieces], 2
    mov word [cdb + 8], 1
    packet 28h, 0, 0, 0, 2, 0cfh, 0, 0
    equal16 'the last block', [bytes], 2048
    ; errors and what is said of them
    mov word [cdb + 8], 1
    packet 28h, 0, 0, 0, 2, 0d0h, 0, 0
    and al, 1
    equal16 'behind the end: an error', eax, 1
    rd 171h
    shr al, 4
    equal16 'illegal request', eax, 5
    sense
    equal16 'sense: address out of range', eax, 2105h
    sense
    equal16 'sense: told once', eax, 0
    short_packet 0ffh, 0
    sense
    equal16 'sense: no such command', eax, 2005h
    packet 12h, 1, 0, 0, 36, 0, 0, 0
    sense
    equal16 'sense: a field of the packet', eax, 2405h
    ; TOC: one data track
    mov word [cdb + 8], 20
    packet 43h, 0, 0, 0, 0, 0, 0, 0
    equal16 'table of contents', [BUFFER], 01011200h
    equal16 'table of contents: a data track', [BUFFER + 4], 00011400h
    ; the lock and the tray
    short_packet 1eh, 1
    short_packet 1bh, 2
    and al, 1
    equal16 'locked: the tray stays', eax, 1
    sense
    equal16 'sense: locked', eax, 25305h
    short_packet 1eh, 0
    short_packet 1bh, 2
    equal16 'the tray opens', eax, 50h
    short_packet 0, 0
    and al, 1
    equal16 'not ready', eax, 1
    sense
    equal16 'sense: the tray is open', eax, 23a02h
    short_packet 1bh, 3
    equal16 'the tray closes', eax, 50h
    mov word [cdb + 8], 8
    packet 4ah, 1, 0, 0, 10h, 0, 0, 0
    mov eax, [BUFFER + 4]
    and eax, 0fh
    equal16 'event: new medium', eax, 2
    ; the interrupt
    controllers 0fbh, 7fh
    vector 2fh, handler
    wr 376h, 0
    mov dword [count], 0
    sti
    short_packet 0, 0
    mov cx, 2000
.wait:
    loop .wait
    cli
    equal16 'an interrupt at the end', [last], 50h
    cmp dword [count], 1
    setae al
    movzx eax, al
    equal16 'IRQ 15', eax, 1
    wr 376h, 2
    ; somebody changes the disc
    mov esi, change_text
    call puts16
    mov ebx, 20000
.change:
    push ebx
    short_packet 0, 0
    pop ebx
    test al, 1
    jnz .changed
    mov cx, 60000
.pause:
    loop .pause
    dec ebx
    jnz .change
.changed:
    and al, 1
    equal16 'a changed disc wants attention', eax, 1
    sense
    equal16 'sense: the medium may have changed', eax, 2806h
    short_packet 0, 0
    equal16 'and it is ready', eax, 50h
    done
request_sense:
    short_packet 3, 18
    xor eax, eax
    mov ah, [BUFFER + 13]
    shl eax, 8
    mov ah, [BUFFER + 12]
    mov al, [BUFFER + 2]
    and al, 0fh
    ret
; The packet in `cdb`: data in goes to BUFFER. EAX = status, [bytes] and [pieces] what came.
command:
    mov dword [bytes], 0
    mov dword [pieces], 0
    wr 176h, 0a0h
    wr 171h, 0
    wr 174h, 0
    wr 175h, 8
    wr 177h, 0a0h
    call ready
    mov si, cdb
    mov dx, 170h
    mov cx, 6
    rep outsw
    mov di, BUFFER
.piece:
    call ready
    test al, 8
    jz .end
    inc dword [pieces]
    rd 175h
    mov ch, al
    rd 174h
    mov cl, al
    movzx eax, cx
    add [bytes], eax
    inc cx
    shr cx, 1
    mov dx, 170h
    rep insw
    jmp .piece
.end:
    mov dword [cdb + 8], 0
    ret
; EAX = status when it is no longer busy
ready:
    mov cx, 1000
.moment:
    loop .moment
    mov ebx, 4000000
    mov dx, 177h
    xor eax, eax
.look:
    in al, dx
    test al, 80h
    jz .end
    dec ebx
    jnz .look
.end:
    ret
handler:
    handles
    mov dx, 177h
    in al, dx
    mov [last], al
    handled 2
change_text db 'atapi: change the disc', 10, 0
align 4, 0
cdb: times 3 dd 0
bytes dd 0
pieces dd 0
last dd 0
