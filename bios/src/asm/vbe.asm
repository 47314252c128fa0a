; VESA BIOS extensions 3.0 over the Bochs display interface (index 1CEh, data 1CFh).

DISPI_ID        equ 0
DISPI_XRES      equ 1
DISPI_YRES      equ 2
DISPI_BPP       equ 3
DISPI_ENABLE    equ 4
DISPI_BANK      equ 5
DISPI_VWIDTH    equ 6
DISPI_XOFFSET   equ 8
DISPI_YOFFSET   equ 9
DISPI_MEMORY    equ 10

; Number, width, height, bits per pixel
%macro mode 4
        dw %1,%2,%3,%4
%endmacro
vbe_modes:
        mode 0x100,640,400,8
        mode 0x101,640,480,8
        mode 0x103,800,600,8
        mode 0x105,1024,768,8
        mode 0x107,1280,1024,8
        mode 0x10d,320,200,15
        mode 0x10e,320,200,16
        mode 0x10f,320,200,24
        mode 0x110,640,480,15
        mode 0x111,640,480,16
        mode 0x112,640,480,24
        mode 0x113,800,600,15
        mode 0x114,800,600,16
        mode 0x115,800,600,24
        mode 0x116,1024,768,15
        mode 0x117,1024,768,16
        mode 0x118,1024,768,24
        mode 0x119,1280,1024,15
        mode 0x11a,1280,1024,16
        mode 0x11b,1280,1024,24
        mode 0x11c,1600,1200,8
        mode 0x11d,1600,1200,15
        mode 0x11e,1600,1200,16
        mode 0x11f,1600,1200,24
        mode 0x140,320,200,32
        mode 0x141,640,400,32
        mode 0x142,640,480,32
        mode 0x143,800,600,32
        mode 0x144,1024,768,32
        mode 0x145,1280,1024,32
        mode 0x146,320,200,8
        mode 0x147,1600,1200,32
        mode 0x148,1152,864,8
        mode 0x149,1152,864,15
        mode 0x14a,1152,864,16
        mode 0x14b,1152,864,24
        mode 0x14c,1152,864,32
        mode 0x18d,1280,720,16
        mode 0x18e,1280,720,24
        mode 0x18f,1280,720,32
        mode 0x190,1920,1080,16
        mode 0x191,1920,1080,24
        mode 0x192,1920,1080,32
        mode 0x193,1360,768,32
        mode 0x194,1440,900,32
        mode 0x195,1680,1050,32
        mode 0x196,1920,1200,32
        mode 0x197,2560,1600,16
        mode 0x198,2560,1600,32
        dw 0

oem_text        db "Beigebox VBE",0

; AX := register AL
dispi_read:
        push dx
        mov dx,0x1ce
        mov ah,0
        out dx,ax
        inc dx
        in ax,dx
        pop dx
        ret
; Register AL := CX
dispi_write:
        push dx
        push ax
        mov dx,0x1ce
        mov ah,0
        out dx,ax
        inc dx
        mov ax,cx
        out dx,ax
        pop ax
        pop dx
        ret
; Carry: the interface is not there
dispi_present:
        mov al,DISPI_ID
        call dispi_read
        and al,0xf0
        cmp ax,0xb0c0
        je .yes
        stc
        ret
.yes:
        clc
        ret
dispi_off:
        pusha
        call dispi_present
        jc .end
        mov al,DISPI_ENABLE
        xor cx,cx
        call dispi_write
.end:
        popa
        ret
; AX := display memory in 64 KiB
dispi_memory:
        mov al,DISPI_MEMORY
        call dispi_read
        or ax,ax
        jz .old
        cmp ax,0xffff
        je .old
        ret
.old:
        mov ax,64
        ret

vbe:
        movzx bx,byte [bp+r_al]
        cmp bl,0x0a
        ja .unsupported
        call dispi_present
        jc .unsupported
        shl bx,1
        call [cs:bx+.table]
        ; AH := status
        mov al,0x4f
        mov [bp+r_ax],ax
.unsupported:
        ret
.table: dw vbe_information,vbe_mode,vbe_set,vbe_get,vbe_state,vbe_window,vbe_line,vbe_start,vbe_dac,vbe_palette
        dw vbe_protected
