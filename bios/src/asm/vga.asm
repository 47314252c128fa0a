; The display's ROM: header, start, INT 10h dispatch, text services.

        org 0
        db 0x55,0xaa
        db 64                   ; 32 KiB
        jmp near start
        times 0x18-($-$$) db 0
        dw pci_data
        dw 0,0
        db "IBM VGA compatible",0
product db "Beigebox VGA BIOS",0
        align 4,0
pci_data:
        db "PCIR"
        dw 0x1234,0x1111
        dw 0
        dw 24
        db 0
        db 0,0,3                ; class 0300
        dw 64
        dw 1
        db 0,0x80
        dw 0

b_vbemode       equ 0xba

start:
        pushad
        push ds
        push es
        cld
        xor ax,ax
        mov ds,ax
        mov word [0x10*4],int10
        mov [0x10*4+2],cs
        mov word [0x42*4],0xf065
        mov word [0x42*4+2],0xf000
        mov word [0x6d*4],int10
        mov [0x6d*4+2],cs
        mov word [0x1f*4],font8+1024
        mov [0x1f*4+2],cs
        mov word [0x43*4],font16
        mov [0x43*4+2],cs
        mov ax,BDA
        mov ds,ax
        and byte [b_equipment],0xcf
        or byte [b_equipment],0x20
        mov byte [b_videoctl],0x60
        mov byte [b_videosw],0xf9
        mov byte [b_videoflags],0x11
        mov byte [b_dcc],0x08
        mov word [b_saveptr],save_pointers
        mov [b_saveptr+2],cs
        ; the chip answers at A0000 and at the colour addresses
        mov dx,0x3c3
        mov al,1
        out dx,al
        mov ax,3
        int 0x10
        pop es
        pop ds
        popad
        retf

save_pointers:
        dw parameters,0xc000
        dd 0,0,0
        dw secondary,0xc000
        dd 0,0
secondary:
        dw 26
        dw dcc_table,0xc000
        dd 0,0,0,0,0
dcc_table:
        db 4,1,8,0
        db 0,0,0,1,0,2,0,0      ; pairs of displays
        db 8,0

int10:
        enter_service
        sti
        mov bx,BDA
        mov ds,bx
        movzx bx,ah
        cmp bl,0x1c
        ja int10_above
        shl bx,1
        call [cs:bx+int10_table]
int10_done:
        leave_service
int10_above:
        cmp bl,0x4f
        jne int10_done
        call vbe
        jmp int10_done
int10_none:
        ret
int10_table:
        dw set_mode,set_shape,set_cursor,get_cursor,light_pen,set_page,scroll_up,scroll_down
        dw read_cell,write_cell,write_char,cga_palette,write_pixel,read_pixel,teletype,get_mode
        dw palette,fonts,alternate,write_string,int10_none,int10_none,int10_none,int10_none
        dw int10_none,int10_none,display_combination,state_information,save_state

light_pen:
        mov byte [bp+r_ah],0
        ret

get_mode:
        mov al,[b_mode]
        mov ah,[b_videoctl]
        and ah,0x80
        or al,ah
        mov [bp+r_al],al
        mov al,[b_columns]
        mov [bp+r_ah],al
        mov al,[b_page]
        mov [bp+r_bh],al
        ret

; CRTC register AL := AH
crtc_write:
        push dx
        mov dx,[b_crtc]
        out dx,ax
        pop dx
        ret

; Cursor shape; small values mean the 8-line cells of the CGA and are scaled
set_shape:
        mov cx,[bp+r_cx]
        mov [b_shape],cx
apply_shape:
        and cx,0x3f1f
        test byte [b_videoctl],1
        jnz .put
        mov al,[b_charheight]
        cmp al,8
        jbe .put
        test ch,0x20
        jnz .put
        cmp ch,8
        jae .put
        cmp cl,8
        jae .put
        mov ah,cl
        inc ah
        cmp ah,ch
        jb .put
        ; scale: an underline goes to the last lines, others in proportion
        sub ah,ch
        cmp ah,3
        ja .scale
        mov ah,cl
        sub ah,ch
        mov cl,al
        sub cl,2
        cmp al,14
        jb .low
        dec al
.low:
        mov ch,cl
        sub ch,ah
        jmp .put
.scale:
        push ax
        mul ch
        shr ax,3
        mov ch,al
        pop ax
        inc cl
        mul cl
        shr ax,3
        dec al
        mov cl,al
