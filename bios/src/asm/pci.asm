; PCI: configuration at start, PCI BIOS 2.1, BIOS32 and the interrupt routing table.

; One PCI BIOS call on the live registers (AL: function), as 16-bit or 32-bit code. Position
; independent and without memory access beyond the stack, so that it serves both entries. Out: AH and carry as
; specified, other registers only where the function answers in them.
%macro pci_service 0
        cmp al,0x01
        je .present
        cmp al,0x02
        je .find_device
        cmp al,0x03
        je .find_class
        cmp al,0x08
        jb .unsupported
        cmp al,0x0d
        ja .unsupported
        ; configuration access: EDI register, BX function
        push edx
        push eax
        cmp al,0x09
        je .need2
        cmp al,0x0c
        je .need2
        cmp al,0x0a
        je .need4
        cmp al,0x0d
        je .need4
        jmp .aligned
.need2:
        test edi,1
        jnz .bad_register
        jmp .aligned
.need4:
        test edi,3
        jnz .bad_register
.aligned:
        test edi,0xff00
        jnz .bad_register
        movzx eax,bx
        shl eax,8
        or eax,0x80000000
        mov edx,edi
        and edx,0xfc
        or eax,edx
        mov edx,0xcf8
        out dx,eax
        mov edx,edi
        and edx,3
        add edx,0xcfc
        pop eax
        push eax
        cmp al,0x08
        je .read1
        cmp al,0x09
        je .read2
        cmp al,0x0a
        je .read4
        cmp al,0x0b
        je .write1
        cmp al,0x0c
        je .write2
        mov eax,ecx
        out dx,eax
        jmp .accessed
.read1:
        in al,dx
        mov cl,al
        jmp .accessed
.read2:
        in ax,dx
        mov cx,ax
        jmp .accessed
.read4:
        in eax,dx
        mov ecx,eax
        jmp .accessed
.write1:
        mov al,cl
        out dx,al
        jmp .accessed
.write2:
        mov ax,cx
        out dx,ax
.accessed:
        pop eax
        pop edx
        jmp .success
.bad_register:
        pop eax
        pop edx
        mov ah,0x87
        stc
        ret
.present:
        mov edx,0x20494350
        mov bx,0x0210
        mov cl,0
        mov al,1
        jmp .success
.find_device:
        push ebp
        push edi
        push ecx
        push edx
        mov edi,ecx
        shl edi,16
        mov di,dx
        mov ebp,0
        jmp .search
.find_class:
        push ebp
        push edi
        push ecx
        push edx
        mov edi,ecx
        and edi,0xffffff
        mov ebp,8
.search:
        push esi
        push eax
        movzx esi,si
        xor ecx,ecx
.next:
        mov eax,ecx
        shl eax,8
        or eax,0x80000000
        or eax,ebp
        mov edx,0xcf8
        out dx,eax
        mov dl,0xfc
        in eax,dx
        cmp eax,0xffffffff
        je .absent
        or ebp,ebp
        jz .compare
        shr eax,8
.compare:
        cmp eax,edi
        jne .other
        sub esi,1
        jb .found
.other:
        ; a function 0 without the multi-function bit hides the others
        test cl,7
        jnz .step
        mov eax,ecx
        shl eax,8
        or eax,0x8000000c
        mov dl,0xf8
        out dx,eax
        mov dl,0xfc
        in eax,dx
        test eax,0x800000
        jnz .step
        add ecx,7
        jmp .step
.absent:
        test cl,7
        jnz .step
        add ecx,7
.step:
        inc ecx
        cmp ecx,0x400           ; four buses
        jb .next
        pop eax
        pop esi
        pop edx
        pop ecx
        pop edi
        pop ebp
        mov ah,0x86
        stc
        ret
.found:
        mov ebx,ecx
        pop eax
        pop esi
        pop edx
        pop ecx
        pop edi
        pop ebp
.success:
        mov ah,0
        clc
        ret
.unsupported:
        mov ah,0x81
        stc
        ret
%endmacro

pci_core:
        pci_service

        bits 32
pci_core32:
        pci_service

; The protected-mode entry, reached by a far call
pci_entry32:
        pushf
        cmp ah,0xb1
        jne .unsupported
        call pci_core32
        jmp .done
.unsupported:
        mov ah,0x81
        stc
