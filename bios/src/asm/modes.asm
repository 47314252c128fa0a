; Mode tables and mode setting, fonts (11h), 12h, 1Ah, 1Bh, 1Ch.
; Register values: IBM VGA technical reference (1992), standard modes.

; columns, rows - 1, cell height, page size; sequencer 1-4; miscellaneous output; CRTC 0-18h;
; attribute controller 0-13h; graphics controller 0-8: 64 bytes
%macro params 4
        db %1,%2,%3
        dw %4
%endmacro
p_crtc  equ 10
p_attr  equ 35
p_gfx   equ 55
parameters:
p_text40:
        params 40,24,16,0x800
        db 0x08,0x03,0x00,0x02,0x67
        db 0x2d,0x27,0x28,0x90,0x2b,0xa0,0xbf,0x1f,0,0x4f,0x0d,0x0e,0,0,0,0
        db 0x9c,0x8e,0x8f,0x14,0x1f,0x96,0xb9,0xa3,0xff
        db 0,1,2,3,4,5,0x14,7,0x38,0x39,0x3a,0x3b,0x3c,0x3d,0x3e,0x3f,0x0c,0,0x0f,8
        db 0,0,0,0,0,0x10,0x0e,0,0xff
p_text80:
        params 80,24,16,0x1000
        db 0x00,0x03,0x00,0x02,0x67
        db 0x5f,0x4f,0x50,0x82,0x55,0x81,0xbf,0x1f,0,0x4f,0x0d,0x0e,0,0,0,0
        db 0x9c,0x8e,0x8f,0x28,0x1f,0x96,0xb9,0xa3,0xff
        db 0,1,2,3,4,5,0x14,7,0x38,0x39,0x3a,0x3b,0x3c,0x3d,0x3e,0x3f,0x0c,0,0x0f,8
        db 0,0,0,0,0,0x10,0x0e,0,0xff
p_cga4:
        params 40,24,8,0x4000
        db 0x09,0x03,0x00,0x02,0x63
        db 0x2d,0x27,0x28,0x90,0x2b,0x80,0xbf,0x1f,0,0xc1,0,0,0,0,0,0
        db 0x9c,0x8e,0x8f,0x14,0x00,0x96,0xb9,0xa2,0xff
        db 0,0x13,0x15,0x17,2,4,6,7,0x10,0x11,0x12,0x13,0x14,0x15,0x16,0x17,1,0,3,0
        db 0,0,0,0,0,0x30,0x0f,0x0f,0xff
p_cga6:
        params 80,24,8,0x4000
        db 0x01,0x01,0x00,0x06,0x63
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0xbf,0x1f,0,0xc1,0,0,0,0,0,0
        db 0x9c,0x8e,0x8f,0x28,0x00,0x96,0xb9,0xc2,0xff
        db 0,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,0x17,1,0,1,0
        db 0,0,0,0,0,0,0x0d,0x0f,0xff
p_mono:
        params 80,24,16,0x1000
        db 0x00,0x03,0x00,0x02,0x66
        db 0x5f,0x4f,0x50,0x82,0x55,0x81,0xbf,0x1f,0,0x4f,0x0d,0x0e,0,0,0,0
        db 0x9c,0x8e,0x8f,0x28,0x0f,0x96,0xb9,0xa3,0xff
        db 0,8,8,8,8,8,8,8,0x10,0x18,0x18,0x18,0x18,0x18,0x18,0x18,0x0e,0,0x0f,8
        db 0,0,0,0,0,0x10,0x0a,0,0xff
p_0d:
        params 40,24,8,0x2000
        db 0x09,0x0f,0x00,0x06,0x63
        db 0x2d,0x27,0x28,0x90,0x2b,0x80,0xbf,0x1f,0,0xc0,0,0,0,0,0,0
        db 0x9c,0x8e,0x8f,0x14,0x00,0x96,0xb9,0xe3,0xff
        db 0,1,2,3,4,5,6,7,0x10,0x11,0x12,0x13,0x14,0x15,0x16,0x17,1,0,0x0f,0
        db 0,0,0,0,0,0,0x05,0x0f,0xff
p_0e:
        params 80,24,8,0x4000
        db 0x01,0x0f,0x00,0x06,0x63
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0xbf,0x1f,0,0xc0,0,0,0,0,0,0
        db 0x9c,0x8e,0x8f,0x28,0x00,0x96,0xb9,0xe3,0xff
        db 0,1,2,3,4,5,6,7,0x10,0x11,0x12,0x13,0x14,0x15,0x16,0x17,1,0,0x0f,0
        db 0,0,0,0,0,0,0x05,0x0f,0xff
