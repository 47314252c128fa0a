; The A20 gate at port 92h: addresses in real mode, paging off and on.
bits 16
main:
    ; The board ORs the keyboard controller's gate with that of port 92h: switch the former off.
    call .keyboard
    mov al, 0d1h
    out 64h, al
    call .keyboard
    mov al, 0ddh
    out 60h, al
    call .keyboard
    mov ax, 0ffffh
    mov fs, ax
    in al, 92h
    or al, 2
    and al, 0feh
    out 92h, al
    mov dword [0b000h], 11111111h
    mov dword [fs:0b010h], 22222222h
    mov ebx, [0b000h]
    mov [seen], ebx
    in al, 92h
    and al, 0fch
    out 92h, al
    mov ebx, [fs:0b010h]
    mov [seen + 4], ebx
    mov dword [fs:0b010h], 33333333h
    mov ebx, [0b000h]
    mov [seen + 8], ebx
    in al, 92h
    or al, 2
    and al, 0feh
    out 92h, al
    mov ebx, [fs:0b010h]
    mov [seen + 12], ebx
    equal16 'A20 on: two places', [seen], 11111111h
    equal16 'A20 off: reads wrap', [seen + 4], 11111111h
    equal16 'A20 off: writes wrap', [seen + 8], 33333333h
    equal16 'A20 on again: the upper place is as before', [seen + 12], 22222222h
    ; code runs through the wrap
    mov dword [0b100h], 3234b866h       ; MOV EAX, 12345678h with o32 ...
    mov dword [0b100h], 5678b866h
    mov word [0b104h], 1234h
    mov byte [0b106h], 0cbh             ; RETF
    in al, 92h
    and al, 0fch
    out 92h, al
    xor eax, eax
    call 0ffffh:0b110h
    mov [seen], eax
    in al, 92h
    or al, 2
    and al, 0feh
    out 92h, al
    equal16 'A20 off: code wraps', [seen], 12345678h
    protected
    ; bit 20 of every address
    mov dword [0b000h], 44444444h
    mov dword [30b000h], 55555555h
    mov dword [20b000h], 66666666h
    in al, 92h
    and al, 0fch
    out 92h, al
    mov ebx, [10b000h]
    mov ecx, [30b000h]
    in al, 92h
    or al, 2
    and al, 0feh
    out 92h, al
    mov [seen], ebx
    mov [seen + 4], ecx
    equal 'flat: 10B000h is 00B000h', [seen], 44444444h
    equal 'flat: 30B000h is 20B000h', [seen + 4], 66666666h
    equal 'flat: on again', [30b000h], 55555555h
    ; through paging: the physical address loses the bit
    mov edi, 21000h
    mov eax, 7
    mov ecx, 1024
.fill:
    stosd
    add eax, 1000h
    dec ecx
    jnz .fill
    mov dword [20000h], 21007h
    mov dword [21000h + 50h * 4], 30b007h
    mov eax, 20000h
    mov cr3, eax
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    mov ebx, [50000h]
    mov [seen], ebx
    in al, 92h
    and al, 0fch
    out 92h, al
    mov eax, cr3
    mov cr3, eax
    mov ebx, [50000h]
    in al, 92h
    or al, 2
    and al, 0feh
    out 92h, al
    mov [seen + 4], ebx
    equal 'paging, A20 on', [seen], 55555555h
    equal 'paging, A20 off', [seen + 4], 66666666h
    jmp finish
bits 16
.keyboard:
    mov cx, 0ffffh
.wait:
    in al, 64h
    test al, 2
    jz .ready
    dec cx
    jnz .wait
.ready:
    ret
seen: times 4 dd 0