.put:
        mov al,0x0a
        mov ah,ch
        call crtc_write
        inc ax
        mov al,0x0b
        mov ah,cl
        jmp crtc_write

set_cursor:
        movzx bx,byte [bp+r_bh]
        and bl,7
        mov dx,[bp+r_dx]
; BX page, DX row and column
place_cursor:
        shl bx,1
        mov [bx+b_cursor],dx
        shr bx,1
        cmp bl,[b_page]
        jne cursor_hidden
        call is_graphics
        jnc cursor_hidden
        mov al,[b_columns]
        mul dh
        movzx cx,dl
        add ax,cx
        mov cx,[b_pagestart]
        shr cx,1
        add cx,ax
        mov al,0x0e
        mov ah,ch
        call crtc_write
        mov al,0x0f
        mov ah,cl
        jmp crtc_write
cursor_hidden:
        ret

get_cursor:
        movzx bx,byte [bp+r_bh]
        and bl,7
        shl bx,1
        mov ax,[bx+b_cursor]
        mov [bp+r_dx],ax
        mov ax,[b_shape]
        mov [bp+r_cx],ax
        ret

set_page:
        movzx bx,byte [bp+r_al]
        and bl,7
        mov [b_page],bl
        mov ax,[b_pagesize]
        mul bx
        mov [b_pagestart],ax
        mov cx,ax
        call is_graphics
        jc .text
        jmp .address
.text:
        shr cx,1
.address:
        mov al,0x0c
        mov ah,ch
        call crtc_write
        mov al,0x0d
        mov ah,cl
        call crtc_write
        mov si,bx
        shl si,1
        mov dx,[si+b_cursor]
        jmp place_cursor

; Carry clear: a graphics mode
is_graphics:
        push ax
        mov al,[b_mode]
        cmp al,7
        je .text
        cmp al,4
        jb .text
        pop ax
        clc
        ret
.text:
        pop ax
        stc
        ret

; ES := segment of the text buffer; DI := offset of page BH, row DH, column DL
cell_address:
        push ax
        push bx
        mov ax,0xb800
        cmp byte [b_mode],7
        jne .colour
        mov ax,0xb000
.colour:
        mov es,ax
        mov al,[b_columns]
        mul dh
        mov di,ax
        movzx ax,dl
        add di,ax
        shl di,1
        movzx ax,bh
        and al,7
        push dx
        mul word [b_pagesize]
        pop dx
        add di,ax
        pop bx
        pop ax
        ret

scroll_up:
        mov byte [bp+r_ah],6
        jmp scroll
scroll_down:
scroll:
        mov bl,[bp+r_al]
        mov cx,[bp+r_cx]
        mov dx,[bp+r_dx]
        mov bh,[bp+r_bh]
        mov al,[bp+r_ah]
; AL 6 up or 7 down, BL lines, BH attribute, CX upper left, DX lower right; current page
scroll_window:
        cmp dl,[b_columns]
        jb .columns
        mov dl,[b_columns]
        dec dl
.columns:
        cmp dh,[b_rows]
        jbe .rows
        mov dh,[b_rows]
.rows:
        cmp cl,dl
        ja cursor_hidden
        cmp ch,dh
        ja cursor_hidden
        call is_graphics
        jnc scroll_graphics
        mov ah,dh
        sub ah,ch
        inc ah                  ; rows
        or bl,bl
        jz .all
        cmp bl,ah
        jbe .some
.all:
        mov bl,ah
.some:
        push bx
        mov bh,[b_page]
        push dx
        cmp al,6
        je .from_top
        mov ch,dh               ; start with the last row
.from_top:
        mov dx,cx
        call cell_address
        pop dx
        pop bx
        sub dl,cl
        inc dl
        movzx cx,dl             ; width
        movzx dx,byte [b_columns]
        shl dx,1
        cmp al,6
        je .up
        neg dx
.up:
        push ax
        push dx
        movzx ax,bl
        imul ax,dx
        mov si,di
        add si,ax               ; source row
        pop dx
        pop ax
        sub ah,bl               ; rows to move
        push ds
        push es
        pop ds
.move:
        or ah,ah
        jz .fill
        push cx
        push si
        push di
        rep movsw
        pop di
        pop si
        pop cx
        add si,dx
        add di,dx
        dec ah
        jmp .move