p_0f:
        params 80,24,14,0x8000
        db 0x01,0x0f,0x00,0x06,0xa2
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0xbf,0x1f,0,0x40,0,0,0,0,0,0
        db 0x83,0x85,0x5d,0x28,0x0f,0x63,0xba,0xe3,0xff
        db 0,8,0,0,0x18,0x18,0,0,0,8,0,0,0,0x18,0,0,0x0b,0,5,0
        db 0,0,0,0,0,0,0x05,0x05,0xff
p_10:
        params 80,24,14,0x8000
        db 0x01,0x0f,0x00,0x06,0xa3
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0xbf,0x1f,0,0x40,0,0,0,0,0,0
        db 0x83,0x85,0x5d,0x28,0x0f,0x63,0xba,0xe3,0xff
        db 0,1,2,3,4,5,0x14,7,0x38,0x39,0x3a,0x3b,0x3c,0x3d,0x3e,0x3f,1,0,0x0f,0
        db 0,0,0,0,0,0,0x05,0x0f,0xff
p_11:
        params 80,29,16,0xa000
        db 0x01,0x0f,0x00,0x06,0xe3
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0x0b,0x3e,0,0x40,0,0,0,0,0,0
        db 0xea,0x8c,0xdf,0x28,0x00,0xe7,0x04,0xc3,0xff
        db 0,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,0x3f,1,0,0x0f,0
        db 0,0,0,0,0,0,0x05,0x01,0xff
p_12:
        params 80,29,16,0xa000
        db 0x01,0x0f,0x00,0x06,0xe3
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0x0b,0x3e,0,0x40,0,0,0,0,0,0
        db 0xea,0x8c,0xdf,0x28,0x00,0xe7,0x04,0xe3,0xff
        db 0,1,2,3,4,5,0x14,7,0x38,0x39,0x3a,0x3b,0x3c,0x3d,0x3e,0x3f,1,0,0x0f,0
        db 0,0,0,0,0,0,0x05,0x0f,0xff
p_13:
        params 40,24,8,0x2000
        db 0x01,0x0f,0x00,0x0e,0x63
        db 0x5f,0x4f,0x50,0x82,0x54,0x80,0xbf,0x1f,0,0x41,0,0,0,0,0,0
        db 0x9c,0x8e,0x8f,0x28,0x40,0x96,0xb9,0xa3,0xff
        db 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,0x41,0,0x0f,0
        db 0,0,0,0,0,0x40,0x05,0x0f,0xff

; Mode number -> parameters
mode_list:
        dw p_text40,p_text40,p_text80,p_text80,p_cga4,p_cga4,p_cga6,p_mono,0,0,0,0,0
        dw p_0d,p_0e,p_0f,p_10,p_11,p_12,p_13

set_mode:
        mov al,[bp+r_al]
        mov cl,al
        and al,0x7f
        movzx bx,al
        cmp bl,0x13
        ja .unknown
        shl bx,1
        mov bx,[cs:bx+mode_list]
        or bx,bx
        jz .unknown
        mov ah,0x20             ; what AL tells: 20h above mode 7, 3Fh for mode 6, else 30h
        cmp al,7
        ja .answer
        mov ah,0x30
        cmp al,6
        jne .answer
        mov ah,0x3f
.answer:
        mov [bp+r_al],ah
        call dispi_off
        mov word [b_vbemode],0
        jmp load_mode
.unknown:
        ret

; AL mode, CL bit 7: keep the memory, CS:BX parameters, DS = BDA
load_mode:
        mov [b_mode],al
        and byte [b_videoctl],0x7f
        and cl,0x80
        or [b_videoctl],cl
        mov dx,0x3d4
        test byte [cs:bx+9],1
        jnz .colour
        mov dl,0xb4
.colour:
        mov [b_crtc],dx
        movzx ax,byte [cs:bx]
        mov [b_columns],ax
        mov al,[cs:bx+1]
        mov [b_rows],al
        movzx ax,byte [cs:bx+2]
        mov [b_charheight],ax
        mov ax,[cs:bx+3]
        mov [b_pagesize],ax
        ; screen off and sequencer in reset while clocks change
        mov dx,0x3c4
        mov ax,0x0100
        out dx,ax
        mov ah,[cs:bx+5]
        or ah,0x20
        mov al,1
        out dx,ax
        mov al,[cs:bx+9]
        mov dx,0x3c2
        out dx,al
        mov dx,0x3c4
        lea si,[bx+6]
        mov cx,3
        mov al,2
