; 8042 and keyboard: IRQ 1, INT 16h.

; Command AL to the 8042
kbc_command:
        call kbc_ready
        out 0x64,al
        ret
; Data AL to the 8042
kbc_data:
        call kbc_ready
        out 0x60,al
        ret
kbc_ready:
        push ax
        push cx
        mov cx,7000
.wait:
        in al,0x64
        test al,2
        jz .free
        call delay15
        loop .wait
.free:
        pop cx
        pop ax
        ret
; AL := data of the 8042; carry after 20 ms of silence
kbc_read:
        push cx
        mov cx,1400
.wait:
        in al,0x64
        test al,1
        jnz .there
        call delay15
        loop .wait
        pop cx
        stc
        ret
.there:
        in al,0x60
        pop cx
        clc
        ret

keyboard_init:
        cli
        mov al,0xad
        call kbc_command
        mov al,0xa7
        call kbc_command
        mov cx,16
.drain:
        in al,0x64
        test al,1
        jz .empty
        in al,0x60
        loop .drain
.empty:
        mov al,0xaa
        call kbc_command
        call kbc_read
        mov al,0xae
        call kbc_command
        mov al,0x60
        call kbc_command
        mov al,0x64             ; translation, no interrupts, mouse off
        call kbc_data
        mov al,0xff             ; reset: acknowledge, then the self-test's result
        call kbc_data
        call kbc_read
        jc .silent
        mov cx,50
.test:
        call kbc_read
        jnc .passed
        loop .test
.passed:
        mov al,0xf4
        call kbc_data
        call kbc_read
.silent:
        ; is there a mouse port with a mouse?
        mov al,0xa8
        call kbc_command
        mov al,0x60
        call kbc_command
        mov al,0x47
        call kbc_data
        sti
        ret

; IRQ 1
irq1_body:
        push ds
        push es
        pushad
        cld
        call bda
        in al,0x64
        and al,0x21
        cmp al,0x01
        jne .end
        mov al,0xad
        out 0x64,al
        in al,0x60
        push ax
        mov al,0xae
        out 0x64,al
        pop ax
        mov ah,0x4f
        stc
        sti
        int 0x15
        jnc .end
        call scancode
.end:
        cli
        mov al,0x20
        out 0x20,al
        popad
        pop es
        pop ds
        iret

; One set 1 scan code in AL, DS = BDA
scancode:
        cmp al,0xe0
        je .prefix_e0
        cmp al,0xe1
        je .prefix_e1
        cmp al,0xfa
        je .acknowledge
        test byte [b_kbflags],1
        jz .not_pause
        ; Pause: E1 1D 45 E1 9D C5
        cmp al,0x1d
        je .done
        cmp al,0x9d
        je .done
        and byte [b_kbflags],0xfe
        cmp al,0x45
        jne .done
        jmp .pause
.not_pause:
        mov bl,al
        and bl,0x7f
        mov bh,[b_kbflags]
        and byte [b_kbflags],0xfd
        mov ah,bh
        and ah,2                ; AH: the E0 prefix
        test al,0x80
        jnz .released
        ; pressed
        cmp bl,0x2a
        je .left_shift
        cmp bl,0x36
        je .right_shift
        cmp bl,0x1d
        je .control
        cmp bl,0x38
        je .alt
        cmp bl,0x3a
        je .caps
        cmp bl,0x45
        je .num
        cmp bl,0x46
        je .scroll
        cmp bl,0x54
        je .sysrq
        ; a key ends the pause
        test byte [b_shift2],8
        jz .running
        and byte [b_shift2],0xf7
        ret
.running:
        cmp bl,0x58
        ja .done
        jmp .key
.prefix_e0:
        or byte [b_kbflags],2
        ret
.prefix_e1:
        or byte [b_kbflags],1
        ret
.acknowledge:
        or byte [b_kbleds],0x10
.done:
        ret
.left_shift:
        or ah,ah                ; E0 2A is no key
        jnz .done
        or byte [b_shift],2
        ret
.right_shift:
        or ah,ah
        jnz .done
        or byte [b_shift],1
        ret
.control:
        or byte [b_shift],4
        or ah,ah
        jz .left_control
        or byte [b_kbflags],4
        ret
.left_control:
        or byte [b_shift2],1
        ret
.alt:
        or byte [b_shift],8
        or ah,ah
        jz .left_alt
        or byte [b_kbflags],8
        ret
.left_alt:
        or byte [b_shift2],2
        ret
.caps:
        test byte [b_shift2],0x40
        jnz .done
        or byte [b_shift2],0x40
        xor byte [b_shift],0x40
        jmp leds
.num:
        test byte [b_shift],4
        jnz .pause
        test byte [b_shift2],0x20
        jnz .done
        or byte [b_shift2],0x20
        xor byte [b_shift],0x20
        jmp leds
.scroll:
        or ah,ah
        jnz .break
        test byte [b_shift],4
        jnz .break
        test byte [b_shift2],0x10
        jnz .done
        or byte [b_shift2],0x10
        xor byte [b_shift],0x10
        jmp leds
.break:
        mov byte [b_break],0x80
        mov ax,[b_kbstart]
        mov [b_kbhead],ax
        mov [b_kbtail],ax
        int 0x1b
        xor ax,ax
        jmp keyboard_put
.sysrq:
        test byte [b_shift2],4
        jnz .done
        or byte [b_shift2],4
        mov ax,0x8500
        int 0x15
        ret
.pause:
        or byte [b_shift2],8
        mov al,0x20
        out 0x20,al
.paused:
        call rest
        cli
        test byte [b_shift2],8
        jnz .paused
        ret
.released:
        cmp bl,0x2a
        je .up_left_shift
        cmp bl,0x36
        je .up_right_shift
        cmp bl,0x1d
        je .up_control
        cmp bl,0x38
        je .up_alt
        cmp bl,0x3a
        je .up_caps
        cmp bl,0x45
        je .up_num
        cmp bl,0x46
        je .up_scroll
        cmp bl,0x54
        je .up_sysrq
        ret
.up_left_shift:
        or ah,ah
        jnz .done
        and byte [b_shift],0xfd
        ret
.up_right_shift:
        or ah,ah
        jnz .done
        and byte [b_shift],0xfe
        ret
.up_control:
        or ah,ah
        jz .up_left_control
        and byte [b_kbflags],0xfb
        jmp .control_state
.up_left_control:
        and byte [b_shift2],0xfe
.control_state:
        test byte [b_kbflags],4
        jnz .done
        test byte [b_shift2],1
        jnz .done
        and byte [b_shift],0xfb
        ret
.up_alt:
        or ah,ah
        jz .up_left_alt
        and byte [b_kbflags],0xf7
        jmp .alt_state
.up_left_alt:
        and byte [b_shift2],0xfd
.alt_state:
        test byte [b_kbflags],8
        jnz .done
        test byte [b_shift2],2
        jnz .done
        and byte [b_shift],0xf7
        ; Alt with digits of the keypad ends as a character
        xor ax,ax
        xchg al,[b_altpad]
        or al,al
        jz .done
        jmp keyboard_put
.up_caps:
        and byte [b_shift2],0xbf
        ret
.up_num:
        and byte [b_shift2],0xdf
        ret
.up_scroll:
        and byte [b_shift2],0xef
        ret
.up_sysrq:
        and byte [b_shift2],0xfb
        mov ax,0x8501
        int 0x15
        ret

.key:
        ; Ctrl-Alt-Del
        cmp bl,0x53
        jne .not_reset
        mov al,[b_shift]
        and al,0x0c
        cmp al,0x0c
        jne .not_reset
        mov word [b_warm],0x1234
        mov al,0xfe
        out 0x64,al
        jmp 0xf000:0xfff0
.not_reset:
        ; PrtSc: E0 37
        cmp bl,0x37
        jne .not_print
        or ah,ah
        jz .not_print
        test byte [b_shift],0x0c
        jnz .not_print
        int 5
        ret
.not_print:
        ; Alt and a digit of the keypad
        test byte [b_shift],8
        jz .translate
        or ah,ah
        jnz .translate
        cmp bl,0x47
        jb .translate
        cmp bl,0x52
        ja .translate
        movzx si,bl
        mov al,[cs:si-0x47+.pad]
        cmp al,0xff
        je .translate
        mov cl,al
        mov al,[b_altpad]
        mov dl,10
        mul dl
        add al,cl
        mov [b_altpad],al
        ret
.pad:   db 7,8,9,0xff,4,5,6,0xff,1,2,3,0
.translate:
        movzx si,bl
        shl si,3
        add si,key_table
        mov dl,[b_shift]
        mov cx,2
        test dl,8
        jnz .alted
        test dl,4
        jnz .controlled
        ; letters: Caps Lock turns shift over; keypad: Num Lock does, unless grey
        mov dh,0
        test dl,3
        jz .no_shift
        mov dh,1
.no_shift:
        mov cx,[cs:si]
        or ah,ah
        jnz .choose
        test dl,0x40
        jz .check_num
        cmp cl,'a'
        jb .check_num
        cmp cl,'z'
        ja .check_num
        xor dh,1
.check_num:
        test dl,0x20
        jz .choose
        cmp bl,0x47
        jb .choose
        cmp bl,0x53
        ja .choose
        cmp bl,0x4a
        je .choose
        cmp bl,0x4e
        je .choose
        xor dh,1
.choose:
        or ah,ah
        jz .plain
        ; grey keys: Enter and / have their own codes, the others E0 as character
        cmp bl,0x1c
        je .grey_enter
        cmp bl,0x35
        je .grey_slash
        cmp bl,0x47
        jb .discard
        cmp bl,0x53
        ja .discard
        mov ax,[cs:si]
        mov al,0xe0
        jmp keyboard_put
.grey_enter:
        mov ax,0xe00d
        jmp keyboard_put
.grey_slash:
        mov ax,0xe02f
        jmp keyboard_put
.plain:
        mov ax,[cs:si]
        or dh,dh
        jz .have
        mov ax,[cs:si+2]
.have:
        cmp ax,0xffff
        je .discard
        jmp keyboard_put
.controlled:
        or ah,ah
        jz .control_plain
        cmp bl,0x1c
        je .control_enter
        cmp bl,0x35
        je .control_slash
        cmp bl,0x37
        je .control_print
        mov ax,[cs:si+4]
        cmp ax,0xffff
        je .discard
        mov al,0xe0
        jmp keyboard_put
.control_enter:
        mov ax,0xe00a
        jmp keyboard_put
.control_slash:
        mov ax,0x9500
        jmp keyboard_put
.control_print:
        mov ax,0x7200
        jmp keyboard_put
.control_plain:
        mov ax,[cs:si+4]
        jmp .have
.alted:
        or ah,ah
        jz .alt_plain
        mov ax,0xa600
        cmp bl,0x1c
        je .alt_put
        mov ax,0xa400
        cmp bl,0x35
        je .alt_put
        ; grey cursor keys with Alt: scan code + 50h
        cmp bl,0x47
        jb .discard
        mov ah,bl
        add ah,0x50
        mov al,0
.alt_put:
        jmp keyboard_put
.alt_plain:
        mov ax,[cs:si+6]
        jmp .have
.discard:
        ret

; Sends the lock states to the keyboard
leds:
        mov al,[b_shift]
        shr al,4
        and al,7
        mov ah,al
        mov bl,[b_kbleds]
        and bl,0xf8
        or bl,al
        mov [b_kbleds],bl
        cli
        mov al,0xad             ; keeps key presses out of the exchange; the write turns it on again
        call kbc_command
        mov al,0xae
        call kbc_command
        mov al,0xed
        call kbc_data
        call kbc_read
        jc .end
        mov al,ah
        call kbc_data
        call kbc_read
.end:
        ret

; AX into the buffer, DS = BDA; carry: full
keyboard_put:
        push bx
        push si
        pushf
        cli
        mov bx,[b_kbtail]
        mov si,bx
        add si,2
        cmp si,[b_kbend]
        jb .inside
        mov si,[b_kbstart]
.inside:
        cmp si,[b_kbhead]
        je .full
        mov [bx],ax
        mov [b_kbtail],si
        popf
        pop si
        pop bx
        clc
        ret
.full:
        popf
        pop si
        pop bx
        stc
        ret

int16_body:
        enter_service
        call bda
        mov ah,[bp+r_ah]
        or ah,ah
        jz .read
        cmp ah,1
        je .peek
        cmp ah,2
        je .shift
        cmp ah,3
        je .done
        cmp ah,5
        je .store
        cmp ah,9
        je .functions
        cmp ah,0x0a
        je .identity
        cmp ah,0x10
        je .read
        cmp ah,0x11
        je .peek
        cmp ah,0x12
        je .extended_shift
        cmp ah,0x92
        je .probe
        cmp ah,0xa2
        je .probe2
.done:
        leave_service
.probe:
        mov byte [bp+r_ah],0x80
        leave_service
.probe2:
        jmp .done
.shift:
        mov al,[b_shift]
        mov [bp+r_al],al
        leave_service
.extended_shift:
        mov al,[b_shift]
        mov [bp+r_al],al
        mov al,[b_shift2]
        mov ah,al
        and ah,0x04             ; SysRq to bit 7
        shl ah,5
        and al,0x73
        or ah,al
        mov al,[b_kbflags]
        and al,0x0c
        or ah,al
        mov [bp+r_ah],ah
        leave_service
.functions:
        mov byte [bp+r_al],0x30
        leave_service
.identity:
        mov word [bp+r_bx],0x41ab
        leave_service
.store:
        mov ax,[bp+r_cx]
        call keyboard_put
        mov al,0
        jnc .stored
        mov al,1
.stored:
        mov [bp+r_al],al
        leave_service
.read:
        cli
        mov bx,[b_kbhead]
        cmp bx,[b_kbtail]
        jne .there
        call rest
        jmp .read
.there:
        mov ax,[bx]
        add bx,2
        cmp bx,[b_kbend]
        jb .inside
        mov bx,[b_kbstart]
.inside:
        mov [b_kbhead],bx
        sti
        call .convert
        jc .read
        mov [bp+r_ax],ax
        leave_service
.peek:
        cli
        mov bx,[b_kbhead]
        cmp bx,[b_kbtail]
        je .empty
        mov ax,[bx]
        call .convert
        jnc .show
        ; a key that only the extended calls know
        add bx,2
        cmp bx,[b_kbend]
        jb .skip
        mov bx,[b_kbstart]
.skip:
        mov [b_kbhead],bx
        jmp .peek
.show:
        mov [bp+r_ax],ax
        and word [bp+r_flags],~ZF & 0xffff
        or word [bp+r_flags],0x200
        leave_service
.empty:
        or word [bp+r_flags],ZF|0x200
        sti
        leave_service
; For the old calls: E0 disappears, keys of the 101-key board are left out (carry)
.convert:
        test byte [bp+r_ah],0x10
        jnz .extended
        cmp al,0xe0
        je .grey
        cmp ah,0xe0
        je .keypad
        cmp ah,0x84
        ja .refuse
        clc
        ret
.grey:
        or ah,ah
        jz .same
        mov al,0
        cmp ah,0x84
        ja .refuse
.same:
        clc
        ret
.keypad:
        mov ah,0x1c
        cmp al,0x0d
        je .same
        cmp al,0x0a
        je .same
        mov ah,0x35
        clc
        ret
.extended:
        cmp al,0xf0
        jne .same
        or ah,ah
        jz .same
        mov al,0
        clc
        ret
.refuse:
        stc
        ret

%macro key 4
        dw %1,%2,%3,%4
%endmacro
no equ 0xffff
; Plain, shift, control, alt; by scan code
key_table:
        key no,no,no,no
        key 0x011b,0x011b,0x011b,0x0100         ; Esc
        key 0x0231,0x0221,no,0x7800
        key 0x0332,0x0340,0x0300,0x7900
        key 0x0433,0x0423,no,0x7a00
        key 0x0534,0x0524,no,0x7b00
        key 0x0635,0x0625,no,0x7c00
        key 0x0736,0x075e,0x071e,0x7d00
        key 0x0837,0x0826,no,0x7e00
        key 0x0938,0x092a,no,0x7f00
        key 0x0a39,0x0a28,no,0x8000
        key 0x0b30,0x0b29,no,0x8100
        key 0x0c2d,0x0c5f,0x0c1f,0x8200
        key 0x0d3d,0x0d2b,no,0x8300
        key 0x0e08,0x0e08,0x0e7f,0x0e00         ; Backspace
        key 0x0f09,0x0f00,0x9400,0xa500         ; Tab
%macro letter 2
        key %1<<8|%2,%1<<8|%2-32,%1<<8|%2-96,%1<<8
%endmacro
        letter 0x10,'q'
        letter 0x11,'w'
        letter 0x12,'e'
        letter 0x13,'r'
        letter 0x14,'t'
        letter 0x15,'y'
        letter 0x16,'u'
        letter 0x17,'i'
        letter 0x18,'o'
        letter 0x19,'p'
        key 0x1a5b,0x1a7b,0x1a1b,0x1a00
        key 0x1b5d,0x1b7d,0x1b1d,0x1b00
        key 0x1c0d,0x1c0d,0x1c0a,0x1c00         ; Enter
        key no,no,no,no                         ; Ctrl
        letter 0x1e,'a'
        letter 0x1f,'s'
        letter 0x20,'d'
        letter 0x21,'f'
        letter 0x22,'g'
        letter 0x23,'h'
        letter 0x24,'j'
        letter 0x25,'k'
        letter 0x26,'l'
        key 0x273b,0x273a,no,0x2700
        key 0x2827,0x2822,no,0x2800
        key 0x2960,0x297e,no,0x2900
        key no,no,no,no                         ; left Shift
        key 0x2b5c,0x2b7c,0x2b1c,0x2b00
        letter 0x2c,'z'
        letter 0x2d,'x'
        letter 0x2e,'c'
        letter 0x2f,'v'
        letter 0x30,'b'
        letter 0x31,'n'
        letter 0x32,'m'
        key 0x332c,0x333c,no,0x3300
        key 0x342e,0x343e,no,0x3400
        key 0x352f,0x353f,no,0x3500
        key no,no,no,no                         ; right Shift
        key 0x372a,0x372a,0x9600,0x3700         ; keypad *
        key no,no,no,no                         ; Alt
        key 0x3920,0x3920,0x3920,0x3920
        key no,no,no,no                         ; Caps Lock
        key 0x3b00,0x5400,0x5e00,0x6800         ; F1
        key 0x3c00,0x5500,0x5f00,0x6900
        key 0x3d00,0x5600,0x6000,0x6a00
        key 0x3e00,0x5700,0x6100,0x6b00
        key 0x3f00,0x5800,0x6200,0x6c00
        key 0x4000,0x5900,0x6300,0x6d00
        key 0x4100,0x5a00,0x6400,0x6e00
        key 0x4200,0x5b00,0x6500,0x6f00
        key 0x4300,0x5c00,0x6600,0x7000
        key 0x4400,0x5d00,0x6700,0x7100         ; F10
        key no,no,no,no                         ; Num Lock
        key no,no,no,no                         ; Scroll Lock
        key 0x4700,0x4737,0x7700,no
        key 0x4800,0x4838,0x8d00,no
        key 0x4900,0x4939,0x8400,no
        key 0x4a2d,0x4a2d,0x8e00,0x4a00
        key 0x4b00,0x4b34,0x7300,no
        key 0x4cf0,0x4c35,0x8f00,no
        key 0x4d00,0x4d36,0x7400,no
        key 0x4e2b,0x4e2b,0x9000,0x4e00
        key 0x4f00,0x4f31,0x7500,no
        key 0x5000,0x5032,0x9100,no
        key 0x5100,0x5133,0x7600,no
        key 0x5200,0x5230,0x9200,no
        key 0x5300,0x532e,0x9300,no
        key no,no,no,no
        key no,no,no,no
        key 0x565c,0x567c,no,no
        key 0x8500,0x8700,0x8900,0x8b00         ; F11
        key 0x8600,0x8800,0x8a00,0x8c00         ; F12