.fill:
        mov ah,bh
        mov al,' '
.blank:
        push cx
        push di
        rep stosw
        pop di
        pop cx
        add di,dx
        dec bl
        jnz .blank
        pop ds
        ret

read_cell:
        call is_graphics
        jnc .graphics
        mov bh,[bp+r_bh]
        movzx si,bh
        and si,7
        shl si,1
        mov dx,[si+b_cursor]
        call cell_address
        mov ax,[es:di]
        mov [bp+r_ax],ax
        ret
.graphics:
        jmp read_glyph

write_cell:
        call is_graphics
        jnc write_glyphs
        call .target
        mov al,[bp+r_al]
        mov ah,[bp+r_bl]
        mov cx,[bp+r_cx]
        rep stosw
        ret
.target:
        mov bh,[bp+r_bh]
        movzx si,bh
        and si,7
        shl si,1
        mov dx,[si+b_cursor]
        jmp cell_address

write_char:
        call is_graphics
        jnc write_glyphs
        call write_cell.target
        mov al,[bp+r_al]
        mov cx,[bp+r_cx]
        jcxz .done
.next:
        stosb
        inc di
        loop .next
.done:
        ret

; Repeated character at the cursor in a graphics mode
write_glyphs:
        movzx si,byte [bp+r_bh]
        and si,7
        cmp byte [b_mode],0x13
        jne .page
        xor si,si
.page:
        shl si,1
        mov dx,[si+b_cursor]
        mov cx,[bp+r_cx]
.next:
        jcxz .done
        push cx
        mov al,[bp+r_al]
        mov bl,[bp+r_bl]
        mov bh,[bp+r_bh]
        call draw_glyph
        pop cx
        dec cx
        inc dl
        cmp dl,[b_columns]
        jb .next
.done:
        ret

teletype:
        mov al,[bp+r_al]
        mov bl,[bp+r_bl]
        mov bh,[b_page]
        mov ah,0
; AL character, BH page, BL colour; AH: 1 use BL as the attribute in text modes
put_char:
        movzx si,bh
        and si,7
        shl si,1
        mov dx,[si+b_cursor]
        cmp al,7
        je .bell
        cmp al,8
        je .back
        cmp al,10
        je .feed
        cmp al,13
        je .return
        call is_graphics
        jc .text
        call draw_glyph
        jmp .advance
.text:
        call cell_address
        mov [es:di],al
        or ah,ah
        jz .advance
        mov [es:di+1],bl
.advance:
        inc dl
        cmp dl,[b_columns]
        jb .place
        mov dl,0
.feed:
        inc dh
        cmp dh,[b_rows]
        jbe .place
        mov dh,[b_rows]
        cmp bh,[b_page]
        jne .place
        push ax
        push bx
        push dx
        push bp
        ; the new line takes the attribute of the last cell
        call is_graphics
        mov bl,0
        jnc .blank
        call cell_address
        mov bl,[es:di+1]
.blank:
        mov bh,bl
        mov bl,1
        mov al,6
        xor cx,cx
        mov dh,[b_rows]
        mov dl,[b_columns]
        dec dl
        call scroll_window
        pop bp
        pop dx
        pop bx
        pop ax
        jmp .place
.return:
        mov dl,0
        jmp .place
.back:
        or dl,dl
        jz .place
        dec dl
.place:
        push bx
        movzx bx,bh
        and bl,7
        call place_cursor
        pop bx
        ret
.bell:
        ; about 900 Hz for an eighth of a second
        pushad
        mov al,0xb6
        out 0x43,al
        mov ax,1320
        out 0x42,al
        mov al,ah
        out 0x42,al
        in al,0x61
        mov bl,al
        or al,3
        out 0x61,al
        mov cx,8000
.sound:
        in al,0x61
        and al,0x10
        mov ah,al
        mov dx,64
.turn:
        in al,0x61
        and al,0x10
        cmp al,ah
        jne .turned
        dec dx
        jnz .turn
.turned:
        loop .sound
        mov al,bl
        out 0x61,al
        popad
        ret

write_string:
        mov cx,[bp+r_cx]
        jcxz .done
        movzx bx,byte [bp+r_bh]
        and bl,7
        shl bx,1
        push word [bx+b_cursor]
        shr bx,1
        mov dx,[bp+r_dx]
        call place_cursor
        mov cx,[bp+r_cx]
        mov si,[bp+r_bp]
