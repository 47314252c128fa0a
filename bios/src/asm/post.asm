; Power-on: chips, interrupt vectors, data areas, memory size, PCI, option ROMs, drives, boot.

        org 0

; Extended BIOS data area, one KiB below 640 KiB
EBDA_SEGMENT    equ 0x9fc0
e_size          equ 0x00
e_mousehandler  equ 0x22
e_mouseflags    equ 0x26        ; bits 0-2 index of the next byte, 7: a handler is there and enabled
e_mousesize     equ 0x27        ; bytes of a packet
e_mousepacket   equ 0x28
e_fdpt0         equ 0x3d
e_fdpt1         equ 0x4d
e_cdactive      equ 0x60        ; 0 no boot CD, 1 no emulation, 2 emulated drive
e_cdmedia       equ 0x61
e_cddrive       equ 0x62        ; BIOS number of the emulated or CD drive
e_cdindex       equ 0x63        ; entry in the drive table
e_cdlba         equ 0x64
e_cdsegment     equ 0x68
e_cdcount       equ 0x6a
e_cdspt         equ 0x6c
e_cdheads       equ 0x6e
e_cdcylinders   equ 0x70
e_cdsectors     equ 0x74        ; size of the emulated medium in sectors of 512 bytes
e_bootorder     equ 0x78
e_hdcount       equ 0x7a
e_hdmap         equ 0x80        ; BIOS disk number -> entry
e_cdtotal       equ 0x84
e_cdmap         equ 0x88
e_memory        equ 0x90        ; dword: bytes of RAM above 1 MiB and below 4 GiB
e_high          equ 0x94        ; dword: 64 KiB units above 4 GiB
e_pciio         equ 0x98
e_rombdf        equ 0x9a        ; bus/device/function handed to the next ROM
e_pcimem        equ 0x9c
e_pcilast       equ 0xa0
e_apm           equ 0xa1
e_packet        equ 0xa4        ; 12 bytes for ATAPI
e_dap           equ 0xb0        ; 16 bytes
e_scratch       equ 0xc0        ; 64 bytes
e_drives        equ 0x100       ; four entries of 32 bytes
e_edd           equ 0x180       ; device parameter table extension, 16 bytes
e_mousetemp     equ 0x1a0
e_bev           equ 0x1a4       ; dword: entry of a ROM that boots from a network, or 0
e_romsegment    equ 0x1a8       ; where an expansion ROM is copied to
e_sector        equ 0x200       ; 512 bytes

version_text    db 13,10,"Beigebox BIOS 0.1",13,10,0
memory_text     db " KiB of memory",13,10,0

post:
        cli
        cld
        xor ax,ax
        mov ss,ax
        mov sp,0x7a00
        ; A20 on (system control port A)
        in al,0x92
        and al,0xfe
        or al,2
        out 0x92,al
        ; shutdown code: software that left protected mode by a reset wants to go on
        mov al,0x8f
        call cmos_read
        mov bl,al
        mov ax,0x008f
        call cmos_write
        mov ax,BDA
        mov ds,ax
        cmp bl,5
        je .resume_eoi
        cmp bl,0x0a
        je .resume
        cmp bl,9
        je .block_move
        jmp cold
.resume_eoi:
        mov al,0x20
        out 0xa0,al
        out 0x20,al
.resume:
        jmp far [b_resume]
.block_move:
        mov sp,[b_resume]
        mov ss,[b_resume+2]
        pop ds
        pop es
        popa
        iret

cold:
        mov al,0x01
        out 0x80,al
        mov bx,[b_warm]
        call shadow_system
        ; BDA and EBDA are cleared, the warm-start word survives
        xor ax,ax
        mov es,ax
        xor di,di
        mov cx,0x500/2
        rep stosw
        mov ax,EBDA_SEGMENT
        mov es,ax
        xor di,di
        mov cx,512
        xor ax,ax
        rep stosw
        mov byte [es:e_size],1
        mov ax,BDA
        mov ds,ax
        mov [b_warm],bx
        mov word [b_ebda],EBDA_SEGMENT
        mov word [b_memory],639
        mov word [b_kbhead],b_kbbuffer
        mov word [b_kbtail],b_kbbuffer
        mov word [b_kbstart],b_kbbuffer
        mov word [b_kbend],b_kbbuffer+32
        mov byte [b_kbflags],0x10
        mov dword [b_lpttimeout],0x14141414
        mov dword [b_comtimeout],0x01010101
        mov word [b_equipment],0x0026
        mov al,0x02
        out 0x80,al
        call vectors_init
        call pic_init
        call pit_init
        call dma_init
        call rtc_init
        call memory_init
        call apic_init
        mov al,0x03
        out 0x80,al
        call pci_init
        mov al,0x04
        out 0x80,al
        call video_rom
        sti
        mov ax,3
        int 0x10
        mov si,version_text
        call print
        call print_memory
        call ports_init
        mov al,0x05
        out 0x80,al
        call keyboard_init
        mov al,0x06
        out 0x80,al
        call floppy_init
        call ata_init
        mov al,0x07
        out 0x80,al
        call option_roms
        call network_rom
        call clock_to_ticks
        mov al,0x08
        out 0x80,al
        mov si,newline_text
        call print
        int 0x19

