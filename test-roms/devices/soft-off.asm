; Soft off by the PIIX4: what does not switch off, and what does. The verdict is printed first; the machine ends by it.
bits 16
main:
    mov dx, 0cf8h
    mov eax, 80000b40h
    out dx, eax
    mov dx, 0cfch
    mov eax, 601h
    out dx, eax
    mov dx, 0cf8h
    mov eax, 80000b80h
    out dx, eax
    mov dx, 0cfch
    mov eax, 1
    out dx, eax
    ; types other than 0 and 2, and type 0 without the enable bit
    mov dx, 604h
    mov ax, 0001h
    out dx, ax
    mov ax, 2401h
    out dx, ax
    mov ax, 3c01h
    out dx, ax
    xor eax, eax
    in ax, dx
    and ah, 20h
    equal16 'still on; the enable bit reads as 0', eax, 1
    mov esi, text_pass
    cmp dword [failures], 0
    je .verdict
    mov esi, text_fail
.verdict:
    call puts16
    mov esi, rom_name
    call puts16
    mov al, 10
    call putc16
    mov dx, 604h
    mov ax, 2001h
    out dx, ax
    mov esi, on_text
    call puts16
    done
on_text db 'FAIL soft-off: it runs on', 10, 0