.next:
        mov es,[bp+r_es]
        mov al,[es:si]
        inc si
        mov bl,[bp+r_bl]
        test byte [bp+r_al],2
        jz .plain
        mov bl,[es:si]
        inc si
.plain:
        mov bh,[bp+r_bh]
        mov ah,1
        push cx
        push si
        call put_char
        pop si
        pop cx
        loop .next
        pop dx
        test byte [bp+r_al],1
        jnz .done
        movzx bx,byte [bp+r_bh]
        and bl,7
        call place_cursor
.done:
        ret

; ---- Graphics ------------------------------------------------------------------------------------
; Three families: CGA (modes 4-6), planar (0Dh-12h), one byte per pixel (13h and VBE 8 bpp)

; Font of graphics modes: ES:SI := glyph AL (vector 43h)
glyph:
        push ax
        push bx
        xor bx,bx
        mov es,bx
        movzx bx,byte [b_charheight]
        mov ah,0
        cmp bl,8
        jne .whole
        ; 8x8: the upper half comes from vector 1Fh
        cmp byte [b_mode],6
        ja .whole
        test al,0x80
        jz .whole
        and al,0x7f
        mul bl
        les si,[es:0x1f*4]
        jmp .found
.whole:
        push dx
        mul bx
        pop dx
        les si,[es:0x43*4]
.found:
        add si,ax
        pop bx
        pop ax
        ret

; AL at row DH, column DL, colour BL (bit 7: exclusive or), page BH
draw_glyph:
        pushad
        push ds
        push es
        call glyph
        movzx cx,byte [b_charheight]
        movzx ax,dh
        push dx
        mul cx
        pop dx
        mov di,ax               ; first line
        cmp byte [b_mode],0x13
        je .bytes
        cmp byte [b_mode],6
        jbe .cga
        ; planar
        push dx
        movzx ax,byte [b_columns]
        mul di
        mov di,ax
        movzx ax,bh
        mul word [b_pagesize]
        add di,ax
        pop dx
        movzx ax,dl
        add di,ax
        movzx bp,byte [b_columns]
        mov dx,0x3ce
        mov ax,0x0205           ; write mode 2
        out dx,ax
        mov ax,0x0003
        test bl,0x80
        jz .replace
        mov ah,0x18
.replace:
        out dx,ax
        mov al,8
        out dx,al
        inc dx
        push es
        pop ds
        mov ax,0xa000
        mov es,ax
.line:
        mov al,[si]
        inc si
        out dx,al
        mov ah,[es:di]
        mov [es:di],bl
        test bl,0x80
        jnz .next
        not al
        out dx,al
        mov ah,[es:di]
        mov byte [es:di],0
.next:
        add di,bp
        loop .line
        dec dx
        mov ax,0xff08
        out dx,ax
        mov ax,0x0005
        out dx,ax
        mov ax,0x0003
        out dx,ax
        jmp .end
.bytes:
        push dx
        mov ax,320
        mul di
        pop dx
        mov di,ax
        movzx ax,dl
        shl ax,3
        add di,ax
        push es
        pop ds
        mov ax,0xa000
        mov es,ax
.byte_line:
        lodsb
        mov ah,al
        mov dl,8
.pixel:
        mov al,0
        shl ah,1
        jnc .background
        mov al,bl
.background:
        stosb
        dec dl
        jnz .pixel
        add di,320-8
        loop .byte_line
        jmp .end
.cga:
        ; lines alternate between two banks of 8 KiB
        mov dh,[b_mode]
        mov ax,80
        push dx
        shr di,1
        mul di
        pop dx
        mov di,ax
        movzx ax,dl
        cmp dh,6
        je .narrow
        shl ax,1
.narrow:
        add di,ax
        push es
        pop ds
        mov ax,0xb800
        mov es,ax
.cga_line:
        lodsb
        cmp dh,6
        je .one_bit
        ; two bits per pixel: spread the glyph, multiply by the colour
        push cx
        mov ah,al
        mov cx,8
        xor bp,bp
.spread:
        shl bp,2
        shl ah,1
        jnc .clear
        push ax
        mov al,bl
        and ax,3
        or bp,ax
        pop ax
.clear:
        loop .spread
        mov ax,bp
        xchg al,ah
        pop cx
        test bl,0x80
        jz .store2
        xor ax,[es:di]
.store2:
        mov [es:di],ax
        jmp .cga_next