.done:
        jc .carry
        and dword [esp],~1 & 0xffffffff
        popf
        retf
.carry:
        or dword [esp],1
        popf
        retf

; BIOS32 directory: EAX four-letter service, BL function 0
bios32_entry:
        pushf
        or bl,bl
        jnz .bad_function
        cmp eax,0x49435024      ; $PCI
        jne .absent
        mov ebx,0xf0000
        mov ecx,0x10000
        mov edx,pci_entry32
        mov al,0
        popf
        retf
.bad_function:
        mov al,0x81
        popf
        retf
.absent:
        mov al,0x80
        popf
        retf

; APM, 32-bit protected mode entry
apm_entry32:
        pushf
        call apm_service32
        jc .carry
        and dword [esp],~1 & 0xffffffff
        popf
        retf
.carry:
        or dword [esp],1
        popf
        retf
apm_service32:
        apm_service
        bits 16

; INT 1Ah, AH = B1h: frame already built
int1a_pci:
        mov al,[bp+r_al]
        cmp al,0x0e
        je .routing
        mov ebx,[bp+r_bx]
        mov ecx,[bp+r_cx]
        mov edx,[bp+r_dx]
        mov esi,[bp+r_si]
        movzx edi,word [bp+r_di]
        mov ah,0xb1
        push bp
        call pci_core
        pop bp
        mov [bp+r_ax],ax
        mov [bp+r_bx],ebx
        mov [bp+r_cx],ecx
        mov [bp+r_dx],edx
        jc .carry
        clear_carry
        leave_service
.carry:
        set_carry
        leave_service
.routing:
        ; ES:DI points to: length, far pointer to the buffer
        mov cx,pir_slots_end-pir_slots
        mov si,pir_slots
        mov di,[bp+r_di]
        mov es,[bp+r_es]
        mov ax,[es:di]
        mov [es:di],cx
        mov word [bp+r_bx],0x0c00
        mov byte [bp+r_ah],0x89
        cmp ax,cx
        jb .carry
        les di,[es:di+2]
        cs rep movsb
        mov byte [bp+r_ah],0
        clear_carry
        leave_service

; Functions of bus 0 get their regions: I/O from C000h, memory from E0000000h.
pci_init:
        mov ax,EBDA_SEGMENT
        mov ds,ax
        mov word [e_pciio],0xc000
        mov dword [e_pcimem],0xe0000000
        xor bx,bx
.function:
        mov di,0
        call pci_read
        cmp ecx,0xffffffff
        je .absent
        or ecx,ecx
        jz .absent
        cmp ecx,0x70008086
        je .piix3
        cmp ecx,0x71138086
        je .piix4
        jmp .regions
.piix3:
        mov di,0x60
        mov ecx,0x0b0b0a0a
        call pci_write
        jmp .regions
.piix4:
        mov di,0x40
        mov ecx,0xb001
        call pci_write
        mov di,0x80
        call pci_read
        or cl,1
        call pci_write
        mov di,0x90
        mov ecx,0xb101
        call pci_write
        mov di,0xd0
        call pci_read
        and ecx,0xff00ffff
        or ecx,0x00090000
        call pci_write
        mov di,0x3c
        call pci_read
        mov cl,9
        call pci_write
        mov di,4
        call pci_read
        or cl,1
        movzx ecx,cx
        call pci_write
        jmp .next
.regions:
        mov di,0x0c
        call pci_read
        test ecx,0x7f0000
        jnz .next               ; a bridge
        mov di,8
        call pci_read
        shr ecx,16
        cmp cx,0x0600
        je .next
        cmp cx,0x0101
        jne .bars
        mov di,0x40             ; PIIX IDE: both channels decode
        call pci_read
        or ecx,0x80008000
        call pci_write
        mov di,0x20
        call pci_region
        jmp .enable
.bars:
        mov di,0x10
.bar:
        call pci_region
        add di,4
        cmp di,0x28
        jb .bar
        mov di,0x30
        call pci_region
.enable:
        mov di,4
        call pci_read
        or cl,3
        movzx ecx,cx
        call pci_write
        ; interrupt line: PIRQ = (slot - 1 + pin - 1) mod 4; A and B on 10, C and D on 11
        mov di,0x3c
        call pci_read
        or ch,ch
        jz .next
        mov al,bl
        shr al,3
        add al,ch
        sub al,2
        and al,2
        shr al,1
        add al,10
        mov cl,al
        call pci_write
