; Power management of the PIIX4: APM ports, ACPI mode, timer and its interrupt, general purpose events, SMBus.
bits 16
PM equ 600h
SMB equ 700h
; A dword to register %1 of the function
%macro config 2
    mov dx, 0cf8h
    mov eax, 80000b00h | %1
    out dx, eax
    mov dx, 0cfch
    mov eax, %2
    out dx, eax
%endmacro
; EAX = the word at a port
%macro rdw 1
    mov dx, %1
    xor eax, eax
    in ax, dx
%endmacro
%macro wrw 2
    mov dx, %1
    mov ax, %2
    out dx, ax
%endmacro
main:
    controllers 0fbh, 0fdh
    vector 29h, handler
    rdw PM + 4
    equal16 'no base: nobody', eax, 0ffffh
    config 40h, PM | 1
    rdw PM + 4
    equal16 'not enabled: nobody', eax, 0ffffh
    config 80h, 1
    config 90h, SMB | 1
    config 0d0h, 00090000h
    rdw PM + 4
    equal16 'ACPI mode is off', eax, 0
    ; the APM ports
    wr 0b3h, 5ah
    rd 0b3h
    equal16 'APM: status reads back', eax, 5ah
    wr 0b2h, 33h
    rd 0b2h
    equal16 'APM: control reads back', eax, 33h
    wr 0b2h, 0f1h
    rdw PM + 4
    equal16 'ACPI mode is on', eax, 1
    wr 0b2h, 0f0h
    rdw PM + 4
    equal16 'and off again', eax, 0
    wr 0b2h, 0f1h
    ; the timer: 24 bits, 3.579545 MHz, against 2000 counts of the 1.193 MHz timer
    mov dx, PM + 8
    in eax, dx
    shr eax, 24
    equal16 'timer: 24 bits', eax, 0
    wr 43h, 34h
    wr 40h, 0ffh
    wr 40h, 0ffh
    call pit
    mov si, ax
    mov dx, PM + 8
    in eax, dx
    mov edi, eax
.turn:
    call pit
    mov bx, si
    sub bx, ax
    cmp bx, 2000
    jb .turn
    mov dx, PM + 8
    in eax, dx
    sub eax, edi
    and eax, 0ffffffh
    sub eax, 5980
    cmp eax, 60
    setb al
    movzx eax, al
    equal16 'timer: three times as fast as the other', eax, 1
    ; its interrupt, once in 2.34 s
    mov dx, PM
    mov ax, 0ffffh
    out dx, ax
    wrw PM + 2, 1
    sti
    hlt
    cli
    equal16 'timer: IRQ 9', [count], 1
    movzx eax, word [seen]
    and al, 1
    equal16 'timer: status', eax, 1
    rdw PM
    and al, 1
    equal16 'timer: acknowledged', eax, 0
    mov dx, PM + 8
    in eax, dx
    and eax, 7fffffh
    cmp eax, 4000
    setb al
    movzx eax, al
    equal16 'timer: its highest bit has just changed', eax, 1
    wrw PM + 2, 0
    ; enable bits that exist
    wrw PM + 2, 0ffffh
    rdw PM + 2
    equal16 'enable bits', eax, 0521h
    wrw PM + 2, 0
    wrw PM + 4, 1c03h
    rdw PM + 4
    equal16 'control: sleep type, mode', eax, 1c03h
    wrw PM + 4, 1
    ; general purpose events are in two places
    wrw PM + 0eh, 0104h
    rdw 0afe2h
    equal16 'general purpose events: enable', eax, 0104h
    rdw 0afe0h
    equal16 'general purpose events: none', eax, 0
    ; SMBus: nobody answers
    wr SMB + 4, 0a1h
    wr SMB + 2, 48h
    rd SMB
    equal16 'SMBus: device error', eax, 4
    wr SMB, 1eh
    rd SMB
    equal16 'SMBus: cleared', eax, 0
    ; elsewhere
    config 40h, 0c01h
    rdw PM + 4
    equal16 'moved: not here', eax, 0ffffh
    rdw 0c04h
    equal16 'moved: but there', eax, 1
    done
; AX = counter 0
pit:
    mov al, 0
    out 43h, al
    in al, 40h
    mov ah, al
    in al, 40h
    xchg al, ah
    ret
handler:
    handles
    mov dx, PM
    in ax, dx
    mov [seen], ax
    out dx, ax
    handled 2
align 4, 0
seen dd 0
