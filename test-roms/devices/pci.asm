; PCI configuration mechanism 1: who is there, sizes of base address registers, what nobody answers.
bits 16
; EAX = dword %3 of function %2 of device %1
%macro config 3
    mov dx, 0cf8h
    mov eax, 80000000h | %1 << 11 | %2 << 8 | %3
    out dx, eax
    mov dx, 0cfch
    in eax, dx
%endmacro
main:
    mov dx, 0cf8h
    mov eax, 80000800h
    out dx, eax
    xor eax, eax
    in eax, dx
    equal16 'the address can be read', eax, 80000800h
    config 0, 0, 0
    equal16 'host bridge', eax, 12378086h
    config 0, 0, 8
    shr eax, 16
    equal16 'is one', eax, 600h
    config 1, 0, 0
    equal16 'ISA bridge', eax, 70008086h
    config 1, 0, 0ch
    shr eax, 16
    and eax, 80h
    equal16 'has more functions', eax, 80h
    config 1, 1, 0
    equal16 'IDE', eax, 70108086h
    config 1, 3, 0
    equal16 'power management', eax, 71138086h
    config 2, 0, 0
    equal16 'display', eax, 11111234h
    config 2, 0, 8
    shr eax, 24
    equal16 'is one', eax, 3
    config 31, 0, 0
    equal16 'nobody', eax, 0ffffffffh
    config 1, 7, 0
    equal16 'no such function', eax, 0ffffffffh
    mov dx, 0cf8h
    mov eax, 800
    out dx, eax
    mov dx, 0cfch
    in eax, dx
    equal16 'without bit 31 nobody', eax, 0ffffffffh
    ; the bus master registers of the IDE function: 16 ports
    config 1, 1, 20h
    mov eax, 0ffffffffh
    out dx, eax
    in eax, dx
    equal16 'IDE: 16 ports', eax, 0fffffff1h
    config 1, 1, 20h
    mov eax, 0c001h
    out dx, eax
    config 1, 1, 4
    mov eax, 5
    out dx, ax
    wr 0c002h, 60h
    rd 0c002h
    equal16 'bus master status', eax, 60h
    mov dx, 0c004h
    mov eax, 12345678h
    out dx, eax
    xor eax, eax
    in eax, dx
    equal16 'descriptor table', eax, 12345678h
    config 1, 1, 4
    mov eax, 0
    out dx, ax
    rd 0c002h
    equal16 'off: nobody', eax, 0ffh
    ; the framebuffer of the display is a power of two
    config 2, 0, 10h
    mov eax, 0ffffffffh
    out dx, eax
    in eax, dx
    and al, 0f0h
    mov ebx, eax
    neg ebx
    mov ecx, ebx
    dec ecx
    and ecx, ebx
    equal16 'display: a power of two', ecx, 0
    ; bytes and words of a register
    mov dx, 0cf8h
    mov eax, 80000000h
    out dx, eax
    rd 0cfdh
    equal16 'a byte', eax, 80h
    mov dx, 0cfeh
    xor eax, eax
    in ax, dx
    equal16 'a word', eax, 1237h
    ; PAM: RAM in place of the ROM
    mov ax, 0d000h
    mov fs, ax
    config 0, 0, 5ch
    or al, 33h
    out dx, eax
    mov dword [fs:0], 0cafebabeh
    equal16 'memory at D0000h', [fs:0], 0cafebabeh
    config 0, 0, 5ch
    and al, 0ddh
    out dx, eax
    mov dword [fs:0], 0
    equal16 'write-protected', [fs:0], 0cafebabeh
    done
