; 8042 with keyboard and mouse: commands of the controller, of the keyboard and of the mouse, interrupts.
bits 16
%macro command 1
    mov al, %1
    call send_command
%endmacro
%macro data 1
    mov al, %1
    call send_data
%endmacro
%macro answer 2
    call receive
    equal16 %1, eax, %2
%endmacro
main:
    call drain
    command 0aah
    answer 'self-test', 55h
    command 0abh
    answer 'keyboard interface', 0
    command 0a9h
    answer 'mouse interface', 0
    command 60h
    data 30h                    ; no interrupts, both devices off
    command 20h
    answer 'command byte', 30h
    command 0aeh
    command 0a8h
    command 20h
    answer 'both devices on', 0
    rd 64h
    and al, 1
    equal16 'nothing to read', eax, 0
    ; keyboard
    data 0eeh
    answer 'echo', 0eeh
    data 0ffh
    answer 'reset: acknowledged', 0fah
    answer 'reset: done', 0aah
    data 0f2h
    answer 'identify: acknowledged', 0fah
    answer 'identify: first byte', 0abh
    answer 'identify: second byte', 83h
    data 0edh
    answer 'lights: acknowledged', 0fah
    data 7
    answer 'lights: set', 0fah
    data 0f0h
    answer 'scan code set: acknowledged', 0fah
    data 0
    answer 'scan code set: query', 0fah
    answer 'it is 2', 2
    data 0ah
    answer 'no such command', 0feh
    ; mouse
    command 0d4h
    data 0ffh
    answer 'mouse reset: acknowledged', 0fah
    call full
    rd 64h
    and al, 20h
    equal16 'the answer is marked', eax, 20h
    answer 'mouse reset: done', 0aah
    answer 'mouse: identity', 0
    command 0d4h
    data 0e9h
    answer 'mouse status: acknowledged', 0fah
    answer 'mouse status: off, 1:1', 0
    answer 'mouse status: resolution', 2
    answer 'mouse status: rate', 100
    ; the wheel appears after 200, 100, 80
    mov si, rates
    mov cx, 3
.rate:
    push cx
    command 0d4h
    data 0f3h
    call receive
    command 0d4h
    lodsb
    call send_data
    call receive
    pop cx
    loop .rate
    command 0d4h
    data 0f2h
    answer 'identity: acknowledged', 0fah
    answer 'a wheel', 3
    ; a byte as if from the keyboard, with its interrupt
    controllers 0fdh, 0ffh
    vector 21h, handler
    command 60h
    data 1
    command 0d2h
    data 5ah
    sti
    hlt
    cli
    equal16 'IRQ 1', [count], 1
    equal16 'its byte', [got], 5ah
    ; output port: A20 is on
    command 60h
    data 0
    command 0d0h
    call receive
    and al, 3
    equal16 'output port: no reset', eax, 3
    done
send_command:
    push ax
    call .ready
    pop ax
    out 64h, al
.ready:
    mov cx, 0ffffh
.look:
    in al, 64h
    test al, 2
    jz .end
    loop .look
.end:
    ret
send_data:
    push ax
    call send_command.ready
    pop ax
    out 60h, al
    jmp send_command.ready
; Waits for a byte without taking it.
full:
    mov ebx, 4000000
.look:
    in al, 64h
    test al, 1
    jnz .end
    dec ebx
    jnz .look
.end:
    ret
; EAX = the next byte, 0EEEEh when none comes
receive:
    mov ebx, 4000000
    mov eax, 0eeeeh
.look:
    in al, 64h
    test al, 1
    jnz .take
    dec ebx
    jnz .look
    mov eax, 0eeeeh
    ret
.take:
    push cx
    mov cx, 20
.settle:
    loop .settle
    pop cx
    xor eax, eax
    in al, 60h
    ret
drain:
    mov cx, 100
.look:
    in al, 60h
    loop .look
    ret
handler:
    handles
    in al, 60h
    mov [got], al
    handled 1
align 4, 0
got dd 0
rates db 200, 100, 80
