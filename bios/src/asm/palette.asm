; Palette services (10h, 0Bh) and the colours a mode starts with.

; 0Bh: background or palette of the CGA modes
cga_palette:
        mov bl,[bp+r_bl]
        cmp byte [bp+r_bh],1
        je .palette
        ja .done
        mov [b_palette],bl
        mov ah,bl
        and ah,0x0f
        test ah,8
        jz .dark
        add ah,8                ; bright colours are 10h-17h of the 16-colour default
.dark:
        mov al,0
        call attribute_write
        mov al,0x11
        call attribute_write
        ; the foreground colours share the brightness bit
        call is_graphics
        jc .done
        mov bh,bl
        and bh,0x10
        mov al,1
.bright:
        push ax
        call attribute_read
        and ah,0xef
        or ah,bh
        pop cx
        mov al,cl
        call attribute_write
        inc al
        cmp al,4
        jb .bright
.done:
        ret
.palette:
        and bl,1
        mov al,1
.select:
        push ax
        call attribute_read
        and ah,0xfe
        or ah,bl
        pop cx
        mov al,cl
        call attribute_write
        inc al
        cmp al,4
        jb .select
        ret

; Attribute register AL := AH
attribute_write:
        push dx
        push ax
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        pop ax
        mov dx,0x3c0
        out dx,al
        xchg al,ah
        out dx,al
        xchg al,ah
        push ax
        mov al,0x20
        out dx,al
        pop ax
        pop dx
        ret

; AH := attribute register AL
attribute_read:
        push dx
        push ax
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        pop ax
        mov dx,0x3c0
        out dx,al
        inc dx
        push ax
        in al,dx
        mov dl,al
        pop ax
        mov ah,dl
        push ax
        mov dx,[b_crtc]
        add dl,6
        in al,dx
        mov dx,0x3c0
        mov al,0x20
        out dx,al
        pop ax
        pop dx
        ret

palette:
        movzx bx,byte [bp+r_al]
        cmp bl,0x1b
        ja .none
        shl bx,1
        jmp [cs:bx+.table]
.none:
        ret
.table:
        dw .one,.overscan,.all,.blink,.none,.none,.none,.get,.get_overscan,.get_all,.none,.none
        dw .none,.none,.none,.none,.dac_one,.none,.dac_block,.page,.none,.dac_get,.none,.dac_get_block
        dw .mask,.get_mask,.get_page,.grey
.one:
        mov al,[bp+r_bl]
        cmp al,0x14
        ja .none
        mov ah,[bp+r_bh]
        jmp attribute_write
.overscan:
        mov ah,[bp+r_bh]
        mov al,0x11
        jmp attribute_write
.all:
        mov es,[bp+r_es]
        mov si,[bp+r_dx]
        mov al,0
.all_next:
        mov ah,[es:si]
        inc si
        call attribute_write
        inc al
        cmp al,16
        jb .all_next
        mov ah,[es:si]
        mov al,0x11
        jmp attribute_write
.blink:
        mov al,0x10
        call attribute_read
        and ah,0xf7
        mov bl,[bp+r_bl]
        and bl,1
        shl bl,3
        or ah,bl
        mov cl,[b_modeset]
        and cl,0xdf
        shl bl,2
        or cl,bl
        mov [b_modeset],cl
        jmp attribute_write
.get:
        mov al,[bp+r_bl]
        call attribute_read
        mov [bp+r_bh],ah
        ret
.get_overscan:
        mov al,0x11
        call attribute_read
        mov [bp+r_bh],ah
        ret
.get_all:
        mov es,[bp+r_es]
        mov di,[bp+r_dx]
        mov al,0
.get_all_next:
        call attribute_read
        mov [es:di],ah
        inc di
        inc al
        cmp al,16
        jb .get_all_next
        mov al,0x11
        call attribute_read
        mov [es:di],ah
        ret
.dac_one:
        mov dx,0x3c8
        mov al,[bp+r_bl]
        out dx,al
        inc dx
        mov al,[bp+r_dh]
        out dx,al
        mov al,[bp+r_ch]
        out dx,al
        mov al,[bp+r_cl]
        out dx,al
        ret
.dac_block:
        mov dx,0x3c8
        mov al,[bp+r_bl]
        out dx,al
        inc dx
        mov cx,[bp+r_cx]
        and cx,0x1ff
        mov ax,cx
        shl cx,1
        add cx,ax
        mov es,[bp+r_es]
        mov si,[bp+r_dx]
        es rep outsb
        ret
.page:
        mov al,0x10
        call attribute_read
        mov bl,[bp+r_bl]
        mov bh,[bp+r_bh]
        or bl,bl
        jnz .select
        and ah,0x7f
        and bh,1
        shl bh,7
        or ah,bh
        jmp attribute_write
.select:
        test ah,0x80
        jnz .sixteen
        shl bh,2
.sixteen:
        and bh,0x0f
        mov ah,bh
        mov al,0x14
        jmp attribute_write
.get_page:
        mov al,0x10
        call attribute_read
        mov bl,ah
        shr bl,7
        mov al,0x14
        call attribute_read
        and ah,0x0f
        or bl,bl
        jnz .page_done
        shr ah,2
.page_done:
        mov [bp+r_bl],bl
        mov [bp+r_bh],ah
        ret
.dac_get:
        mov dx,0x3c7
        mov al,[bp+r_bl]
        out dx,al
        mov dl,0xc9
        in al,dx
        mov [bp+r_dh],al
        in al,dx
        mov [bp+r_ch],al
        in al,dx
        mov [bp+r_cl],al
        ret
.dac_get_block:
        mov dx,0x3c7
        mov al,[bp+r_bl]
        out dx,al
        mov dl,0xc9
        mov cx,[bp+r_cx]
        and cx,0x1ff
        mov ax,cx
        shl cx,1
        add cx,ax
        mov es,[bp+r_es]
        mov di,[bp+r_dx]
        rep insb
        ret
.mask:
        mov dx,0x3c6
        mov al,[bp+r_bl]
        out dx,al
        ret
.get_mask:
        mov dx,0x3c6
        in al,dx
        mov [bp+r_bl],al
        ret
.grey:
        mov bx,[bp+r_bx]
        mov cx,[bp+r_cx]
        and cx,0x1ff
; CX palette entries from BL on become grey: 30 % red, 59 % green, 11 % blue
grey_sum:
        jcxz .done
.next:
        mov dx,0x3c7
        mov al,bl
        out dx,al
        mov dl,0xc9
        in al,dx
        mov ah,77
        mul ah
        mov si,ax
        in al,dx
        mov ah,151
        mul ah
        add si,ax
        in al,dx
        mov ah,28
        mul ah
        add si,ax
        add si,0x80
        dec dx
        mov al,bl
        out dx,al
        inc dx
        mov ax,si
        mov al,ah
        out dx,al
        out dx,al
        out dx,al
        inc bl
        loop .next
.done:
        ret

; The palette of mode b_mode
load_dac:
        push bx
        mov dx,0x3c8
        mov al,0
        out dx,al
        inc dx
        mov al,[b_mode]
        cmp al,0x13
        je .many
        mov bl,0
        cmp al,0x0f
        je .mono
        cmp al,7
        je .mono
        cmp al,0x0e
        ja .ega
        cmp al,4
        jb .ega
.cga:
        ; bits 0-2 colour, 4 brightness; 6 is brown
        mov al,bl
        and al,7
        mov ah,bl
        shr ah,1
        and ah,8
        or al,ah
        call .sixteen
        inc bl
        cmp bl,64
        jb .cga
        jmp .rest
.ega:
        ; bits 0-2 two thirds, 3-5 one third of blue, green, red
        mov ah,bl
        shr ah,2
        call .component
        mov ah,bl
        shr ah,1
        call .component
        mov ah,bl
        call .component
        inc bl
        cmp bl,64
        jb .ega
        jmp .rest
.mono:
        mov al,0
        mov ah,bl
        and ah,0x18
        jz .grey
        mov al,42
        cmp ah,0x08
        je .grey
        cmp ah,0x10
        je .low
        mov al,63
        jmp .grey
.low:
        mov al,21
.grey:
        out dx,al
        out dx,al
        out dx,al
        inc bl
        cmp bl,64
        jb .mono
.rest:
        mov cx,192*3
        mov al,0
.zero:
        out dx,al
        loop .zero
        pop bx
        ret
; bit 0 of AH: 42, bit 3: 21
.component:
        mov al,0
        test ah,1
        jz .no_high
        mov al,42
.no_high:
        test ah,8
        jz .no_low
        add al,21
.no_low:
        out dx,al
        ret
; One of the 16 colours, AL
.sixteen:
        mov cl,al
        mov ch,0
        test cl,8
        jz .plain
        mov ch,21
.plain:
        cmp cl,6
        je .brown
        mov al,ch
        test cl,4
        jz .r
        add al,42
.r:     out dx,al
        mov al,ch
        test cl,2
        jz .g
        add al,42
.g:     out dx,al
        mov al,ch
        test cl,1
        jz .b
        add al,42
.b:     out dx,al
        ret
.brown:
        mov al,42
        out dx,al
        mov al,21
        out dx,al
        mov al,0
        out dx,al
        ret
.many:
        mov bl,0
.first:
        mov al,bl
        call .sixteen
        inc bl
        cmp bl,16
        jb .first
        mov si,.greys
        mov bl,16
.ramp:
        cs lodsb
        out dx,al
        out dx,al
        out dx,al
        dec bl
        jnz .ramp
        ; three brightnesses by three saturations by 24 hues
        mov si,.levels
        mov bl,9
.set:
        mov di,.hues
        mov bh,72
.hue:
        push bx
        movzx bx,byte [cs:di]
        mov al,[cs:si+bx]
        out dx,al
        pop bx
        inc di
        dec bh
        jnz .hue
        add si,5
        dec bl
        jnz .set
        mov cx,8*3
        mov al,0
.black:
        out dx,al
        loop .black
        pop bx
        ret
.greys: db 0,5,8,11,14,17,20,24,28,32,36,40,45,50,56,63
.levels:
        db 0,16,31,47,63,31,39,47,55,63,45,49,54,58,63
        db 0,7,14,21,28,14,17,21,24,28,20,22,24,26,28
        db 0,4,8,12,16,8,10,12,14,16,11,12,13,15,16
.hues:
        db 0,0,4, 1,0,4, 2,0,4, 3,0,4, 4,0,4, 4,0,3, 4,0,2, 4,0,1
        db 4,0,0, 4,1,0, 4,2,0, 4,3,0, 4,4,0, 3,4,0, 2,4,0, 1,4,0
        db 0,4,0, 0,4,1, 0,4,2, 0,4,3, 0,4,4, 0,3,4, 0,2,4, 0,1,4