; Copies this ROM into the RAM behind it. The i440FX maps RAM at F0000 (PAM0, register 59h) only as
; a whole, so the copy runs from low memory and reads the ROM below 4 GiB.
shadow_system:
        mov eax,0x80000000
        mov dx,0xcf8
        out dx,eax
        mov dx,0xcfc
        in eax,dx
        cmp eax,0x12378086
        jne .done
        xor ax,ax
        mov es,ax
        mov di,0x7b00
        mov si,.body
        mov cx,.end-.body
        cs rep movsb
        call flat_segments
        call 0x0000:0x7b00
        ; C0000-EFFFF: keep what a board decodes there, then RAM for all of it
        mov edi,0x20000
        mov esi,0xc0000
        mov ecx,0x20000
        call flat_copy
        mov cx,6
        mov eax,0x80000058
        mov bl,0x5a
.pam:
        mov al,bl
        push cx
        mov cl,0x33
        call host_write
        pop cx
        inc bl
        loop .pam
        mov esi,0x20000
        mov edi,0xc0000
        mov ecx,0x20000
        call flat_copy
.done:
        mov ax,BDA
        mov ds,ax
        mov bx,[b_warm]
        ret
.body:
        mov eax,0x80000058
        mov dx,0xcf8
        out dx,eax
        mov dx,0xcfd
        mov al,0x30
        out dx,al
        mov esi,0xffff0000
        mov edi,0xf0000
        mov ecx,0x4000
        a32 rep movsd
        retf
.end:

; Host bridge register AL := CL
host_write:
        movzx eax,al
        push ax
        and al,0xfc
        or eax,0x80000000
        mov dx,0xcf8
        out dx,eax
        pop ax
        and al,3
        mov dx,0xcfc
        or dl,al
        mov al,cl
        out dx,al
        ret

; DS and ES reach all of memory with base 0 ("unreal" mode); EAX is lost.
flat_segments:
        push bx
        lgdt [cs:flat_gdtr]
        mov eax,cr0
        or al,1
        mov cr0,eax
        jmp short .protected
.protected:
        mov bx,8
        mov ds,bx
        mov es,bx
        and al,0xfe
        mov cr0,eax
        jmp short .real
.real:
        xor bx,bx
        mov ds,bx
        mov es,bx
        pop bx
        ret

; ECX bytes from linear ESI to linear EDI. Only while starting: interrupts stay off meanwhile.
flat_copy:
        push ds
        push es
        pushad
        pushf
        cli
        call flat_segments
        shr ecx,2
        a32 rep movsd
        popf
        popad
        pop es
        pop ds
        ret

        align 8,0
flat_gdt:
        dq 0
        dw 0xffff,0,0x9300,0x00cf
flat_gdtr:
        dw flat_gdtr-flat_gdt-1
        dd 0xf0000+flat_gdt

vectors_init:
        push ds
        xor ax,ax
        mov es,ax
        mov ds,ax
        xor di,di
        mov cx,0x78
        mov eax,0xf0000000+dummy_iret
        rep stosd
        push cs
        pop ds
        mov si,vector_list
.next:
        lodsb
        movzx di,al
        cmp al,0xff
        je .done
        shl di,2
        lodsw
        stosw
        jmp .next
.done:
        xor ax,ax
        mov es,ax
        mov word [es:0x1d*4],0xf0a4
        mov word [es:0x1f*4],0
        mov word [es:0x1f*4+2],0
        mov dword [es:0x41*4],(EBDA_SEGMENT<<16)+e_fdpt0
        mov dword [es:0x46*4],(EBDA_SEGMENT<<16)+e_fdpt1
        ; vectors 60h-67h stay empty: programs look for zeroes there
        mov di,0x60*4
        mov cx,16
        rep stosw
        pop ds
        ret