vbe_ok:
        mov ah,0
        ret
vbe_fail:
        mov ah,1
        ret

; CS:SI: table entry of mode AX; carry: none that fits the memory
vbe_find:
        and ax,0x3fff
        mov si,vbe_modes
.next:
        cmp word [cs:si],0
        je .none
        cmp [cs:si],ax
        je .found
        add si,8
        jmp .next
.none:
        stc
        ret
.found:
; Does the mode at CS:SI fit the memory? EAX := its bytes, ECX := bytes per line
vbe_fits:
        push edx
        push ebx
        call vbe_pitch
        movzx eax,word [cs:si+4]
        mul ecx
        mov ebx,eax
        call dispi_memory
        movzx eax,ax
        shl eax,16
        cmp eax,ebx             ; carry: too large
        mov eax,ebx
        pop ebx
        pop edx
        ret
; ECX := bytes per line of the mode at CS:SI
vbe_pitch:
        push eax
        movzx ecx,word [cs:si+6]
        add ecx,7
        shr ecx,3
        movzx eax,word [cs:si+2]
        imul ecx,eax
        pop eax
        ret

vbe_information:
        mov es,[bp+r_es]
        mov di,[bp+r_di]
        mov edx,[es:di]
        push di
        mov cx,128
        xor ax,ax
        rep stosw
        pop di
        mov dword [es:di],0x41534556
        mov word [es:di+4],0x0300
        mov word [es:di+6],oem_text
        mov [es:di+8],cs
        mov dword [es:di+10],1  ; the palette can have 8 bits per colour
        lea ax,[di+0x22]
        mov [es:di+14],ax
        mov [es:di+16],es
        call dispi_memory
        mov [es:di+18],ax
        cmp edx,0x32454256      ; VBE2
        jne .modes
        mov word [es:di+20],0x0100
        mov word [es:di+22],oem_text
        mov [es:di+24],cs
        mov word [es:di+26],product
        mov [es:di+28],cs
        mov word [es:di+30],product
        mov [es:di+32],cs
.modes:
        add di,0x22
        mov si,vbe_modes
.next:
        cmp word [cs:si],0
        je .end
        call vbe_fits
        jc .skip
        mov ax,[cs:si]
        stosw
.skip:
        add si,8
        jmp .next
.end:
        mov ax,0xffff
        stosw
        jmp vbe_ok

vbe_mode:
        mov ax,[bp+r_cx]
        call vbe_find
        jc vbe_fail
        mov es,[bp+r_es]
        mov di,[bp+r_di]
        push eax
        push cx
        push di
        mov cx,128
        xor ax,ax
        rep stosw
        pop di
        pop cx
        pop ebx                 ; bytes of the picture
        mov word [es:di],0x009b
        mov byte [es:di+2],7
        mov word [es:di+4],64
        mov word [es:di+6],64
        mov word [es:di+8],0xa000
        mov word [es:di+12],vbe_window_far
        mov [es:di+14],cs
        mov [es:di+16],cx
        mov [es:di+50],cx
        mov ax,[cs:si+2]
        mov [es:di+18],ax
        mov ax,[cs:si+4]
        mov [es:di+20],ax
        mov word [es:di+22],0x1008
        mov byte [es:di+24],1
        mov al,[cs:si+6]
        mov [es:di+25],al
        mov byte [es:di+26],1
        mov byte [es:di+27],6
        cmp al,8
        jne .direct
        mov byte [es:di+27],4
.direct:
        mov byte [es:di+30],1
        ; pages that fit beyond the first
        call dispi_memory
        movzx eax,ax
        shl eax,16
        xor edx,edx
        div ebx
        dec eax
        cmp eax,255
        jbe .pages
        mov eax,255
.pages:
        mov [es:di+29],al
        mov [es:di+52],al
        mov [es:di+53],al
        ; masks: size and position of red, green, blue, reserved
        mov bx,.masks
        mov al,[cs:si+6]
        cmp al,8
        je .masked
        cmp al,15
        je .copy
        add bx,8
        cmp al,16
        je .copy
        add bx,8
        cmp al,24
        je .copy
        add bx,8
