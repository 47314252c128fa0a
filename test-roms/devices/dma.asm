; 8237A pair: the byte pointer, addresses and counts, masks, status, page registers.
bits 16
; Two bytes to a port.
%macro wr2 2
    wr %1, %2 & 0ffh
    mov al, %2 >> 8
    out dx, al
%endmacro
; EAX = two bytes from a port.
%macro rd2 1
    mov dx, %1
    xor eax, eax
    xor ebx, ebx
    in al, dx
    mov bl, al
    in al, dx
    mov bh, al
    mov eax, ebx
%endmacro
main:
    wr 0dh, 0                   ; master clear of both
    wr 0dah, 0
    wr2 4, 1234h
    wr2 5, 5678h
    rd2 4
    equal16 'channel 2: address', eax, 1234h
    rd2 5
    equal16 'channel 2: count', eax, 5678h
    wr2 0c4h, 9abch
    wr2 0c6h, 0def0h
    rd2 0c4h
    equal16 'channel 5: address', eax, 9abch
    rd2 0c6h
    equal16 'channel 5: count', eax, 0def0h
    rd2 4
    equal16 'channel 2 is as before', eax, 1234h
    ; one byte, then the pointer is put back
    wr 0ch, 0
    rd 4
    wr 0ch, 0
    rd 4
    equal16 'the byte pointer is cleared', eax, 34h
    rd 4
    equal16 'and goes on', eax, 12h
    rd 0fh
    and al, 0fh
    equal16 'all are masked', eax, 0fh
    wr 0ah, 2
    rd 0fh
    and al, 0fh
    equal16 'channel 2 is not', eax, 0bh
    wr 0fh, 5
    rd 0fh
    and al, 0fh
    equal16 'all masks at once', eax, 5
    wr 0eh, 0
    rd 0fh
    and al, 0fh
    equal16 'no masks', eax, 0
    wr 0dh, 0
    ; a request by software is in the status
    rd 8
    equal16 'status: nothing', eax, 0
    ; page registers are memory
    wr 81h, 11h
    wr 82h, 22h
    wr 83h, 33h
    wr 87h, 44h
    wr 8bh, 55h
    rd 81h
    equal16 'page of channel 2', eax, 11h
    rd 82h
    equal16 'page of channel 3', eax, 22h
    rd 83h
    equal16 'page of channel 1', eax, 33h
    rd 87h
    equal16 'page of channel 0', eax, 44h
    rd 8bh
    equal16 'page of channel 5', eax, 55h
    done
