; Sound Blaster 16: 8- and 16-bit transfers over DMA, blocks that begin anew, pause, interrupts and their
; acknowledgement, recording.
bits 16
%macro dsp 1
    mov al, %1
    call put
%endmacro
BUFFER equ 0b000h
; DMA channel 1: mode, bytes
%macro dma1 2
    wr 0ah, 5
    wr 0ch, 0
    wr 0bh, %1
    wr 2, BUFFER & 0ffh
    wr 2, BUFFER >> 8
    wr 3, ((%2) - 1) & 0ffh
    wr 3, ((%2) - 1) >> 8
    wr 83h, 0
    wr 0ah, 1
%endmacro
; DMA channel 5: mode, words
%macro dma5 2
    wr 0d4h, 5
    wr 0d8h, 0
    wr 0d6h, %1
    wr 0c4h, (BUFFER / 2) & 0ffh
    wr 0c4h, (BUFFER / 2) >> 8
    wr 0c6h, ((%2) - 1) & 0ffh
    wr 0c6h, ((%2) - 1) >> 8
    wr 8bh, 0
    wr 0d4h, 1
%endmacro
main:
    controllers 0dfh, 0ffh
    vector 25h, handler
    wr 8, 0
    wr 0d0h, 0
    wr 226h, 1
    mov cx, 1000
.reset:
    loop .reset
    wr 226h, 0
    rd 22eh
    rd 22ah
    equal16 'reset', eax, 0aah
    ; 22050 bytes in a second
    dsp 41h
    dsp 56h
    dsp 22h
    ; 8 bits, one block
    dma1 49h, 512
    dsp 14h
    dsp 0ffh
    dsp 1
    call interrupt
    equal16 '8 bits: one interrupt', [count], 1
    equal16 '8 bits: its cause', [cause], 1
    rd 8
    and al, 2
    equal16 '8 bits: all was taken', eax, 2
    mov dword [count], 0
    call short_wait
    equal16 '8 bits: and no other', [count], 0
    rd 224h
    wr 224h, 82h
    rd 225h
    and al, 7
    equal16 'acknowledged', eax, 0
    ; blocks of 256 bytes out of a ring of 512
    dma1 59h, 512
    dsp 48h
    dsp 0ffh
    dsp 0
    dsp 1ch
    call interrupt
    call interrupt
    call interrupt
    equal16 'again and again', [total], 4
    rd 8
    and al, 2
    equal16 'the ring was gone round', eax, 2
    ; pause
    dsp 0d0h
    mov dword [count], 0
    call long_wait
    equal16 'pause: silence', [count], 0
    dsp 0d4h
    call interrupt
    equal16 'it goes on', [count], 1
    ; the block that plays is the last
    dsp 0dah
    call interrupt
    mov dword [count], 0
    call long_wait
    equal16 'it was the last', [count], 0
    ; 16 bits, mono: 256 words
    dma5 49h, 256
    dsp 0b0h
    dsp 10h
    dsp 0ffh
    dsp 0
    call interrupt
    equal16 '16 bits: its cause', [cause], 2
    rd 0d0h
    and al, 2
    equal16 '16 bits: all was taken', eax, 2
    ; again and again, in stereo
    mov dword [total], 0
    dma5 59h, 512
    dsp 0b6h
    dsp 30h
    dsp 0ffh
    dsp 0
    call interrupt
    call interrupt
    call interrupt
    equal16 '16 bits: again and again', [total], 3
    dsp 0d5h
    mov dword [count], 0
    call long_wait
    equal16 '16 bits: pause', [count], 0
    dsp 0d6h
    call interrupt
    equal16 '16 bits: it goes on', [count], 1
    dsp 0d9h
    call interrupt
    mov dword [count], 0
    call long_wait
    equal16 '16 bits: it was the last', [count], 0
    ; an interrupt that nobody acknowledges stands
    vector 25h, deaf
    dma1 49h, 16
    dsp 14h
    dsp 15
    dsp 0
    call interrupt
    wr 224h, 82h
    rd 225h
    and al, 7
    equal16 'not acknowledged: it stands', eax, 1
    rd 22fh
    wr 224h, 82h
    rd 225h
    and al, 7
    equal16 'the other acknowledgement does nothing', eax, 1
    rd 22eh
    wr 224h, 82h
    rd 225h
    and al, 7
    equal16 'the right one does', eax, 0
    vector 25h, handler
    ; the rate: 44100 Hz takes half the time of 22050
    dsp 41h
    dsp 56h
    dsp 22h
    call measure
    mov [slow], eax
    dsp 41h
    dsp 0ach
    dsp 44h
    call measure
    mov ebx, eax
    mov eax, [slow]
    xor edx, edx
    shr ebx, 4
    div ebx
    sub eax, 31
    cmp eax, 3
    setb al
    movzx eax, al
    equal16 'twice the rate, half the time', eax, 1
    ; recording hears silence
    mov di, BUFFER
    xor eax, eax
    mov cx, 16
    rep stosd
    dma1 45h, 64
    dsp 24h
    dsp 63
    dsp 0
    call interrupt
    equal16 'recorded: silence', [BUFFER], 80808080h
    equal16 'recorded: to the end', [BUFFER + 60], 80808080h
    done
; EAX = turns of a loop while 512 bytes are played
measure:
    dma1 49h, 512
    dsp 14h
    dsp 0ffh
    dsp 1
    mov dword [count], 0
    sti
    xor eax, eax
.turn:
    inc eax
    cmp dword [count], 0
    je .turn
    cli
    ret
; One interrupt, within a second
interrupt:
    mov dword [count], 0
    sti
    mov ecx, 60000000
.wait:
    cmp dword [count], 0
    jne .end
    dec ecx
    jnz .wait
.end:
    cli
    ret
short_wait:
    mov ecx, 500000
    jmp wait_out
long_wait:
    mov ecx, 4000000
wait_out:
    sti
.turn:
    dec ecx
    jnz .turn
    cli
    ret
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
; Looks for the cause and acknowledges it
handler:
    handles
    inc dword [total]
    mov dx, 224h
    mov al, 82h
    out dx, al
    inc dx
    in al, dx
    and al, 7
    mov [cause], al
    mov dx, 22eh
    cmp al, 1
    je .acknowledge
    inc dx
.acknowledge:
    in al, dx
    handled 1
; Does not
deaf:
    push ax
    inc dword [count]
    mov al, 20h
    out 20h, al
    pop ax
    iret
align 4, 0
cause dd 0
total dd 0
slow dd 0