.copy:
        mov eax,[cs:bx]
        mov [es:di+31],eax
        mov [es:di+54],eax
        mov eax,[cs:bx+4]
        mov [es:di+35],eax
        mov [es:di+58],eax
        cmp byte [es:di+25],32
        jne .masked
        mov byte [es:di+39],2   ; the reserved bits may be used
.masked:
        call framebuffer
        mov [es:di+40],eax
        mov dword [es:di+62],230000000
        jmp vbe_ok
.masks:
        db 5,10,5,5,5,0,1,15
        db 5,11,6,5,5,0,0,0
        db 8,16,8,8,8,0,0,0
        db 8,16,8,8,8,0,8,24

; EAX := address of the linear framebuffer: BAR 0 of the PCI display, else E0000000h
framebuffer:
        push ebx
        push ecx
        push edx
        push esi
        mov ebx,0x80000000
        mov cx,256
.next:
        mov dx,0xcf8
        mov eax,ebx
        out dx,eax
        mov dl,0xfc
        in eax,dx
        cmp eax,0x11111234
        je .found
        add ebx,0x100
        loop .next
        mov eax,0xe0000000
        jmp .end
.found:
        mov dx,0xcf8
        lea eax,[ebx+0x10]
        out dx,eax
        mov dl,0xfc
        in eax,dx
        and al,0xf0
.end:
        pop esi
        pop edx
        pop ecx
        pop ebx
        ret

vbe_set:
        mov ax,[bp+r_bx]
        test ax,0x3f00
        jnz .extended
        ; a standard mode: bit 15 becomes bit 7
        shr ah,7
        shl ah,7
        or al,ah
        push word [bp+r_ax]
        mov [bp+r_al],al
        and al,0x7f
        cmp al,0x13
        ja .not_there
        call set_mode
        pop word [bp+r_ax]
        jmp vbe_ok
.not_there:
        pop word [bp+r_ax]
        jmp vbe_fail
.extended:
        call vbe_find
        jc vbe_fail
        push si
        ; the registers of mode 13h below, its memory untouched
        mov bx,p_13
        mov al,0x13
        mov cl,0x80
        call dispi_off
        call load_mode
        pop si
        mov al,DISPI_XRES
        mov cx,[cs:si+2]
        call dispi_write
        mov al,DISPI_YRES
        mov cx,[cs:si+4]
        call dispi_write
        mov al,DISPI_BPP
        mov cx,[cs:si+6]
        call dispi_write
        mov al,DISPI_BANK
        xor cx,cx
        call dispi_write
        mov ax,[bp+r_bx]
        mov cl,0x41             ; enabled, linear framebuffer
        test ah,0x80
        jz .clear
        or cl,0x80
.clear:
        mov ch,0
        mov al,DISPI_ENABLE
        call dispi_write
        mov al,DISPI_VWIDTH
        mov cx,[cs:si+2]
        call dispi_write
        mov al,DISPI_XOFFSET
        xor cx,cx
        call dispi_write
        mov al,DISPI_YOFFSET
        call dispi_write
        mov ax,[bp+r_bx]
        mov [b_vbemode],ax
        ; text positions in this mode, as far as 8 bits hold them
        mov ax,[cs:si+2]
        shr ax,3
        mov [b_columns],ax
        mov ax,[cs:si+4]
        shr ax,4
        dec ax
        mov [b_rows],al
        jmp vbe_ok

vbe_get:
        mov ax,[b_vbemode]
        or ax,ax
        jnz .extended
        movzx ax,byte [b_mode]
.extended:
        mov [bp+r_bx],ax
        jmp vbe_ok

; State: the parts of 1Ch and, with bit 3, 10 registers of the interface
vbe_state:
        mov cx,[bp+r_cx]
        mov al,[bp+r_dl]
        cmp al,1
        ja .restore
        je .save
        call state_size
        test cl,8
        jz .blocks
        add ax,64
.blocks:
        add ax,63
        shr ax,6
        mov [bp+r_bx],ax
        jmp vbe_ok
.save:
        mov es,[bp+r_es]
        mov di,[bp+r_bx]
        push cx
        call state_save
        pop cx
        test cl,8
        jz vbe_ok
        mov bl,1