.one_bit:
        test bl,0x80
        jz .store1
        xor al,[es:di]
.store1:
        mov [es:di],al
.cga_next:
        xor di,0x2000
        test di,0x2000
        jnz .odd
        add di,80
.odd:
        loop .cga_line
.end:
        pop es
        pop ds
        popad
        ret

; The character under the cursor of a graphics mode: its dots compared with every glyph, 0 if none fits
read_glyph:
        movzx si,byte [bp+r_bh]
        and si,7
        shl si,1
        mov bx,[si+b_cursor]
        movzx ax,bh
        mul byte [b_charheight]
        mov dx,ax               ; first line
        movzx cx,bl
        shl cx,3                ; first column
        sub sp,32
        mov di,sp
        mov si,[b_charheight]
        and si,31
.row:
        mov bx,0x0800
.dot:
        pusha
        call pixel_at
        cmp al,1
        popa
        cmc
        rcl bl,1
        inc cx
        dec bh
        jnz .dot
        sub cx,8
        inc dx
        mov [ss:di],bl
        inc di
        dec si
        jnz .row
        xor ax,ax
.glyph:
        call glyph
        mov di,sp
        mov cx,[b_charheight]
        and cx,31
.compare:
        mov bl,[es:si]
        cmp bl,[ss:di]
        jne .next
        inc si
        inc di
        loop .compare
        jmp .found
.next:
        inc al
        jnz .glyph
.found:
        add sp,32
        mov ah,0
        mov [bp+r_ax],ax
        ret

; Address of pixel CX, DX in a planar mode: ES:DI, mask AH
planar_pixel:
        movzx ax,byte [b_columns]
        push dx
        mul dx
        mov di,ax
        movzx ax,byte [bp+r_bh]
        mul word [b_pagesize]
        add di,ax
        pop dx
        mov ax,cx
        shr ax,3
        add di,ax
        and cl,7
        mov ah,0x80
        shr ah,cl
        mov cx,0xa000
        mov es,cx
        ret

; Address of pixel CX, DX in a CGA mode: ES:DI, mask AH, shift CL
cga_pixel:
        mov ax,dx
        shr ax,1
        imul di,ax,80
        test dl,1
        jz .even
        add di,0x2000
.even:
        mov ax,0xb800
        mov es,ax
        mov ax,cx
        cmp byte [b_mode],6
        je .one
        shr ax,2
        add di,ax
        not cl
        and cl,3
        shl cl,1
        mov ah,3
        shl ah,cl
        ret
.one:
        shr ax,3
        add di,ax
        not cl
        and cl,7
        mov ah,1
        shl ah,cl
        ret

write_pixel:
        call is_graphics
        jc .done
        mov cx,[bp+r_cx]
        mov dx,[bp+r_dx]
        mov bl,[bp+r_al]
        mov al,[b_mode]
        cmp al,0x13
        je .byte
        cmp al,6
        jbe .cga
        call planar_pixel
        mov dx,0x3ce
        mov al,8
        out dx,ax
        mov ax,0x0205
        out dx,ax
        mov ax,0x0003
        test bl,0x80
        jz .replace
        mov ah,0x18
.replace:
        out dx,ax
        mov al,[es:di]
        mov [es:di],bl
        mov ax,0xff08
        out dx,ax
        mov ax,0x0005
        out dx,ax
        mov ax,0x0003
        out dx,ax
.done:
        ret
.byte:
        mov ax,0xa000
        mov es,ax
        imul di,dx,320
        add di,cx
        mov [es:di],bl
        ret
.cga:
        call cga_pixel
        mov bh,bl
        shl bl,cl
        and bl,ah
        test bh,0x80
        jnz .xor
        not ah
        and [es:di],ah
        or [es:di],bl
        ret
.xor:
        xor [es:di],bl
        ret

read_pixel:
        mov byte [bp+r_al],0
        call is_graphics
        jc write_pixel.done
        mov cx,[bp+r_cx]
        mov dx,[bp+r_dx]
        call pixel_at
        mov [bp+r_al],al
        ret

; AL := pixel at column CX, line DX; changes BX, CX, DX, DI, ES
pixel_at:
        mov al,[b_mode]
        cmp al,0x13
        je .byte
        cmp al,6
        jbe .cga
        call planar_pixel
        mov bh,ah
        mov bl,0
        mov cx,0x0304           ; planes 3 to 0 by read map select
        mov dx,0x3ce