%macro vector 2
        db %1
        dw %2
%endmacro
vector_list:
        vector 0x02,0xe2c3
        vector 0x05,0xff54
        vector 0x08,0xfea5
        vector 0x09,0xe987
        vector 0x0a,spurious_master
        vector 0x0b,spurious_master
        vector 0x0c,spurious_master
        vector 0x0d,spurious_master
        vector 0x0e,0xef57
        vector 0x0f,spurious_master
        vector 0x10,0xf065
        vector 0x11,0xf84d
        vector 0x12,0xf841
        vector 0x13,0xe3fe
        vector 0x14,0xe739
        vector 0x15,0xf859
        vector 0x16,0xe82e
        vector 0x17,0xefd2
        vector 0x18,int18
        vector 0x19,0xe6f2
        vector 0x1a,0xfe6e
        vector 0x1e,0xefc7
        vector 0x40,0xec59
        vector 0x70,irq8
        vector 0x71,irq9
        vector 0x72,spurious_slave
        vector 0x73,spurious_slave
        vector 0x74,irq12
        vector 0x75,irq13
        vector 0x76,irq14
        vector 0x77,spurious_slave
        db 0xff

pic_init:
        mov al,0x11
        out 0x20,al
        out 0xa0,al
        mov al,8
        out 0x21,al
        mov al,0x70
        out 0xa1,al
        mov al,4
        out 0x21,al
        mov al,2
        out 0xa1,al
        mov al,1
        out 0x21,al
        out 0xa1,al
        mov al,0xb8             ; timer, keyboard, cascade, floppy
        out 0x21,al
        mov al,0x8e             ; clock, mouse, coprocessor, disks
        out 0xa1,al
        mov dx,0x4d0
        mov al,0
        out dx,al
        inc dx
        mov al,0x0c
        out dx,al
        ret

; A processor with a local APIC takes the 8259A's interrupts through its pin LINT0 (virtual wire mode):
; LINT0 ExtINT, LINT1 NMI, software enable.
apic_init:
        pushfd
        pushfd
        pop eax
        mov ebx,eax
        xor eax,1<<21           ; the ID flag cannot change where CPUID is missing
        push eax
        popfd
        pushfd
        pop eax
        popfd
        xor eax,ebx
        test eax,1<<21
        jz .none
        mov eax,1
        cpuid
        test dh,2
        jz .none
        test dl,0x20
        jz .none
        mov ecx,0x1b
        rdmsr
        test ah,8
        jz .none
        and eax,0xfffff000
        mov esi,eax
        push ds
        push es
        call flat_segments
        or dword [esi+0xf0],0x100
        mov dword [esi+0x350],0x8700
        mov dword [esi+0x360],0x8400
        pop es
        pop ds
.none:
        ret

pit_init:
        mov al,0x36
        out 0x43,al
        xor al,al
        out 0x40,al
        out 0x40,al
        mov al,0x54
        out 0x43,al
        mov al,18
        out 0x41,al
        mov al,0xb6
        out 0x43,al
        mov ax,1193
        out 0x42,al
        mov al,ah
        out 0x42,al
        in al,0x61
        and al,0xfc
        out 0x61,al
        ret

dma_init:
        xor al,al
        out 0x0d,al
        out 0xda,al
        mov al,0xc0             ; channel 4 cascades the first controller
        out 0xd6,al
        mov al,0
        out 0xd4,al
        out 0x08,al
        out 0xd0,al
        ret

rtc_init:
        ; 32768 Hz base, 1024 Hz periodic rate
        mov ax,0x260a
        call cmos_write
        mov ax,0x020b
        call cmos_write
        mov al,0x0c
        call cmos_read
        mov al,0x0d
        call cmos_read
        ret

; AL := CMOS register AL. Bit 7 of the index keeps NMI off; it is always cleared afterwards.
cmos_read:
        pushf
        cli
        or al,0x80
        out 0x70,al
        in al,0x71
        push ax
        mov al,0x0d
        out 0x70,al
        pop ax
        popf
        ret

; CMOS register AL := AH
cmos_write:
        pushf
        cli
        or al,0x80
        out 0x70,al
        mov al,ah
        out 0x71,al
        mov al,0x0d
        out 0x70,al
        popf
        ret

