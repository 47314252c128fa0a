; NE2000 on the ISA bus (300h, IRQ 10), on a cable where 10.0.2.2 answers ARP: address PROM, register pages,
; remote DMA, loopback, receive ring, interrupts.
bits 16
BASE equ 300h
BUFFER equ 0b000h
; Remote DMA: command, address, bytes
%macro remote 3
    wr BASE + 8, (%2) & 0ffh
    wr BASE + 9, (%2) >> 8
    wr BASE + 0ah, (%3) & 0ffh
    wr BASE + 0bh, (%3) >> 8
    wr BASE, %1
%endmacro
; Bytes of the card's memory to BUFFER: address, bytes (even)
%macro fetch 2
    remote 0ah, %1, %2
    mov di, BUFFER
    mov dx, BASE + 10h
    mov cx, (%2) / 2
    rep insw
%endmacro
main:
    controllers 0fbh, 0fbh
    vector 2ah, handler
    rd BASE + 1fh
    wr BASE + 1fh, 0
    rd BASE + 7
    equal16 'reset: it stands still', eax, 80h
    wr BASE, 21h
    rd BASE
    equal16 'command: stopped, page 0', eax, 21h
    ; the address PROM, a byte at a time
    wr BASE + 0eh, 48h
    wr BASE + 7, 7fh
    remote 0ah, 0, 32
    mov di, BUFFER
    mov dx, BASE + 10h
    mov cx, 32
    rep insb
    mov al, [BUFFER]
    xor al, [BUFFER + 1]
    mov ah, [BUFFER + 10]
    xor ah, [BUFFER + 11]
    movzx eax, ax
    equal16 'PROM: each byte twice', eax, 0
    equal16 'PROM: a 16-bit card', [BUFFER + 28], 57575757h
    rd BASE + 7
    and al, 40h
    equal16 'remote DMA is complete', eax, 40h
    wr BASE + 7, 40h
    rd BASE + 7
    and al, 40h
    equal16 'and that was acknowledged', eax, 0
    mov si, BUFFER
    mov di, station
    mov cx, 6
.station:
    lodsw
    stosb
    loop .station
    ; pages 1 and 2
    wr BASE + 1, 46h
    wr BASE + 2, 80h
    wr BASE + 0ch, 4
    wr BASE, 61h
    mov si, station
    mov dx, BASE + 1
    mov cx, 6
.put:
    lodsb
    out dx, al
    inc dx
    loop .put
    wr BASE + 7, 5ah
    wr BASE + 0fh, 0a5h
    rd BASE + 6
    cmp al, [station + 5]
    sete al
    movzx eax, al
    equal16 'page 1: station address', eax, 1
    rd BASE + 7
    equal16 'page 1: current page', eax, 5ah
    rd BASE + 0fh
    equal16 'page 1: multicast filter', eax, 0a5h
    wr BASE, 0a1h
    rd BASE + 1
    equal16 'page 2: first page', eax, 46h
    rd BASE + 2
    equal16 'page 2: behind the last', eax, 80h
    rd BASE + 0ch
    and al, 3fh
    equal16 'page 2: receive configuration', eax, 4
    wr BASE, 21h
    ; remote DMA by words
    wr BASE + 0eh, 49h
    remote 12h, 4000h, 8
    mov dx, BASE + 10h
    mov ax, 1234h
    out dx, ax
    mov ax, 5678h
    out dx, ax
    mov ax, 9abch
    out dx, ax
    mov ax, 0def0h
    out dx, ax
    rd BASE + 7
    and al, 40h
    equal16 'written', eax, 40h
    fetch 4000h, 8
    equal16 'read again', [BUFFER], 56781234h
    equal16 'and the rest', [BUFFER + 4], 0def09abch
    rd BASE + 9
    equal16 'the address moves on', eax, 40h
    rd BASE + 8
    equal16 'by as much', eax, 8
    ; around the ring
    remote 12h, 7ffeh, 4
    mov dx, BASE + 10h
    mov ax, 0aaaah
    out dx, ax
    mov ax, 0bbbbh
    out dx, ax
    fetch 4600h, 2
    movzx eax, word [BUFFER]
    equal16 'remote DMA goes around the ring', eax, 0bbbbh
    ; loopback inside the chip: bytes 0 to 3Bh
    mov di, BUFFER
    xor al, al