.sequencer:
        mov ah,[cs:si]
        out dx,ax
        inc si
        inc al
        loop .sequencer
        mov ax,0x0300
        out dx,ax
        ; CRTC: unprotect registers 0-7 first
        mov dx,[b_crtc]
        mov ax,0x0011
        out dx,ax
        lea si,[bx+p_crtc]
        mov cx,25
        mov al,0
.crtc:
        mov ah,[cs:si]
        out dx,ax
        inc si
        inc al
        loop .crtc
        mov dx,0x3ce
        lea si,[bx+p_gfx]
        mov cx,9
        mov al,0
.graphics:
        mov ah,[cs:si]
        out dx,ax
        inc si
        inc al
        loop .graphics
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        mov dx,0x3c0
        lea si,[bx+p_attr]
        mov cx,20
        mov ah,0
.attribute:
        mov al,ah
        out dx,al
        mov al,[cs:si]
        out dx,al
        inc si
        inc ah
        loop .attribute
        mov al,0x14
        out dx,al
        mov al,0
        out dx,al
        mov dx,0x3c6
        mov al,0xff
        out dx,al
        test byte [b_videoflags],8      ; default palette loading may be off
        jnz .memory
        call load_dac
        test byte [b_videoflags],2
        jz .memory
        push bx
        xor bx,bx
        mov cx,256
        call grey_sum
        pop bx
.memory:
        test byte [b_videoctl],0x80
        jnz .kept
        call clear_memory
.kept:
        ; text modes need their font in plane 2
        call is_graphics
        jnc .no_font
        push bx
        call load_font16
        pop bx
        mov word [b_shape],0x0607
        mov cx,0x0607
        push bx
        call apply_shape
        pop bx
.no_font:
        xor ax,ax
        mov es,ax
        mov al,[b_charheight]
        mov dx,font16
        cmp al,16
        je .font
        mov dx,font14
        cmp al,14
        je .font
        mov dx,font8
.font:
        mov [es:0x43*4],dx
        mov [es:0x43*4+2],cs
        mov word [es:0x1f*4],font8+1024
        mov [es:0x1f*4+2],cs
        mov word [b_pagestart],0
        mov byte [b_page],0
        mov byte [b_modeset],0x29
        mov byte [b_palette],0x30
        push ds
        pop es
        mov di,b_cursor
        xor ax,ax
        mov cx,8
        rep stosw
        xor bx,bx
        xor dx,dx
        call place_cursor
        ; picture on
        mov dx,0x3c4
        mov al,1
        out dx,al
        inc dx
        in al,dx
        and al,0xdf
        out dx,al
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        mov dx,0x3c0
        mov al,0x20
        out dx,al
        ret

; Blanks for text, zeroes for graphics
clear_memory:
        push bx
        mov al,[b_mode]
        mov bx,0xb800
        mov cx,0x4000
        mov dx,0x0720
        cmp al,3
        jbe .fill
        mov bh,0xb0
        cmp al,7
        je .fill
        mov bx,0xb800
        xor dx,dx
        mov cx,0x2000
        cmp al,6
        jbe .fill
        mov bx,0xa000
        mov cx,0x8000
.fill:
        mov es,bx
        mov ax,dx
        xor di,di
        rep stosw
        pop bx
        ret

; The 8x16 font to block 0
load_font16:
        mov si,font16
        mov bx,0x1000
        mov cx,256
        mov dl,0
        push cs
        pop es
; ES:SI glyphs, CX characters, DL first character, BH lines per character, BL block
load_font:
        pushad
        push ds
        push es
        pop ds
        ; plane 2 alone, linear, at A0000
        push dx
        mov dx,0x3c4
        mov ax,0x0402
        out dx,ax
        mov ax,0x0704
        out dx,ax
        mov dx,0x3ce
        mov ax,0x0204
        out dx,ax
        mov ax,0x0005
        out dx,ax
        mov ax,0x0406
        out dx,ax
        pop dx
        mov ax,0xa000
        mov es,ax
        movzx di,bl
        and di,7
        mov al,0
        test di,4
        jz .block
        mov al,0x20
.block:
        and di,3
        shl di,14
        mov ah,al
        mov al,0
        add di,ax
        movzx ax,dl
        shl ax,5
        add di,ax
        jcxz .done