.plane:
        mov al,4
        mov ah,ch
        out dx,ax
        shl bl,1
        test [es:di],bh
        jz .clear
        or bl,1
.clear:
        dec ch
        dec cl
        jnz .plane
        mov al,bl
        ret
.byte:
        mov ax,0xa000
        mov es,ax
        imul di,dx,320
        add di,cx
        mov al,[es:di]
        ret
.cga:
        call cga_pixel
        mov al,[es:di]
        and al,ah
        shr al,cl
        ret

; AL 6 or 7, BL lines, BH colour of the new lines, CX upper left, DX lower right, in cells
scroll_graphics:
        pushad
        mov ah,dh
        sub ah,ch
        inc ah                  ; rows
        or bl,bl
        jz .all
        cmp bl,ah
        jbe .some
.all:
        mov bl,ah
.some:
        ; SI: bytes per cell column, stride per pixel line by family
        mov si,1
        movzx di,byte [b_columns]
        cmp byte [b_mode],0x13
        jne .not_bytes
        mov si,8
        mov di,320
.not_bytes:
        cmp byte [b_mode],6
        ja .family
        mov di,80
        je .family
        mov si,2
.family:
        sub sp,8
        push ax
        mov ax,sp
        add ax,2
        mov bp,ax               ; [bp] stride, [bp+2] left byte, [bp+4] width
        mov [bp],di
        movzx ax,cl
        push dx
        mul si
        mov [bp+2],ax
        pop dx
        movzx ax,dl
        sub al,cl
        inc al
        push dx
        mul si
        pop dx
        mov [bp+4],ax
        pop ax
        mov cl,[b_charheight]
        cmp al,6
        je .up
        ; down: from the last line backwards
        mov al,ah
        sub al,bl
        push ax
        mov al,dh
        inc al
        mul cl
        dec ax
        mov di,ax               ; destination line
        mov al,bl
        mul cl
        mov si,di
        sub si,ax
        pop ax
        mul cl
        mov cx,ax               ; lines to move
        mov dx,-1
        jmp .go
.up:
        mov al,ah
        sub al,bl
        push ax
        mov al,ch
        mul cl
        mov di,ax
        mov al,bl
        mul cl
        mov si,di
        add si,ax
        pop ax
        mul cl
        mov cx,ax
        mov dx,1
.go:
        ; write mode 1 copies all planes
        cmp byte [b_mode],0x0d
        jb .move
        cmp byte [b_mode],0x13
        je .move
        push dx
        mov dx,0x3ce
        mov ax,0x0105
        out dx,ax
        pop dx
.move:
        jcxz .fill
        push cx
        push si
        push di
        mov ax,si
        call .line
        mov si,ax
        mov ax,di
        call .line
        mov di,ax
        mov cx,[bp+4]
        push ds
        push es
        pop ds
        rep movsb
        pop ds
        pop di
        pop si
        pop cx
        add si,dx
        add di,dx
        dec cx
        jmp .move
.fill:
        mov al,bl
        mul byte [b_charheight]
        mov cx,ax
        cmp byte [b_mode],0x0d
        jb .blank
        cmp byte [b_mode],0x13
        je .blank
        push dx
        mov dx,0x3ce
        mov ax,0x0205
        out dx,ax
        pop dx
.blank:
        jcxz .done
        push cx
        push di
        mov ax,di
        call .line
        mov di,ax
        mov cx,[bp+4]
        mov al,bh
        rep stosb
        pop di
        pop cx
        add di,dx
        dec cx
        jmp .blank
.done:
        mov dx,0x3ce
        mov ax,0x0005
        cmp byte [b_mode],0x13
        jne .mode
        mov ah,0x40
.mode:
        cmp byte [b_mode],0x0d
        jb .leave
        out dx,ax
.leave:
        add sp,8
        popad
        ret
; AX := offset of pixel line AX plus the left byte; ES := buffer
.line:
        push dx
        mov dx,0xa000
        cmp byte [b_mode],6
        ja .linear
        mov dx,0xb800
        mov es,dx
        shr ax,1
        mov dx,0
        jnc .even
        mov dx,0x2000
.even:
        imul ax,ax,80
        add ax,dx
        jmp .left
.linear:
        mov es,dx
        mul word [bp]
.left:
        pop dx
        add ax,[bp+2]
        ret