.count:
    stosb
    inc al
    cmp al, 60
    jb .count
    call load
    wr BASE + 0dh, 2
    wr BASE + 7, 7fh
    wr BASE, 22h
    call send
    call sent
    equal16 'loopback: sent', eax, 2
    rd BASE + 4
    and al, 1
    equal16 'loopback: without errors', eax, 1
    call fifo
    equal16 'FIFO: the last byte and the checksum', eax, 0ec7fee3bh
    call fifo
    equal16 'FIFO: checksum, bytes', eax, 0000040b0h
    ; the cable
    wr BASE + 0dh, 0
    wr BASE, 21h
    wr BASE + 3, 46h
    wr BASE, 61h
    wr BASE + 7, 47h
    wr BASE, 22h
    wr BASE + 7, 7fh
    wr BASE + 0fh, 1
    call ask
    equal16 'an interrupt for the answer', [count], 1
    movzx eax, byte [cause]
    and al, 1
    equal16 'received', eax, 1
    call current
    equal16 'the ring has one page more', eax, 48h
    fetch 4700h, 46
    equal16 'header: good, next page, bytes', [BUFFER], 00404801h
    mov eax, [BUFFER + 4]
    sub eax, [station]
    equal16 'for this station', eax, 0
    movzx eax, word [BUFFER + 16]
    equal16 'ARP', eax, 0608h
    movzx eax, word [BUFFER + 24]
    equal16 'an answer', eax, 0200h
    equal16 'of 10.0.2.2', [BUFFER + 32], 0202000ah
    ; the last page of the ring
    wr BASE + 3, 7eh
    wr BASE, 62h
    wr BASE + 7, 7fh
    wr BASE, 22h
    call ask
    call current
    equal16 'the ring begins again', eax, 46h
    fetch 7f00h, 4
    equal16 'header at its end', [BUFFER], 00404601h
    ; monitor mode counts and keeps nothing
    rd BASE + 0fh
    wr BASE + 0ch, 24h
    wr BASE + 0fh, 0
    call request
    call send
    mov ecx, 2000000
.monitor:
    dec ecx
    jnz .monitor
    rd BASE + 0fh
    equal16 'monitor mode: one was counted', eax, 1
    call current
    equal16 'monitor mode: none was kept', eax, 46h
    ; stop
    wr BASE, 21h
    rd BASE + 7
    and al, 80h
    equal16 'stopped', eax, 80h
    done
; BUFFER's 60 bytes to page 40h
load:
    remote 12h, 4000h, 60
    mov si, BUFFER
    mov dx, BASE + 10h
    mov cx, 30
    rep outsw
    wr BASE + 7, 40h
    ret
; Sends them
send:
    wr BASE + 4, 40h
    wr BASE + 5, 60
    wr BASE + 6, 0
    wr BASE, 26h
    ret
; EAX = 2 when that is done
sent:
    mov ecx, 100000
.look:
    rd BASE + 7
    and eax, 2
    jnz .end
    dec ecx
    jnz .look
.end:
    ret
; EAX = four bytes of the FIFO, the first one lowest
fifo:
    mov cx, 4
    xor ebx, ebx
.next:
    rd BASE + 6
    shl eax, 24
    shr ebx, 8
    or ebx, eax
    loop .next
    mov eax, ebx
    ret
; EAX = current page
current:
    wr BASE, 62h
    rd BASE + 7
    push ax
    wr BASE, 22h
    pop ax
    movzx eax, al
    ret
; Loads "who has 10.0.2.2?"
request:
    mov di, BUFFER
    mov al, 0ffh
    mov cx, 6
    rep stosb
    mov si, station
    mov cx, 6
    rep movsb
    mov si, arp
    mov cx, 10
    rep movsb
    mov si, station
    mov cx, 6
    rep movsb
    mov si, addresses
    mov cx, 14
    rep movsb
    xor al, al
    mov cx, 18
    rep stosb
    jmp load
; Asks, and waits for the interrupt of the answer
ask:
    mov dword [count], 0
    call request
    call send
    sti
    mov ecx, 2000000
.wait:
    cmp dword [count], 0
    jne .end
    dec ecx
    jnz .wait
.end:
    cli
    ret
handler:
    handles
    mov dx, BASE + 7
    in al, dx
    mov [cause], al
    out dx, al
    handled 2
arp db 8, 6, 0, 1, 8, 0, 6, 4, 0, 1
addresses db 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2
align 4, 0
station: times 8 db 0
cause dd 0