.glyph:
        push cx
        push di
        movzx cx,bh
        rep movsb
        pop di
        pop cx
        add di,32
        loop .glyph
.done:
        pop ds
        call font_end
        popad
        ret

; Back to the planes of a text mode
font_end:
        mov dx,0x3c4
        mov ax,0x0302
        out dx,ax
        mov ax,0x0204           ; odd/even, chain 4 off
        out dx,ax
        mov dx,0x3ce
        mov ax,0x0004
        out dx,ax
        mov ax,0x1005
        out dx,ax
        mov ax,0x0e06
        cmp byte [b_mode],7
        jne .colour
        mov ah,0x0a
.colour:
        out dx,ax
        ret

; ---- 11h -----------------------------------------------------------------------------------------

fonts:
        mov al,[bp+r_al]
        cmp al,0x04
        jbe .load
        cmp al,0x10
        jb .done
        cmp al,0x14
        jbe .load
        cmp al,0x20
        jb .done
        cmp al,0x24
        jbe .graphics
        cmp al,0x30
        je .information
.done:
        ret
.load:
        mov bl,[bp+r_bl]
        mov ah,al
        and ah,0x0f
        jz .user
        cmp ah,3
        je .blocks
        push cs
        pop es
        mov cx,256
        mov dl,0
        mov bh,14
        mov si,font14
        cmp ah,1
        je .put
        mov bh,8
        mov si,font8
        cmp ah,2
        je .put
        mov bh,16
        mov si,font16
        jmp .put
.user:
        mov es,[bp+r_es]
        mov si,[bp+r_bp]
        mov cx,[bp+r_cx]
        mov dl,[bp+r_dx]
        mov bh,[bp+r_bh]
        cmp bh,32
        ja .done
.put:
        push ax
        call load_font
        pop ax
        test al,0x10
        jz .done
        ; the cell height changes with it: rows, page size, CRTC
        or bh,bh
        jz .done
        movzx ax,bh
        mov [b_charheight],ax
        mov bl,bh
        mov dx,[b_crtc]
        mov al,9
        out dx,al
        inc dx
        in al,dx
        and al,0xe0
        mov ah,bh
        dec ah
        or al,ah
        out dx,al
        ; 400 lines, 350 in 14-line modes set up for them
        mov ax,400
        div bl
        mov ah,0
        mov cx,ax
        dec al
        mov [b_rows],al
        ; the visible end is a whole number of cells
        movzx ax,bh
        mul cx
        dec ax
        push ax
        mov dx,[b_crtc]
        mov al,0x12
        out dx,al
        inc dx
        pop ax
        out dx,al
        mov ax,cx
        mov cl,[b_columns]
        mov ch,0
        mul cx
        shl ax,1
        add ax,0x100
        mov al,0
        mov [b_pagesize],ax
        mov cx,0x0607
        jmp apply_shape
.blocks:
        mov dx,0x3c4
        mov al,3
        mov ah,bl
        out dx,ax
        ret
.graphics:
        xor dx,dx
        mov es,dx
        and al,0x0f
        jz .upper
        mov cx,[bp+r_cx]
        mov si,[bp+r_bp]
        mov bx,[bp+r_es]
        cmp al,1
        je .set
        mov bx,cs
        mov si,font14
        mov cx,14
        cmp al,2
        je .set
        mov si,font8
        mov cx,8
        cmp al,3
        je .set
        mov si,font16
        mov cx,16
.set:
        mov [es:0x43*4],si
        mov [es:0x43*4+2],bx
        mov [b_charheight],cx
        mov al,[bp+r_bl]
        mov ah,[bp+r_dl]
        or al,al
        jz .rows
        mov ah,14
        dec al
        jz .rows
        mov ah,25
        dec al
        jz .rows
        mov ah,43
.rows:
        dec ah
        mov [b_rows],ah
        ret
.upper:
        mov si,[bp+r_bp]
        mov bx,[bp+r_es]
        mov [es:0x1f*4],si
        mov [es:0x1f*4+2],bx
        ret
.information:
        mov ax,[b_charheight]
        mov [bp+r_cx],ax
        mov al,[b_rows]
        mov [bp+r_dl],al
        xor ax,ax
        mov es,ax
        mov bl,[bp+r_bh]
        cmp bl,7
        ja .done
        cmp bl,1
        je .vector43
        jb .vector1f
        movzx bx,bl
        shl bx,1
        mov si,[cs:bx+.tables-4]
        mov ax,cs
        jmp .pointer
.vector1f:
        mov si,[es:0x1f*4]
        mov ax,[es:0x1f*4+2]
        jmp .pointer
