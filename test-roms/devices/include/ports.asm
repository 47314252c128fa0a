; What device ROMs have beside the frame: ports, waiting. All in real mode; no register survives a check.

; A byte to a port.
%macro wr 2
    mov dx, %1
    mov al, %2
    out dx, al
%endmacro
; EAX = the byte at a port.
%macro rd 1
    mov dx, %1
    xor eax, eax
    in al, dx
%endmacro
; EAX = the byte behind an index: index port, data port, index.
%macro indexed 3
    wr %1, %3
    rd %2
%endmacro
; Real-mode interrupt %1 goes to %2.
%macro vector 2
    mov word [%1 * 4], %2
    mov word [%1 * 4 + 2], 0
%endmacro
; The interrupt controllers at 20h and 28h, all masked but %1 (master) and %2 (slave), which are masks.
%macro controllers 2
    wr 20h, 11h
    wr 21h, 20h
    wr 21h, 4
    wr 21h, 1
    wr 0a0h, 11h
    wr 0a1h, 28h
    wr 0a1h, 2
    wr 0a1h, 1
    wr 21h, %1
    wr 0a1h, %2
%endmacro
; The end of a ROM.
%macro done 0
    protected
    jmp finish
bits 16
%endmacro
