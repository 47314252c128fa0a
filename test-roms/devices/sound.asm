; Sound Blaster 16 and OPL3: reset, version, mixer, interrupt, timers.
bits 16
%macro dsp 1
    mov al, %1
    call put
%endmacro
main:
    wr 226h, 1
    mov cx, 1000
.reset:
    loop .reset
    wr 226h, 0
    call get
    equal16 'reset', eax, 0aah
    dsp 0e1h
    call get
    equal16 'version 4', eax, 4
    call get
    equal16 'and something', eax, 5
    dsp 0e0h
    dsp 5ah
    call get
    equal16 'identification', eax, 0a5h
    dsp 0e4h
    dsp 77h
    dsp 0e8h
    call get
    equal16 'test register', eax, 77h
    dsp 0d1h
    dsp 0d8h
    call get
    equal16 'speaker on', eax, 0ffh
    ; mixer
    wr 224h, 22h
    wr 225h, 0cch
    indexed 224h, 225h, 22h
    equal16 'mixer: master volume', eax, 0cch
    indexed 224h, 225h, 80h
    equal16 'mixer: IRQ 5', eax, 2
    indexed 224h, 225h, 81h
    equal16 'mixer: DMA 1 and 5', eax, 22h
    ; the interrupt
    controllers 0dfh, 0ffh
    vector 25h, handler
    dsp 0f2h
    sti
    mov cx, 60000
.wait:
    loop .wait
    cli
    equal16 'IRQ 5', [count], 1
    equal16 'mixer: an 8-bit interrupt', [cause], 1
    ; the synthesizer is found by its timers
    wr 388h, 4
    wr 389h, 60h
    wr 388h, 4
    wr 389h, 80h
    rd 388h
    and al, 0e0h
    equal16 'no timer is over', eax, 0
    wr 388h, 2
    wr 389h, 0ffh
    wr 388h, 4
    wr 389h, 21h
    mov cx, 60000
.timer:
    loop .timer
    rd 388h
    and al, 0e0h
    equal16 'timer 1 is over', eax, 0c0h
    wr 388h, 4
    wr 389h, 60h
    wr 388h, 4
    wr 389h, 80h
    rd 388h
    and al, 6
    equal16 'an OPL3', eax, 0
    done
put:
    push ax
    mov dx, 22ch
    mov cx, 0ffffh
.look:
    in al, dx
    test al, 80h
    jz .end
    loop .look
.end:
    pop ax
    out dx, al
    ret
get:
    mov dx, 22eh
    mov cx, 0ffffh
.look:
    in al, dx
    test al, 80h
    jnz .end
    loop .look
    mov eax, 0eeeeh
    ret
.end:
    mov dx, 22ah
    xor eax, eax
    in al, dx
    ret
handler:
    handles
    mov dx, 224h
    mov al, 82h
    out dx, al
    inc dx
    in al, dx
    and al, 7
    mov [cause], al
    mov dx, 22eh
    in al, dx
    handled 1
align 4, 0
cause dd 0
