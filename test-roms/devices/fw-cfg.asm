; The firmware configuration device: items by bytes, the directory, a file, the DMA interface.
bits 16
BUFFER equ 0b000h
; Selects an item
%macro item 1
    mov dx, 510h
    mov ax, %1
    out dx, ax
%endmacro
; EAX = the next four bytes, the first one lowest
%macro four 0
    call next_four
%endmacro
; A DMA transfer: control (as the descriptor has it, big-endian), bytes
%macro transfer 2
    mov dword [descriptor], %1
    mov dword [descriptor + 4], (%2) << 24
    call run
%endmacro
main:
    item 0
    four
    equal16 'signature', eax, 'QEMU'
    four
    equal16 'zeros behind the end', eax, 0
    item 1
    four
    equal16 'interface: ports and DMA', eax, 3
    item 3
    four
    equal16 'RAM: 64 MiB', eax, 4000000h
    item 5
    four
    equal16 'one processor', eax, 1
    item 7777h
    four
    equal16 'no such item', eax, 0
    ; the directory
    item 19h
    four
    bswap eax
    mov [files], eax
    cmp eax, 2
    setae al
    movzx eax, al
    equal16 'there are files', eax, 1
.file:
    cmp dword [files], 0
    je .none
    dec dword [files]
    mov di, BUFFER
    mov cx, 64
.entry:
    mov dx, 511h
    in al, dx
    stosb
    loop .entry
    mov si, BUFFER + 8
    mov di, name
    mov cx, 9
    repe cmpsb
    jne .file
    mov eax, [BUFFER]
    bswap eax
    mov bx, [BUFFER + 4]
    xchg bl, bh
    mov [select], bx
    and eax, 0ffh
    equal16 'etc/e820: its entries have 20 bytes', eax, 20
    item [select]
    four
    equal16 'the first range: start', eax, 0
    four
    four
    equal16 'its length', eax, 4000000h
    four
    four
    equal16 'it is RAM', eax, 1
    jmp .dma
.none:
    equal16 'etc/e820 is missing', 0, 1
.dma:
    mov dx, 514h
    in eax, dx
    equal16 'DMA: signature', eax, 'QEMU'
    mov dx, 518h
    in eax, dx
    equal16 'DMA: its second half', eax, ' CFG'
    mov dword [BUFFER], 0
    mov dword [BUFFER + 4], 0eeeeeeeeh
    transfer 0a000000h, 4
    equal16 'select and read', [BUFFER], 'QEMU'
    equal16 'no further', [BUFFER + 4], 0eeeeeeeeh
    equal16 'without error', [descriptor], 0
    transfer 08000000h, 0
    transfer 04000000h, 2
    transfer 02000000h, 2
    movzx eax, word [BUFFER]
    equal16 'skip', eax, 'MU'
    transfer 10000000h, 1
    mov eax, [descriptor]
    equal16 'items cannot be written', eax, 01000000h
    done
next_four:
    mov dx, 511h
    mov cx, 4
    xor ebx, ebx
.byte:
    xor eax, eax
    in al, dx
    shl eax, 24
    shr ebx, 8
    or ebx, eax
    loop .byte
    mov eax, ebx
    ret
run:
    mov dword [descriptor + 8], 0
    mov eax, BUFFER
    bswap eax
    mov [descriptor + 12], eax
    mov eax, descriptor
    bswap eax
    mov dx, 518h
    out dx, eax
    ret
name db 'etc/e820', 0
align 4, 0
descriptor: times 4 dd 0
files dd 0
select dw 0