.save_next:
        mov al,bl
        call dispi_read
        stosw
        inc bl
        cmp bl,DISPI_YOFFSET
        jbe .save_next
        jmp vbe_ok
.restore:
        cmp al,2
        jne vbe_fail
        mov es,[bp+r_es]
        mov di,[bp+r_bx]
        push cx
        call dispi_off
        push es
        call state_restore
        pop es
        pop cx
        test cl,8
        jz vbe_ok
        mov bl,1
.restore_next:
        mov cx,[es:si]
        add si,2
        mov al,bl
        cmp al,DISPI_ENABLE
        jne .plain
        or cl,0x80
        test cl,1
        jnz .plain
        xor cx,cx
.plain:
        call dispi_write
        inc bl
        cmp bl,DISPI_YOFFSET
        jbe .restore_next
        jmp vbe_ok

; The same as a far call, for the window function pointer: BH, BL, DX as in 4F05h
vbe_window_far:
        push ax
        push cx
        cmp bl,0
        jne .end
        cmp bh,0
        jne .get
        mov cx,dx
        mov al,DISPI_BANK
        call dispi_write
        jmp .end
.get:
        mov al,DISPI_BANK
        call dispi_read
        mov dx,ax
.end:
        pop cx
        pop ax
        retf

vbe_window:
        cmp byte [bp+r_bl],0
        jne vbe_fail
        cmp byte [bp+r_bh],1
        je .get
        ja vbe_fail
        mov cx,[bp+r_dx]
        call dispi_memory
        cmp cx,ax
        jae vbe_fail
        mov al,DISPI_BANK
        call dispi_write
        jmp vbe_ok
.get:
        mov al,DISPI_BANK
        call dispi_read
        mov [bp+r_dx],ax
        jmp vbe_ok

; CX := bytes per pixel now
bytes_per_pixel:
        push ax
        mov al,DISPI_BPP
        call dispi_read
        add ax,7
        shr ax,3
        jnz .some
        inc ax
.some:
        mov cx,ax
        pop ax
        ret

; Scan line length
vbe_line:
        cmp word [b_vbemode],0
        je vbe_fail
        mov bl,[bp+r_bl]
        mov ax,[bp+r_cx]
        cmp bl,1
        je .answer
        cmp bl,3
        je .maximum
        ja vbe_fail
        cmp bl,0
        je .pixels
        ; bytes to pixels, rounded up
        call bytes_per_pixel
        xor dx,dx
        add ax,cx
        dec ax
        div cx
.pixels:
        mov cx,ax
        mov al,DISPI_XRES
        call dispi_read
        cmp cx,ax
        jb .small
        mov al,DISPI_VWIDTH
        call dispi_write
        jmp .answer
.small:
        mov ah,2
        ret
.maximum:
        call bytes_per_pixel
        mov ax,0x3ff8
        mov [bp+r_cx],ax
        mul cx
        mov [bp+r_bx],ax
        jmp .lines
.answer:
        mov al,DISPI_VWIDTH
        call dispi_read
        mov [bp+r_cx],ax
        call bytes_per_pixel
        mul cx
        mov [bp+r_bx],ax
.lines:
        movzx ecx,word [bp+r_bx]
        jecxz .none
        call dispi_memory
        movzx eax,ax
        shl eax,16
        xor edx,edx
        div ecx
        cmp eax,0xffff
        jbe .fits
        mov ax,0xffff
.fits:
        mov [bp+r_dx],ax
        jmp vbe_ok
.none:
        jmp vbe_fail

; Display start
vbe_start:
        cmp word [b_vbemode],0
        je vbe_fail
        mov bl,[bp+r_bl]
        and bl,0x7f
        cmp bl,1
        je .get
        ja vbe_fail
        mov cx,[bp+r_cx]
        mov al,DISPI_XOFFSET
        call dispi_write
        mov cx,[bp+r_dx]
        mov al,DISPI_YOFFSET
        call dispi_write
        jmp vbe_ok
.get:
        mov al,DISPI_XOFFSET
        call dispi_read
        mov [bp+r_cx],ax
        mov al,DISPI_YOFFSET
        call dispi_read
        mov [bp+r_dx],ax
        mov byte [bp+r_bh],0
        jmp vbe_ok