; AX := CMOS registers AL+1:AL
cmos_word:
        push bx
        mov bl,al
        inc al
        call cmos_read
        mov bh,al
        mov al,bl
        call cmos_read
        mov ah,bh
        pop bx
        ret

; Memory above 1 MiB: registers 34h/35h count 64 KiB above 16 MiB, 30h/31h (or the older 17h/18h) KiB
; above 1 MiB; 5Bh-5Dh 64 KiB above 4 GiB.
memory_init:
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov al,0x34
        call cmos_word
        movzx eax,ax
        or ax,ax
        jz .small
        shl eax,16
        add eax,15<<20
        jmp .store
.small:
        mov al,0x30
        call cmos_word
        or ax,ax
        jnz .kib
        mov al,0x17
        call cmos_word
.kib:
        movzx eax,ax
        shl eax,10
.store:
        mov [es:e_memory],eax
        xor ebx,ebx
        mov al,0x5d
        call cmos_read
        mov bl,al
        shl ebx,16
        mov al,0x5b
        call cmos_word
        mov bx,ax
        mov [es:e_high],ebx
        ret

print_memory:
        push es
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov eax,[es:e_memory]
        pop es
        shr eax,10
        add eax,1024
        call print_number
        mov si,memory_text
        jmp print

; EAX in decimal
print_number:
        mov ebx,10
        xor cx,cx
.divide:
        xor edx,edx
        div ebx
        push dx
        inc cx
        or eax,eax
        jnz .divide
.digit:
        pop ax
        add al,'0'
        call print_char
        loop .digit
        ret

; CS:SI, zero-terminated
print:
        cs lodsb
        or al,al
        jz .done
        call print_char
        jmp print
.done:
        ret

print_char:
        push ax
        push bx
        push bp
        mov ah,0x0e
        mov bx,7
        int 0x10
        pop bp
        pop bx
        pop ax
        ret

newline_text    db 13,10,0

; Serial and parallel ports
ports_init:
        mov ax,BDA
        mov ds,ax
        mov si,.com
        mov di,b_com
        mov cx,4
        xor bl,bl
.serial:
        mov dx,[cs:si]
        add si,2
        push dx
        inc dx
        mov al,2                ; the interrupt enable register keeps bits 0-3 only
        out dx,al
        in al,dx
        xchg al,ah
        mov al,0
        out dx,al
        inc dx
        in al,dx
        pop dx
        cmp ah,2
        jne .no_serial
        and al,0x30
        jnz .no_serial
        mov [di],dx
        add di,2
        inc bl
        push dx
        add dx,3
        mov al,3                ; 8 data bits, for software that prints without setting up
        out dx,al
        pop dx
.no_serial:
        loop .serial
        mov si,.lpt
        mov di,b_lpt
        mov cx,3
        xor bh,bh
.parallel:
        mov dx,[cs:si]
        add si,2
        mov al,0xaa
        out dx,al
        in al,dx
        cmp al,0xaa
        jne .no_parallel
        mov [di],dx
        add di,2
        inc bh
.no_parallel:
        loop .parallel
        mov al,bl
        shl al,1
        mov ah,bh
        ror ah,2
        or al,ah
        and ah,0xc0
        shl bl,1
        or bl,ah
        mov [b_equipment+1],bl
        ret
.com:   dw 0x3f8,0x2f8,0x3e8,0x2e8
.lpt:   dw 0x378,0x278,0x3bc

; The display's ROM: at C0000 already, or behind the expansion ROM register of a PCI display.
video_rom:
        xor esi,esi
        mov ax,0xc000
        mov es,ax
        cmp word [es:0],0xaa55
        je .run
        mov ecx,0x030000
        mov si,0
        mov ax,0xb103
        call pci_core
        jc .none
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov [es:e_rombdf],bx
        mov word [es:e_romsegment],0xc000
        call pci_rom_copy
.run:
        mov ax,0xc000
        call rom_run
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov word [es:e_rombdf],0
.none:
        ret

; Function BX has an expansion ROM: copy it to the segment of e_romsegment; ES is the EBDA
pci_rom_copy:
        movzx ebp,word [es:e_romsegment]
        mov di,0x30
        push bp
        mov ax,0xb10a
        call pci_core
        pop bp
        mov edx,ecx
        and edx,0xfffff800
        jz .none
        mov ecx,edx
        or cl,1
        push bp
        mov ax,0xb10d
        call pci_core
        pop bp
        movzx edi,bp
        shl edi,4
        mov esi,edx
        mov ecx,512
        call flat_copy
        push es
        mov es,bp
        cmp word [es:0],0xaa55
        jne .off
        movzx ecx,byte [es:2]
        shl ecx,9
        mov esi,edx
        call flat_copy