.next:
        test bl,7
        jnz .step
        mov di,0x0c
        call pci_read
        test ecx,0x800000
        jnz .step
.absent:
        test bl,7
        jnz .step
        add bx,7
.step:
        inc bx
        cmp bx,0x100
        jb .function
        mov ax,BDA
        mov ds,ax
        ret

; ECX := register DI of function BX
pci_read:
        push ax
        mov ax,0xb10a
        movzx edi,di
        call pci_core
        pop ax
        ret

pci_write:
        push ax
        mov ax,0xb10d
        movzx edi,di
        call pci_core
        pop ax
        ret

; Sizes and places the region of base register DI; DI ends at the upper half of a 64-bit one
pci_region:
        mov ecx,0xffffffff
        cmp di,0x30
        jne .probe
        mov ecx,0xfffff800
.probe:
        call pci_write
        call pci_read
        or ecx,ecx
        jz .done
        cmp di,0x30
        je .memory
        test cl,1
        jnz .io
.memory:
        mov dl,cl
        mov eax,ecx
        and al,0xf0
        cmp di,0x30
        jne .size
        and eax,0xfffff800
        mov dl,0
.size:
        mov ecx,eax
        neg ecx                 ; the size
        jz .done
        cmp ecx,0x10000000
        ja .refuse
        cmp ecx,0x1000
        jae .place
        mov ecx,0x1000
.place:
        mov eax,[e_pcimem]
        dec ecx
        add eax,ecx
        jc .refuse
        not ecx
        and eax,ecx
        neg ecx
        push eax
        add eax,ecx
        cmp eax,0xfec00000
        ja .full
        cmp eax,0xe0000000
        jb .full
        mov [e_pcimem],eax
        pop ecx
        call pci_write
        and dl,6
        cmp dl,4
        jne .done
        add di,4
        xor ecx,ecx
        jmp pci_write
.full:
        pop eax
.refuse:
        xor ecx,ecx
        jmp pci_write
.io:
        and ecx,0xfffc
        neg cx
        jz .done
        mov ax,[e_pciio]
        dec cx
        add ax,cx
        jc .refuse
        not cx
        and ax,cx
        neg cx
        push ax
        add ax,cx
        mov [e_pciio],ax
        pop cx
        movzx ecx,cx
        jmp pci_write
.done:
        ret

        align 16,0
; PCI interrupt routing table (Microsoft, version 1.0): links 60h-63h are the PIIX3's registers,
; IRQs 10 and 11.
pir_table:
        db "$PIR"
        dw 0x0100
        dw pir_slots_end-pir_table
        db 0,0x08               ; the interrupt router is 00:01.0
        dw 0                    ; no IRQ is PCI's alone
        dd 0x70008086
        dd 0
        times 11 db 0
pir_checksum:
        db 0                    ; the builder completes the sum
%macro pir_slot 6
        db 0,%1<<3
        db %2
        dw 0x0c00
        db %3
        dw 0x0c00
        db %4
        dw 0x0c00
        db %5
        dw 0x0c00
        db %6,0
%endmacro
pir_slots:
        pir_slot 1,0x60,0x61,0x62,0x63,0
        pir_slot 2,0x61,0x62,0x63,0x60,1
        pir_slot 3,0x62,0x63,0x60,0x61,2
        pir_slot 4,0x63,0x60,0x61,0x62,3
        pir_slot 5,0x60,0x61,0x62,0x63,4
        pir_slot 6,0x61,0x62,0x63,0x60,5
        pir_slot 7,0x62,0x63,0x60,0x61,6
        pir_slot 8,0x63,0x60,0x61,0x62,7
pir_slots_end:

        align 16,0
bios32_header:
        db "_32_"
        dd 0xf0000+bios32_entry
        db 0,1
bios32_checksum:
        db 0,0,0,0,0,0

        align 16,0
pnp_header:
        db "$PnP",0x10,0x21
        dw 0                    ; no event notification
pnp_checksum:
        db 0
        dd 0
        dw pnp_real,0xf000
        dw pnp_real
        dd 0xf0000
        dd 0
        dw 0xf000
        dd 0xf0000
; Plug-and-play functions, real and 16-bit protected mode: none is supported
pnp_real:
        mov ax,0x82
        retf