.vector43:
        mov si,[es:0x43*4]
        mov ax,[es:0x43*4+2]
.pointer:
        mov [bp+r_bp],si
        mov [bp+r_es],ax
        ret
.tables:
        dw font14,font8,font8+1024,no_changes,font16,no_changes
no_changes:
        db 0                    ; no characters differ in 9-dot cells

; ---- 12h -----------------------------------------------------------------------------------------

alternate:
        mov al,[bp+r_al]
        mov bl,[bp+r_bl]
        cmp bl,0x10
        je .information
        cmp bl,0x30
        je .lines
        cmp bl,0x31
        je .palette
        cmp bl,0x32
        je .access
        cmp bl,0x33
        je .grey
        cmp bl,0x34
        je .cursor
        cmp bl,0x35
        je .ok
        cmp bl,0x36
        je .refresh
        cmp bl,0x20
        je .none
        mov byte [bp+r_al],0
.none:
        ret
.information:
        mov al,0
        cmp byte [b_crtc],0xb4
        jne .colour
        mov al,1
.colour:
        mov [bp+r_bh],al
        mov byte [bp+r_bl],3
        mov al,[b_videosw]
        and ax,0x0f
        mov [bp+r_cx],ax
        ret
.lines:
        cmp al,2
        ja .none
        mov ah,[b_videoflags]
        and ah,0x6f
        mov bl,0x80
        or al,al
        jz .store_lines
        mov bl,0
        dec al
        jz .store_lines
        mov bl,0x10
.store_lines:
        or ah,bl
        mov [b_videoflags],ah
        jmp .ok
.palette:
        mov ah,0x08
        jmp .flag
.cursor:
        cmp al,1
        ja .none
        and byte [b_videoctl],0xfe
        or [b_videoctl],al
        jmp .ok
.grey:
        mov ah,0x02
        xor al,1
.flag:
        cmp al,1
        ja .none
        not ah
        and [b_videoflags],ah
        not ah
        or al,al
        jz .ok
        or [b_videoflags],ah
        jmp .ok
.access:
        cmp al,1
        ja .none
        mov ah,al
        mov dx,0x3cc
        in al,dx
        and al,0xfd
        shl ah,1
        xor ah,2
        or al,ah
        mov dl,0xc2
        out dx,al
        jmp .ok
.refresh:
        cmp al,1
        ja .none
        mov ah,al
        mov dx,0x3c4
        mov al,1
        out dx,al
        inc dx
        in al,dx
        and al,0xdf
        shl ah,5
        or al,ah
        out dx,al
.ok:
        mov byte [bp+r_al],0x12
        ret

display_combination:
        mov al,[bp+r_al]
        cmp al,1
        ja .done
        je .set
        mov al,[b_dcc]
        mov ah,0
        mov [bp+r_bx],ax
        jmp .ok
.set:
        mov al,[bp+r_bl]
        mov [b_dcc],al
.ok:
        mov byte [bp+r_al],0x1a
.done:
        ret

; 1Bh: functionality and state, 64 bytes at ES:DI
state_information:
        cmp word [bp+r_bx],0
        jne .done
        mov es,[bp+r_es]
        mov di,[bp+r_di]
        mov word [es:di],functionality
        mov [es:di+2],cs
        add di,4
        mov si,b_mode
        mov cx,30
        rep movsb
        mov al,[b_rows]
        inc al
        stosb
        mov ax,[b_charheight]
        stosw
        mov al,[b_dcc]
        stosb
        mov al,0
        stosb
        mov ax,16
        cmp byte [b_mode],0x13
        jne .colours
        mov ax,256
.colours:
        stosw
        mov al,8
        stosb
        mov al,2
        stosb
        xor ax,ax
        stosw
        mov al,0x21
        stosb
        xor al,al
        mov cx,3
        rep stosb
        mov al,3                ; 256 KiB
        stosb
        mov al,0
        mov cx,14
        rep stosb
        mov byte [bp+r_al],0x1b
.done:
        ret
functionality:
        db 0xff,0xe0,0x0f,0,0,0,0
        db 7,2,8,0xff,0x0e,0,0,0x3f,0

; ---- 1Ch -----------------------------------------------------------------------------------------
; CX bit 0 registers (64 bytes), 1 data area (64 bytes), 2 palette (772 bytes)