.off:
        pop es
        mov ecx,edx
        mov di,0x30
        mov ax,0xb10d
        call pci_core
.none:
        ret

; The ROM of the first Ethernet card on the PCI bus, at D0000, where the scan for ROMs has not found one
network_rom:
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov dword [es:e_bev],0
        mov ax,0xd000
        mov ds,ax
        cmp word [0],0xaa55
        je .done
        mov ecx,0x020000
        mov si,0
        mov ax,0xb103
        call pci_core
        jc .done
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov [es:e_rombdf],bx
        mov word [es:e_romsegment],0xd000
        call pci_rom_copy
        mov ax,0xd000
        call rom_run
        mov ax,EBDA_SEGMENT
        mov es,ax
        mov word [es:e_rombdf],0
        jc .done
        ; the plug-and-play header may name a bootstrap entry
        mov ax,0xd000
        mov ds,ax
        mov bx,[0x1a]
        cmp dword [bx],0x506e5024       ; $PnP
        jne .done
        mov ax,[bx+0x1a]
        or ax,ax
        jz .done
        mov [es:e_bev],ax
        mov word [es:e_bev+2],0xd000
.done:
        mov ax,BDA
        mov ds,ax
        ret

; Option ROMs on 2 KiB borders between C8000 and EFFFF (a longer display ROM is skipped)
option_roms:
        mov ax,0xc000
        mov es,ax
        mov bx,0xc800
        cmp word [es:0],0xaa55
        jne .scan
        movzx ax,byte [es:2]
        shl ax,5
        add ax,0xc000+0x7f
        and ax,0xff80
        cmp ax,bx
        jbe .scan
        mov bx,ax
.scan:
        cmp bx,0xf000
        jae .done
        mov es,bx
        cmp word [es:0],0xaa55
        jne .next
        mov ax,bx
        movzx dx,byte [es:2]
        push bx
        push dx
        call rom_run
        pop dx
        pop bx
        jc .next
        shl dx,5
        add bx,dx
        add bx,0x7f
        and bx,0xff80
        jmp .scan
.next:
        add bx,0x80
        jmp .scan
.done:
        ret

; Checks the sum of the ROM at segment AX and calls its entry; carry: not a ROM
rom_run:
        mov es,ax
        mov ds,ax
        cmp word [0],0xaa55
        jne .bad
        movzx ecx,byte [2]
        shl ecx,9
        jz .bad
        xor esi,esi
        xor al,al
.sum:
        add al,[esi]
        inc si
        jnz .same
        mov dx,ds
        add dh,0x10
        mov ds,dx
.same:
        dec ecx
        jnz .sum
        or al,al
        jnz .bad
        pushad
        push es
        push cs
        push .back
        push es
        push 3
        mov bx,0xffff
        mov dx,0xffff
        mov ax,EBDA_SEGMENT
        mov ds,ax
        mov ax,0xf000
        mov es,ax
        mov di,pnp_header
        mov ax,[e_rombdf]
        retf
.back:
        cld
        pop es
        popad
        mov ax,BDA
        mov ds,ax
        clc
        ret
.bad:
        mov ax,BDA
        mov ds,ax
        stc
        ret

; About 15 microseconds: the refresh bit of port 61h turns over. Bounded when it does not.
delay15:
        push ax
        push cx
        in al,0x61
        and al,0x10
        mov ah,al
        mov cx,64
.turn:
        in al,0x61
        and al,0x10
        cmp al,ah
        loope .turn
        pop cx
        pop ax
        ret

; CX milliseconds of polling, for start-up only
delay_ms:
        push cx
        mov cx,66
.fine:
        call delay15
        loop .fine
        pop cx
        loop delay_ms
        ret

; Lets an interrupt come: HLT, except in virtual-8086 mode, where a monitor might refuse it.
; Interrupts are on afterwards.
rest:
        push ax
        smsw ax
        test al,1
        pop ax
        jnz .virtual
        sti
        hlt
        ret
.virtual:
        sti
        pause
        ret

; DS := BDA
bda:
        push BDA
        pop ds
        ret

; DS := EBDA
ebda:
        push BDA
        pop ds
        mov ds,[b_ebda]
        ret
