; 16550A: registers, divisor, loop of data and modem lines, FIFOs, interrupts.
bits 16
COM equ 3f8h
main:
    wr COM + 1, 0
    wr COM + 7, 0a7h
    rd COM + 7
    equal16 'scratch', eax, 0a7h
    wr COM + 3, 83h
    wr COM, 34h
    wr COM + 1, 12h
    rd COM
    equal16 'divisor, low', eax, 34h
    rd COM + 1
    equal16 'divisor, high', eax, 12h
    wr COM, 1
    wr COM + 1, 0
    wr COM + 3, 3
    rd COM + 3
    equal16 'line control', eax, 3
    rd COM + 1
    equal16 'interrupts enabled are others', eax, 0
    wr COM + 2, 1
    rd COM + 2
    equal16 'FIFOs on', eax, 0c1h
    wr COM + 2, 0
    rd COM + 2
    equal16 'FIFOs off', eax, 1
    ; the modem lines in the loop: OUT2 is DCD, OUT1 RI, RTS CTS, DTR DSR
    wr COM + 4, 10h
    rd COM + 6
    wr COM + 4, 1fh
    rd COM + 6
    mov [seen], eax
    and al, 0f0h
    equal16 'loop: all lines high', eax, 0f0h
    mov eax, [seen]
    and al, 0fh
    equal16 'loop: changes are told', eax, 0bh
    rd COM + 6
    and al, 0fh
    equal16 'and told once', eax, 0
    wr COM + 4, 11h
    rd COM + 6
    equal16 'loop: RI, DCD and CTS fall', eax, 2dh
    ; data in the loop
    rd COM + 5
    equal16 'the transmitter is empty', eax, 60h
    wr COM, 5ah
    call wait_data
    rd COM
    equal16 'loop: data', eax, 5ah
    rd COM + 5
    and al, 1
    equal16 'it has been taken', eax, 0
    ; overrun without FIFO
    wr COM, 1
    call wait_data
    wr COM, 2
    call wait_sent
    and eax, 2
    equal16 'overrun', eax, 2
    rd COM
    equal16 'the later byte is there', eax, 2
    rd COM + 5
    and al, 2
    equal16 'and the overrun was told once', eax, 0
    ; FIFO
    wr COM + 2, 87h
    mov cx, 8
    mov al, 10h
.fill:
    push cx
    mov dx, COM
    out dx, al
    inc al
    pop cx
    loop .fill
    call wait_sent
    mov cx, 8
    mov dx, COM
    xor eax, eax
.take:
    in al, dx
    add ah, al
    loop .take
    shr eax, 8
    equal16 'FIFO: eight bytes', eax, (10h * 8 + 28) & 0ffh
    wr COM, 1
    call wait_data
    wr COM + 2, 3               ; clears the receiver's
    rd COM + 5
    and al, 1
    equal16 'FIFO: cleared', eax, 0
    ; interrupts
    wr COM + 2, 0
    controllers 0efh, 0ffh
    vector 24h, handler
    wr COM + 4, 1bh
    wr COM + 1, 2
    sti
    nop
    nop
    cli
    equal16 'transmitter empty: the interrupt', [count], 1
    equal16 'its cause', [cause], 2
    wr COM + 1, 1
    wr COM, 77h
    sti
    hlt
    cli
    equal16 'received data: the interrupt', [count], 2
    equal16 'the cause', [cause], 4
    rd COM
    rd COM + 2
    equal16 'none is left', eax, 1
    wr COM + 1, 0
    wr COM + 4, 0
    done
wait_data:
    mov cx, 0ffffh
    mov dx, COM + 5
.look:
    in al, dx
    test al, 1
    jnz .end
    loop .look
.end:
    ret
; EAX = all that the line status said meanwhile: a read clears the errors in it
wait_sent:
    mov ebx, 400000
    mov dx, COM + 5
    xor esi, esi
    xor eax, eax
.look:
    in al, dx
    or esi, eax
    test al, 40h
    jnz .end
    dec ebx
    jnz .look
.end:
    mov eax, esi
    ret
handler:
    handles
    mov dx, COM + 2
    in al, dx
    and al, 0fh
    mov [cause], al
    mov dx, COM + 1
    mov al, 0
    out dx, al
    handled 1
align 4, 0
seen dd 0
cause dd 0
