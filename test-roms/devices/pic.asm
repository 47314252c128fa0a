; 8259A pair: initialisation, masks, request and service registers, end of interrupt, polling, ELCR.
bits 16
main:
    controllers 0ffh, 0ffh
    rd 21h
    equal16 'mask of the master', eax, 0ffh
    wr 0a1h, 5ah
    rd 0a1h
    equal16 'mask of the slave', eax, 5ah
    wr 0a1h, 0ffh
    call once
    call wait_request
    equal16 'IRQ 0 requests, masked', eax, 1
    wr 20h, 0bh
    rd 20h
    equal16 'nothing is in service', eax, 0
    ; polling acknowledges
    wr 21h, 0feh
    wr 20h, 0ch
    rd 20h
    equal16 'a poll tells the request', eax, 80h
    wr 20h, 0bh
    rd 20h
    equal16 'it is in service then', eax, 1
    wr 20h, 0ah
    rd 20h
    equal16 'and requests no more', eax, 0
    wr 20h, 20h
    wr 20h, 0ch
    rd 20h
    and al, 80h
    equal16 'a poll of nothing', eax, 0
    ; an interrupt
    vector 20h, handler
    call once
    sti
    hlt
    cli
    equal16 'IRQ 0 came', [count], 1
    equal16 'it was in service', [in_service], 1
    ; without the end of interrupt the same level does not come again
    call once
    sti
    mov cx, 60000
.spin:
    loop .spin
    cli
    equal16 'no second one before EOI', [count], 1
    wr 20h, 60h                 ; specific EOI of level 0
    wr 20h, 0bh
    rd 20h
    equal16 'specific EOI', eax, 0
    sti
    nop
    nop
    cli
    equal16 'then the second one comes', [count], 2
    wr 20h, 20h
    ; automatic EOI
    wr 20h, 11h
    wr 21h, 20h
    wr 21h, 4
    wr 21h, 3
    wr 21h, 0feh
    call once
    sti
    hlt
    cli
    wr 20h, 0bh
    rd 20h
    equal16 'automatic EOI', eax, 0
    equal16 'and the third one', [count], 3
    ; edge or level
    wr 4d0h, 0ffh
    wr 4d1h, 0ffh
    rd 4d0h
    equal16 'ELCR 1: not for IRQ 0, 1, 2', eax, 0f8h
    rd 4d1h
    equal16 'ELCR 2: not for IRQ 8, 13', eax, 0deh
    wr 4d0h, 0
    wr 4d1h, 0
    done
; Counter 0: the output rises once, after 100 periods.
once:
    wr 43h, 30h
    wr 40h, 100
    wr 40h, 0
    ret
; EAX = the request register, once IRQ 0 is in it
wait_request:
    wr 20h, 0ah
    mov cx, 60000
.look:
    xor eax, eax
    in al, 20h
    test al, 1
    jnz .end
    loop .look
.end:
    ret
handler:
    push ax
    inc dword [count]
    mov al, 0bh
    out 20h, al
    in al, 20h
    mov [in_service], al
    pop ax
    iret
align 4, 0
in_service dd 0