save_state:
        mov al,[bp+r_al]
        mov cx,[bp+r_cx]
        cmp al,2
        ja .done
        or al,al
        jz .size
        mov byte [bp+r_al],0x1c
        mov es,[bp+r_es]
        mov di,[bp+r_bx]
        cmp al,2
        je .restore
        jmp state_save
.restore:
        jmp state_restore
.size:
        call state_size
        add ax,63
        shr ax,6
        mov [bp+r_bx],ax
        mov byte [bp+r_al],0x1c
.done:
        ret

; AX := bytes for the parts CX
state_size:
        xor ax,ax
        test cl,1
        jz .no_registers
        add ax,64
.no_registers:
        test cl,2
        jz .no_data
        add ax,64
.no_data:
        test cl,4
        jz .no_palette
        add ax,772
.no_palette:
        ret

; Parts CX to ES:DI, which moves on
state_save:
        test cl,1
        jz .data
        push cx
        push di
        mov dx,0x3c4
        mov cx,5
        call .indexed
        mov dx,[b_crtc]
        mov cx,25
        call .indexed
        mov dx,0x3ce
        mov cx,9
        call .indexed
        mov cx,21
        mov ah,0
.attribute:
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        mov dx,0x3c0
        mov al,ah
        out dx,al
        inc dx
        in al,dx
        stosb
        inc ah
        loop .attribute
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        mov dx,0x3c0
        mov al,0x20
        out dx,al
        mov dx,0x3cc
        in al,dx
        stosb
        mov ax,[b_crtc]
        stosw
        pop di
        add di,64
        pop cx
.data:
        test cl,2
        jz .palette
        push cx
        push di
        mov si,b_mode
        mov cx,30
        rep movsb
        mov si,b_rows
        mov cx,7
        rep movsb
        mov si,b_saveptr
        movsd
        mov ax,[b_vbemode]
        stosw
        push ds
        xor ax,ax
        mov ds,ax
        mov si,0x1f*4
        movsd
        mov si,0x43*4
        movsd
        pop ds
        pop di
        add di,64
        pop cx
.palette:
        test cl,4
        jz .done
        mov dx,0x3c6
        in al,dx
        stosb
        mov dx,0x3c7
        mov al,0
        out dx,al
        mov dx,0x3c9
        mov cx,768
        rep insb
        add di,3
.done:
        ret
.indexed:
        mov ah,0
.next:
        mov al,ah
        out dx,al
        inc dx
        in al,dx
        dec dx
        stosb
        inc ah
        loop .next
        ret

; Parts CX from ES:DI
state_restore:
        mov si,di
        push ds
        push es
        pop ds
        pop es                  ; DS:SI saved state, ES = BDA
        test cl,1
        jz .data
        push cx
        push si
        mov al,[si+60]
        mov dx,0x3c2
        out dx,al
        mov bx,[si+61]          ; CRTC address
        mov dx,0x3c4
        mov ax,0x0100
        out dx,ax
        inc si
        mov cx,4
        mov al,1
.sequencer:
        mov ah,[si]
        out dx,ax
        inc si
        inc al
        loop .sequencer
        mov ax,0x0300
        out dx,ax
        mov dx,bx
        mov ax,0x0011
        out dx,ax
        mov al,0
        mov cx,25
.crtc:
        mov ah,[si]
        out dx,ax
        inc si
        inc al
        loop .crtc
        mov dx,0x3ce
        mov al,0
        mov cx,9
.graphics:
        mov ah,[si]
        out dx,ax
        inc si
        inc al
        loop .graphics
        mov dx,bx
        add dl,6
        in al,dx
        mov dx,0x3c0
        mov ah,0
        mov cx,21
.attribute:
        mov al,ah
        out dx,al
        lodsb
        out dx,al
        inc ah
        loop .attribute
        mov al,0x20
        out dx,al
        pop si
        add si,64
        pop cx
.data:
        test cl,2
        jz .palette
        push cx
        push si
        mov di,b_mode
        mov cx,30
        rep movsb
        mov di,b_rows
        mov cx,7
        rep movsb
        mov di,b_saveptr
        movsd
        mov di,b_vbemode
        movsw
        push es
        xor ax,ax
        mov es,ax
        mov di,0x1f*4
        movsd
        mov di,0x43*4
        movsd
        pop es
        pop si
        add si,64
        pop cx
.palette:
        test cl,4
        jz .done
        mov dx,0x3c6
        lodsb
        out dx,al
        mov dx,0x3c8
        mov al,0
        out dx,al
        inc dx
        mov cx,768
        rep outsb
.done:
        push es
        pop ds
        ret
