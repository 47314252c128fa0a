; VGA: indexed registers, the attribute controller's flip-flop, palette, planes and write modes, Bochs display interface.
bits 16
%macro set 3
    wr %1, %2
    wr %1 + 1, %3
%endmacro
main:
    wr 3c2h, 63h
    rd 3cch
    equal16 'miscellaneous output', eax, 63h
    set 3c4h, 2, 0fh
    indexed 3c4h, 3c5h, 2
    equal16 'sequencer: map mask', eax, 0fh
    set 3d4h, 11h, 0            ; no write protection
    set 3d4h, 1, 4fh
    indexed 3d4h, 3d5h, 1
    equal16 'CRTC: displayed columns', eax, 4fh
    set 3d4h, 11h, 80h
    set 3d4h, 1, 11h
    indexed 3d4h, 3d5h, 1
    equal16 'CRTC: registers 0 to 7 are protected', eax, 4fh
    set 3d4h, 0eh, 5ah
    indexed 3d4h, 3d5h, 0eh
    equal16 'CRTC: others are not', eax, 5ah
    set 3ceh, 8, 0a5h
    indexed 3ceh, 3cfh, 8
    equal16 'graphics: bit mask', eax, 0a5h
    set 3ceh, 8, 0ffh
    ; attribute controller: index and data by turns, put back by a read of 3DAh
    rd 3dah
    wr 3c0h, 5
    wr 3c0h, 2ah
    rd 3dah
    wr 3c0h, 5
    rd 3c1h
    equal16 'attribute: palette', eax, 2ah
    rd 3dah
    wr 3c0h, 20h
    ; DAC
    wr 3c6h, 0ffh
    wr 3c8h, 10h
    wr 3c9h, 11h
    wr 3c9h, 22h
    wr 3c9h, 33h
    wr 3c9h, 3fh
    rd 3c8h
    equal16 'DAC: the index moves on after three', eax, 11h
    wr 3c7h, 10h
    rd 3c9h
    equal16 'DAC: red', eax, 11h
    rd 3c9h
    equal16 'DAC: green', eax, 22h
    rd 3c9h
    equal16 'DAC: blue', eax, 33h
    ; planes: 64 KiB at A0000h, not chained
    set 3c4h, 4, 6
    set 3ceh, 5, 0
    set 3ceh, 6, 5
    set 3ceh, 1, 0
    set 3ceh, 3, 0
    mov ax, 0a000h
    mov fs, ax
    set 3c4h, 2, 0fh
    mov byte [fs:0], 0
    set 3c4h, 2, 5
    mov byte [fs:0], 0c3h
    set 3ceh, 4, 0
    movzx eax, byte [fs:0]
    equal16 'plane 0 was written', eax, 0c3h
    set 3ceh, 4, 1
    movzx eax, byte [fs:0]
    equal16 'plane 1 was not', eax, 0
    set 3ceh, 4, 2
    movzx eax, byte [fs:0]
    equal16 'plane 2 was', eax, 0c3h
    ; write mode 1 copies the latches
    set 3c4h, 2, 0fh
    set 3ceh, 5, 1
    mov al, [fs:0]
    mov byte [fs:1], 0
    set 3ceh, 5, 0
    set 3ceh, 4, 2
    movzx eax, byte [fs:1]
    equal16 'write mode 1', eax, 0c3h
    ; write mode 2: a colour; the bit mask
    set 3ceh, 5, 2
    set 3ceh, 8, 0f0h
    mov byte [fs:2], 0
    mov al, [fs:2]
    mov byte [fs:2], 0ah
    set 3ceh, 5, 8              ; read mode 1: compare
    set 3ceh, 2, 0ah
    set 3ceh, 7, 0fh
    movzx eax, byte [fs:2]
    equal16 'write mode 2, read mode 1', eax, 0f0h
    set 3ceh, 5, 0
    set 3ceh, 8, 0ffh
    ; set and reset, with a rotated function
    set 3ceh, 0, 3
    set 3ceh, 1, 0fh
    mov byte [fs:3], 0
    set 3ceh, 1, 0
    set 3ceh, 4, 1
    movzx eax, byte [fs:3]
    equal16 'set: plane 1', eax, 0ffh
    set 3ceh, 4, 3
    movzx eax, byte [fs:3]
    equal16 'reset: plane 3', eax, 0
    set 3ceh, 3, 19h            ; XOR, rotated by one
    set 3ceh, 4, 1
    mov al, [fs:3]
    mov byte [fs:3], 3
    movzx eax, byte [fs:3]
    equal16 'XOR, rotated', eax, 7eh
    set 3ceh, 3, 0
    ; Bochs display interface
    mov dx, 1ceh
    mov ax, 0
    out dx, ax
    inc dx
    xor eax, eax
    in ax, dx
    and al, 0f0h
    equal16 'display interface', eax, 0b0c0h
    done