; Palette width: 6 or 8 bits
vbe_dac:
        mov al,DISPI_ENABLE
        call dispi_read
        mov cx,ax
        cmp byte [bp+r_bl],1
        je .get
        ja vbe_fail
        or cx,0xa0              ; keep the memory
        cmp byte [bp+r_bh],8
        jae .set
        and cx,0xffdf
.set:
        mov al,DISPI_ENABLE
        call dispi_write
        mov al,DISPI_ENABLE
        call dispi_read
        mov cx,ax
.get:
        mov byte [bp+r_bh],6
        test cl,0x20
        jz vbe_ok
        mov byte [bp+r_bh],8
        jmp vbe_ok

vbe_palette:
        mov bl,[bp+r_bl]
        mov cx,[bp+r_cx]
        cmp cx,256
        ja vbe_fail
        mov al,[bp+r_dl]
        mov es,[bp+r_es]
        mov di,[bp+r_di]
        and bl,0x7f
        cmp bl,1
        je .get
        ja vbe_fail
        mov dx,0x3c8
        out dx,al
        inc dx
        jcxz .done
.set_next:
        mov al,[es:di+2]
        out dx,al
        mov al,[es:di+1]
        out dx,al
        mov al,[es:di]
        out dx,al
        add di,4
        loop .set_next
.done:
        jmp vbe_ok
.get:
        mov dx,0x3c7
        out dx,al
        mov dl,0xc9
        jcxz .done
.get_next:
        in al,dx
        mov [es:di+2],al
        in al,dx
        mov [es:di+1],al
        in al,dx
        mov [es:di],al
        mov byte [es:di+3],0
        add di,4
        loop .get_next
        jmp vbe_ok

; Protected-mode entry points: position-independent 32-bit code
vbe_protected:
        cmp byte [bp+r_bl],0
        jne vbe_fail
        mov [bp+r_es],cs
        mov word [bp+r_di],pm_table
        mov word [bp+r_cx],pm_end-pm_table
        jmp vbe_ok
pm_table:
        dw pm_window-pm_table
        dw pm_start-pm_table
        dw pm_palette-pm_table
        dw pm_ports-pm_table
pm_ports:
        dw 0x1ce,0x1cf,0x3c8,0x3c9,0xffff,0xffff
        bits 32
pm_window:
        cmp bx,0
        jne .end
        push edx
        mov ax,dx
        push eax
        mov dx,0x1ce
        mov ax,DISPI_BANK
        out dx,ax
        pop eax
        inc edx
        out dx,ax
        pop edx
.end:
        mov ax,0x004f
        ret
; DX:CX: start in units of four bytes
pm_start:
        pushad
        movzx ecx,cx
        shl edx,16
        or ecx,edx
        shl ecx,2
        mov dx,0x1ce
        mov ax,DISPI_BPP
        out dx,ax
        inc edx
        xor eax,eax
        in ax,dx
        add eax,7
        shr eax,3
        mov ebx,eax             ; bytes per pixel
        dec edx
        mov ax,DISPI_VWIDTH
        out dx,ax
        inc edx
        xor eax,eax
        in ax,dx
        imul eax,ebx
        jz .end
        xchg eax,ecx
        xor edx,edx
        div ecx
        mov esi,eax             ; line
        mov eax,edx
        xor edx,edx
        div ebx
        mov edi,eax             ; column
        mov dx,0x1ce
        mov ax,DISPI_XOFFSET
        out dx,ax
        inc edx
        mov eax,edi
        out dx,ax
        dec edx
        mov ax,DISPI_YOFFSET
        out dx,ax
        inc edx
        mov eax,esi
        out dx,ax
.end:
        popad
        mov ax,0x004f
        ret
pm_palette:
        pushad
        movzx ecx,cx
        mov eax,edx
        mov dx,0x3c8
        out dx,al
        inc edx
        jecxz .end
.next:
        mov al,[es:edi+2]
        out dx,al
        mov al,[es:edi+1]
        out dx,al
        mov al,[es:edi]
        out dx,al
        add edi,4
        loop .next
.end:
        popad
        mov ax,0x004f
        ret
        bits 16
pm_end:
