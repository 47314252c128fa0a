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
; An interrupt handler: it counts, and AX and DX are free until it ends by telling the master (1) or both (2) controllers.
%macro handles 0
    push ax
    push dx
    inc dword [count]
%endmacro
%macro handled 1
    mov al, 20h
%if %1 == 2
    out 0a0h, al
%endif
    out 20h, al
    pop dx
    pop ax
    iret
%endmacro
; A byte of a command to the floppy controller, by the routines below.
%macro send 1
    mov al, %1
    call put
%endmacro
%macro floppy_routines 0
; AL to the FIFO, when it wants it
put:
    push ax
    mov cx, 0ffffh
    mov dx, 3f4h
.look:
    in al, dx
    and al, 0c0h
    cmp al, 80h
    je .end
    loop .look
.end:
    pop ax
    inc dx
    out dx, al
    ret
; EAX = a byte of the result, 0EEEEh when there is none
get:
    mov cx, 0ffffh
    mov dx, 3f4h
.look:
    in al, dx
    and al, 0c0h
    cmp al, 0c0h
    je .end
    loop .look
    mov eax, 0eeeeh
    ret
.end:
    inc dx
    xor eax, eax
    in al, dx
    ret
handler:
    handles
    handled 1
%endmacro
; The end of a ROM.
%macro done 0
    protected
    jmp finish
bits 16
%endmacro
