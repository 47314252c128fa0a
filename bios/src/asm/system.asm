; Time, memory and system services: INT 05h, 08h, 11h, 12h, 14h, 15h, 17h, 1Ah, 70h, 74h.

; One APM call on the live registers (AL: function; AH holds 53h)
%macro apm_service 0
        cmp al,0x04
        jbe .connect
        cmp al,0x05
        je .idle
        cmp al,0x06
        je .success
        cmp al,0x07
        je .state
        cmp al,0x08
        je .success
        cmp al,0x0a
        je .power_status
        cmp al,0x0b
        je .event
        cmp al,0x0c
        je .get_state
        cmp al,0x0d
        je .success
        cmp al,0x0e
        je .version
        cmp al,0x0f
        je .success
        cmp al,0x10
        je .capabilities
        mov ah,0x0c
        stc
        ret
.connect:
        mov ah,0x03
        stc
        ret
.idle:
        ; HLT needs ring 0; a caller below it gets its answer at once
        push eax
        mov eax,cs
        test al,3
        pop eax
        jnz .success
        sti
        hlt
        jmp .success
.state:
        cmp bx,1
        jne .success
        cmp cx,3
        jne .success
        ; off: PIIX4 PM1 control, sleep type 0 (S5), sleep enable
        push edx
        push eax
        mov dx,0xb004
        mov ax,0x2000
        out dx,ax
        pop eax
        pop edx
        jmp .success
.power_status:
        mov bx,0x01ff           ; on line, no battery
        mov cx,0x80ff
        mov dx,0xffff
        mov si,0
        jmp .success
.event:
        mov ah,0x80
        stc
        ret
.get_state:
        mov cx,0
        jmp .success
.version:
        mov ax,0x0102
        clc
        ret
.capabilities:
        mov bx,0
        mov cx,0
.success:
        mov ah,0
        clc
        ret
%endmacro

int11_body:
        push ds
        call bda
        mov ax,[b_equipment]
        pop ds
        iret

int12_body:
        push ds
        call bda
        mov ax,[b_memory]
        pop ds
        iret

; ---- INT 15h -------------------------------------------------------------------------------------

int15_body:
        cmp ah,0x4f
        je int15_intercept
        cmp ax,0xe820
        je int15_e820
        enter_service
        sti
        mov al,ah
        cmp al,0x24
        je int15_a20
        cmp al,0x41
        je int15_unsupported
        cmp al,0x53
        je int15_apm
        cmp al,0x80
        jb int15_unsupported
        cmp al,0x82
        jbe int15_success
        cmp al,0x83
        je int15_event
        cmp al,0x84
        je int15_unsupported
        cmp al,0x85
        je int15_success
        cmp al,0x86
        je int15_wait
        cmp al,0x87
        je int15_move
        cmp al,0x88
        je int15_extended
        cmp al,0x89
        je int15_protected
        cmp al,0x90
        je int15_success
        cmp al,0x91
        je int15_success
        cmp al,0xc0
        je int15_configuration
        cmp al,0xc1
        je int15_ebda
        cmp al,0xc2
        je int15_mouse
        cmp al,0xe8
        je int15_e8
int15_unsupported:
        mov byte [bp+r_ah],0x86
        set_carry
        leave_service
int15_success:
        mov byte [bp+r_ah],0
        clear_carry
        leave_service

; Keyboard intercept: the scan code goes on
int15_intercept:
        push bp
        mov bp,sp
        or byte [bp+6],CF
        pop bp
        iret

int15_a20:
        mov al,[bp+r_al]
        or al,al
        je .off
        cmp al,1
        je .on
        cmp al,2
        je .status
        cmp al,3
        jne int15_unsupported
        mov word [bp+r_bx],3
        jmp int15_success
.off:
        in al,0x92
        and al,0xfc
        out 0x92,al
        jmp int15_success
.on:
        in al,0x92
        and al,0xfe
        or al,2
        out 0x92,al
        jmp int15_success
.status:
        in al,0x92
        shr al,1
        and al,1
        mov [bp+r_al],al
        mov word [bp+r_cx],0
        jmp int15_success

; Memory map: base, length, type
int15_e820:
        enter_service
        cmp dword [bp+r_dx],0x534d4150
        jne int15_unsupported
        cmp dword [bp+r_cx],20
        jb int15_unsupported
        mov di,[bp+r_di]
        mov ebx,[bp+r_bx]
        call ebda
        xor esi,esi             ; upper halves
        xor edx,edx
        mov ecx,1
        cmp ebx,7
        jae int15_unsupported
        push bx
        shl bx,1
        mov bx,[cs:bx+.entries]
        mov ax,bx
        pop bx
        call ax
        mov [es:di],eax
        mov [es:di+4],esi
        mov [es:di+8],edx
        mov dword [es:di+12],0
        or esi,esi
        jz .low
        mov eax,[e_high]
        shr eax,16
        mov [es:di+12],eax
.low:
        mov [es:di+16],ecx
        inc ebx
        ; empty entries at the end are not announced
        cmp ebx,6
        jb .more
        ja .end
        cmp dword [e_high],0
        jne .more
.end:
        xor ebx,ebx
.more:
        mov [bp+r_bx],ebx
        mov dword [bp+r_cx],20
        mov dword [bp+r_ax],0x534d4150
        clear_carry
        leave_service
.entries:
        dw .base,.ebda,.rom,.extended,.bridge,.flash,.high
.base:
        xor eax,eax
        mov edx,0x9fc00
        ret
.ebda:
        mov eax,0x9fc00
        mov edx,0x400
        mov cl,2
        ret
.rom:
        mov eax,0xf0000
        mov edx,0x10000
        mov cl,2
        ret
.extended:
        mov eax,0x100000
        mov edx,[e_memory]
        ret
.bridge:
        mov eax,0xfec00000      ; interrupt controllers
        mov edx,0x00400000-0x10000-0x30000
        mov cl,2
        ret
.flash:
        mov eax,0xfffc0000
        mov edx,0x40000
        mov cl,2
        ret
.high:
        xor eax,eax
        mov esi,1
        mov edx,[e_high]
        shl edx,16
        ret

; E801: KiB between 1 and 16 MiB, 64 KiB blocks above; E881 the same in 32 bits
int15_e8:
        mov al,[bp+r_al]
        cmp al,0x01
        je .sizes
        cmp al,0x81
        jne int15_unsupported
        mov dword [bp+r_ax],0
        mov dword [bp+r_bx],0
        mov dword [bp+r_cx],0
        mov dword [bp+r_dx],0
.sizes:
        call ebda
        mov eax,[e_memory]
        xor ebx,ebx
        cmp eax,15<<20
        jbe .small
        lea ebx,[eax-(15<<20)]
        shr ebx,16
        mov eax,15<<20
.small:
        shr eax,10
        mov [bp+r_ax],ax
        mov [bp+r_cx],ax
        mov [bp+r_bx],bx
        mov [bp+r_dx],bx
        clear_carry
        leave_service

int15_extended:
        call ebda
        mov eax,[e_memory]
        shr eax,10
        cmp eax,63*1024
        jbe .fits
        mov ax,63*1024
.fits:
        mov [bp+r_ax],ax
        clear_carry
        leave_service

; Block move through the caller's descriptor table at ES:SI, CX words. The unused descriptors are
; filled as the service specifies: 8 the table, 20h this code, 28h the stack.
int15_move:
        cli
        smsw ax
        test al,1
        jnz .refused
        mov si,[bp+r_si]
        mov es,[bp+r_es]
        xor eax,eax
        mov ax,es
        shl eax,4
        movzx ebx,si
        add eax,ebx
        mov word [es:si+8],0x2f
        mov [es:si+10],eax
        mov byte [es:si+13],0x93
        mov word [es:si+14],0
        mov dword [es:si+0x20],0x0000ffff
        mov dword [es:si+0x24],0x00009b0f
        xor eax,eax
        mov ax,ss
        shl eax,4
        mov word [es:si+0x28],0xffff
        mov [es:si+0x2a],eax
        mov byte [es:si+0x2d],0x93
        mov word [es:si+0x2e],0
        in al,0x92
        push ax
        and al,0xfe
        or al,2
        out 0x92,al
        movzx ecx,word [bp+r_cx]
        lgdt [es:si+8]
        push ds
        mov eax,cr0
        or al,1
        mov cr0,eax
        jmp 0x20:.protected
.protected:
        mov ax,0x10
        mov ds,ax
        mov ax,0x18
        mov es,ax
        mov ax,0x28
        mov ss,ax
        xor esi,esi
        xor edi,edi
        shr ecx,1
        a32 rep movsd
        adc cx,cx
        a32 rep movsw
        ; real mode limits again
        mov ax,0x28
        mov ds,ax
        mov es,ax
        mov eax,cr0
        and al,0xfe
        mov cr0,eax
        jmp 0xf000:.real
.real:
        mov si,[cs:.zero]
        mov ax,sp
        ; the stack segment comes back from the descriptor's base
        mov ax,[bp+r_es]
        jmp .stack
.zero:  dw 0
.refused:
        mov byte [bp+r_ah],0x86
        set_carry
        leave_service
.stack:
        ; BP still addresses the frame through the cached base
        mov es,ax
        mov si,[bp+r_si]
        mov eax,[es:si+0x2a]
        and eax,0xffffff
        shr eax,4
        mov ss,ax
        pop ds
        lidt [cs:.real_idt]
        pop ax
        out 0x92,al
        jmp int15_success
.real_idt:
        dw 0x3ff
        dd 0

; Switch to protected mode with the caller's tables: interrupts from BH and BL, descriptors at ES:SI
int15_protected:
        cli
        smsw ax
        test al,1
        jnz int15_unsupported
        mov al,0x11
        out 0x20,al
        out 0xa0,al
        mov al,[bp+r_bh]
        out 0x21,al
        mov al,[bp+r_bl]
        out 0xa1,al
        mov al,4
        out 0x21,al
        mov al,2
        out 0xa1,al
        mov al,1
        out 0x21,al
        out 0xa1,al
        mov al,0xff
        out 0x21,al
        out 0xa1,al
        in al,0x92
        and al,0xfe
        or al,2
        out 0x92,al
        mov si,[bp+r_si]
        mov es,[bp+r_es]
        mov dword [es:si+0x38],0x0000ffff
        mov dword [es:si+0x3c],0x00009b0f
        lgdt [es:si+8]
        lidt [es:si+0x10]
        mov eax,cr0
        or al,1
        mov cr0,eax
        jmp 0x38:.protected
.protected:
        mov ax,0x18
        mov ds,ax
        mov ax,0x20
        mov es,ax
        mov ax,0x28
        mov ss,ax
        mov sp,bp
        popad
        add sp,4                ; DS and ES are the caller's new ones
        mov ah,0
        pop bx                  ; the return address, then a frame with the new code segment
        add sp,4
        push 0x30
        push bx
        retf

; Timed events: the clock's periodic interrupt counts 976 microseconds down
int15_event:
        cmp byte [bp+r_al],1
        je .cancel
        mov es,[bp+r_es]
        mov bx,[bp+r_bx]
        call wait_start
        jc .busy
        jmp int15_success
.busy:
        mov byte [bp+r_ah],0x83
        set_carry
        leave_service
.cancel:
        call wait_stop
        jmp int15_success

int15_wait:
        push BDA
        pop es
        mov bx,b_waitflag
        call wait_start
        jc .busy
        call bda
.rest:
        cli
        test byte [b_waitflag],0x80
        jnz .over
        call rest
        jmp .rest
.over:
        sti
        mov byte [b_waitflag],0
        clear_carry
        leave_service
.busy:
        mov byte [bp+r_ah],0x83
        set_carry
        leave_service

; The flag at ES:BX gets bit 7 after CX:DX (of the frame) microseconds
wait_start:
        call bda
        cli
        test byte [b_waitflag],1
        jnz .busy
        mov byte [b_waitflag],1
        and byte [es:bx],0x7f
        mov [b_waitptr],bx
        mov [b_waitptr+2],es
        mov ax,[bp+r_dx]
        mov [b_waitcount],ax
        mov ax,[bp+r_cx]
        mov [b_waitcount+2],ax
        mov al,0x0b
        call cmos_read
        or al,0x40
        mov ah,al
        mov al,0x0b
        call cmos_write
        mov al,0x0c
        call cmos_read
        in al,0xa1
        and al,0xfe
        out 0xa1,al
        sti
        clc
        ret
.busy:
        sti
        stc
        ret

wait_stop:
        call bda
        mov al,0x0b
        call cmos_read
        and al,0xbf
        mov ah,al
        mov al,0x0b
        call cmos_write
        mov byte [b_waitflag],0
        ret

int15_configuration:
        mov word [bp+r_bx],0xe6f5
        mov word [bp+r_es],0xf000
        jmp int15_success

int15_ebda:
        call bda
        mov ax,[b_ebda]
        mov [bp+r_es],ax
        clear_carry
        leave_service

; Advanced power management 1.2
int15_apm:
        call ebda
        mov al,[bp+r_al]
        or al,al
        jz .check
        cmp al,1
        je .real
        cmp al,2
        je .protected16
        cmp al,3
        je .protected32
        cmp al,4
        je .disconnect
        mov bx,[bp+r_bx]
        mov cx,[bp+r_cx]
        mov dx,[bp+r_dx]
        mov si,[bp+r_si]
        mov ah,0x53
        push bp
        call apm_service16
        pop bp
        mov [bp+r_ax],ax
        mov [bp+r_bx],bx
        mov [bp+r_cx],cx
        mov [bp+r_dx],dx
        mov [bp+r_si],si
        jc .carry
        clear_carry
        leave_service
.carry:
        set_carry
        leave_service
.check:
        cmp word [bp+r_bx],0
        jne .bad_device
        mov word [bp+r_ax],0x0102
        mov word [bp+r_bx],0x504d
        mov word [bp+r_cx],0x0003
        clear_carry
        leave_service
.bad_device:
        mov byte [bp+r_ah],9
        jmp .carry
.real:
        mov al,1
        jmp .connect
.protected16:
        call .connection
        jc .connected
        mov byte [e_apm],2
        mov word [bp+r_ax],0xf000
        mov word [bp+r_bx],apm_entry16
        mov word [bp+r_cx],0xf000
        mov word [bp+r_si],0xffff
        mov word [bp+r_di],0xffff
        clear_carry
        leave_service
.protected32:
        call .connection
        jc .connected
        mov byte [e_apm],3
        mov word [bp+r_ax],0xf000
        mov dword [bp+r_bx],apm_entry32
        mov word [bp+r_cx],0xf000
        mov word [bp+r_dx],0xf000
        mov dword [bp+r_si],0xffffffff
        mov word [bp+r_di],0xffff
        clear_carry
        leave_service
.connect:
        call .connection
        jc .connected
        mov [e_apm],al
        jmp int15_success
.connection:
        cmp byte [e_apm],1
        cmc
        ret
.connected:
        mov byte [bp+r_ah],2
        jmp .carry
.disconnect:
        cmp byte [e_apm],0
        mov byte [bp+r_ah],3
        je .carry
        mov byte [e_apm],0
        jmp int15_success

apm_service16:
        apm_service
apm_entry16:
        push bp
        mov bp,sp
        pushf
        call apm_service16
        jc .carry
        popf
        clc
        pop bp
        retf
.carry:
        popf
        stc
        pop bp
        retf

; ---- PS/2 mouse ----------------------------------------------------------------------------------

int15_mouse:
        call ebda
        mov al,[bp+r_al]
        mov bl,1                ; error: invalid function
        cmp al,8
        ja .fail
        movzx si,al
        shl si,1
        jmp [cs:si+.table]
.table: dw .enable,.reset,.rate,.resolution,.type,.initialize,.extended,.handler,.none
.none:
        mov bl,1
.fail:
        mov [bp+r_ah],bl
        set_carry
        leave_service
.command_failed:
        mov bl,4
        jmp .fail
.ok:
        jmp int15_success
.enable:
        mov bh,[bp+r_bh]
        mov bl,2
        cmp bh,1
        ja .fail
        jb .disable
        mov bl,5
        test byte [e_mouseflags],0x40
        jz .fail
        and byte [e_mouseflags],0xf8
        or byte [e_mouseflags],0x80
        mov al,0xf4
        call mouse_command
        jc .command_failed
        jmp .ok
.disable:
        and byte [e_mouseflags],0x7f
        mov al,0xf5
        call mouse_command
        jc .command_failed
        jmp .ok
.initialize:
        mov al,[bp+r_bh]
        mov bl,2
        dec al
        cmp al,7
        ja .fail
        inc al
        mov [e_mousesize],al
.reset:
        and byte [e_mouseflags],0x40
        call mouse_reset
        jc .command_failed
        mov word [bp+r_bx],0x00aa
        jmp .ok
.rate:
        movzx si,byte [bp+r_bh]
        mov bl,2
        cmp si,6
        ja .fail
        mov al,0xf3
        mov ah,[cs:si+.rates]
        call mouse_command2
        jc .command_failed
        jmp .ok
.rates: db 10,20,40,60,80,100,200
.resolution:
        mov ah,[bp+r_bh]
        mov bl,2
        cmp ah,3
        ja .fail
        mov al,0xe8
        call mouse_command2
        jc .command_failed
        jmp .ok
.type:
        mov al,0xf2
        call mouse_command
        jc .command_failed
        call mouse_byte
        jc .command_failed
        mov [bp+r_bh],al
        jmp .ok
.extended:
        mov bh,[bp+r_bh]
        mov al,0xe6
        cmp bh,1
        je .scaling
        mov al,0xe7
        cmp bh,2
        je .scaling
        mov bl,2
        or bh,bh
        jnz .fail
        mov al,0xe9
        call mouse_command_answer3
        jc .command_failed
        mov al,[e_mousetemp]
        mov [bp+r_bl],al
        mov al,[e_mousetemp+1]
        mov [bp+r_cl],al
        mov byte [bp+r_ch],0
        mov al,[e_mousetemp+2]
        mov [bp+r_dl],al
        mov byte [bp+r_dh],0
        jmp .ok
.scaling:
        call mouse_command
        jc .command_failed
        jmp .ok
.handler:
        mov bx,[bp+r_bx]
        mov ax,[bp+r_es]
        mov [e_mousehandler],bx
        mov [e_mousehandler+2],ax
        or ax,bx
        jz .remove
        or byte [e_mouseflags],0x40
        jmp .ok
.remove:
        and byte [e_mouseflags],0x3f
        jmp .ok

; Commands to the mouse run with both 8042 interrupts off, so that no handler takes the answers.
mouse_begin:
        cli                     ; the answer to command 20h must not look like a key
        mov al,0x20
        call kbc_command
        call kbc_read
        and al,0xfc
        or al,0x40
        and al,0xdf
        push ax
        mov al,0x60
        call kbc_command
        pop ax
        call kbc_data
        mov al,0xa8
        call kbc_command
        sti
        ret
mouse_end:
        pushf
        push ax
        mov al,0x60
        call kbc_command
        mov al,0x47
        call kbc_data
        pop ax
        popf
        ret

; AL to the mouse, its acknowledgement back
mouse_send:
        push ax
        mov al,0xd4
        call kbc_command
        pop ax
        call kbc_data
        jmp mouse_receive
mouse_receive:
        push cx
        mov cx,7000             ; 100 ms
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

mouse_command:
        push ax
        call mouse_begin
        pop ax
        call mouse_send
        jc mouse_end
        cmp al,0xfa
        je .good
        stc
        jmp mouse_end
.good:
        cmp byte [bp+r_al],4    ; the device type has one more byte
        jne .plain
        call mouse_receive
        mov [e_mousetemp],al
        jmp mouse_end
.plain:
        clc
        jmp mouse_end
mouse_byte:
        mov al,[e_mousetemp]
        clc
        ret

mouse_command2:
        push ax
        call mouse_begin
        pop ax
        push ax
        call mouse_send
        pop ax
        jc mouse_end
        mov al,ah
        call mouse_send
        jmp mouse_end

mouse_command_answer3:
        push ax
        call mouse_begin
        pop ax
        call mouse_send
        jc mouse_end
        mov di,e_mousetemp
        mov cx,3
.next:
        call mouse_receive
        jc mouse_end
        mov [di],al
        inc di
        loop .next
        clc
        jmp mouse_end

mouse_reset:
        call mouse_begin
        mov al,0xff
        call mouse_send
        jc mouse_end
        mov cx,10
.test:
        call mouse_receive
        jnc .passed
        loop .test
        stc
        jmp mouse_end
.passed:
        call mouse_receive
        jmp mouse_end

; IRQ 12: a byte from the mouse; a full packet goes to the handler as four words
irq12:
        push ds
        pushad
        cld
        call ebda
        in al,0x64
        and al,0x21
        cmp al,0x21
        jne .end
        in al,0x60
        test byte [e_mouseflags],0x80
        jz .end
        movzx bx,byte [e_mouseflags]
        and bx,7
        mov [bx+e_mousepacket],al
        inc bl
        cmp bl,[e_mousesize]
        jae .packet
        and byte [e_mouseflags],0xf8
        or [e_mouseflags],bl
        jmp .end
.packet:
        and byte [e_mouseflags],0xf8
        movzx ax,byte [e_mousepacket]
        push ax
        movzx ax,byte [e_mousepacket+1]
        push ax
        movzx ax,byte [e_mousepacket+2]
        push ax
        push 0
        mov al,0x20
        out 0xa0,al
        out 0x20,al
        sti
        call far [e_mousehandler]
        cld
        add sp,8
        popad
        pop ds
        iret
.end:
        mov al,0x20
        out 0xa0,al
        out 0x20,al
        popad
        pop ds
        iret

; ---- Time ----------------------------------------------------------------------------------------

irq0_body:
        push ds
        pushad
        call bda
        inc dword [b_ticks]
        cmp dword [b_ticks],0x1800b0
        jb .same_day
        mov dword [b_ticks],0
        inc byte [b_midnight]
.same_day:
        cmp byte [b_fdtimeout],0
        je .user
        dec byte [b_fdtimeout]
        jnz .user
        and byte [b_fdmotor],0xf0
        mov dx,0x3f2
        mov al,0x0c
        out dx,al
.user:
        int 0x1c
        cli
        mov al,0x20
        out 0x20,al
        popad
        pop ds
        iret

; IRQ 8: periodic and alarm
irq8:
        push ds
        push es
        pushad
        call bda
        mov al,0x0c
        call cmos_read
        mov bl,al
        mov al,0x0b
        call cmos_read
        and bl,al
        test bl,0x20
        jz .no_alarm
        push bx
        sti
        int 0x4a
        cli
        pop bx
.no_alarm:
        test bl,0x40
        jz .end
        test byte [b_waitflag],1
        jz .end
        sub dword [b_waitcount],976
        ja .end
        les bx,[b_waitptr]
        call wait_stop
        or byte [es:bx],0x80
.end:
        mov al,0x20
        out 0xa0,al
        out 0x20,al
        popad
        pop es
        pop ds
        iret

irq9:
        push ax
        mov al,0x20
        out 0xa0,al
        pop ax
        int 0x0a
        iret

irq13:
        push ax
        xor al,al
        out 0xf0,al
        mov al,0x20
        out 0xa0,al
        out 0x20,al
        pop ax
        int 0x02
        iret

irq14:
        push ds
        push ax
        call bda
        mov byte [b_hdflag],0xff
        mov al,0x20
        out 0xa0,al
        out 0x20,al
        pop ax
        pop ds
        iret

spurious_slave:
        push ax
        mov al,0x0b
        out 0xa0,al
        in al,0xa0
        or al,al
        jz .none
        mov al,0x20
        out 0xa0,al
.none:
        mov al,0x20
        out 0x20,al
        pop ax
        iret

spurious_master:
        push ax
        mov al,0x0b
        out 0x20,al
        in al,0x20
        or al,al
        jz .none
        mov al,0x20
        out 0x20,al
.none:
        pop ax
        iret

; AL from packed BCD
from_bcd:
        push bx
        mov bl,al
        and al,15
        shr bl,4
        mov bh,10
        xchg al,bl
        mul bh
        add al,bl
        pop bx
        ret

; The tick count from the clock: seconds times 1193182 / 65536
clock_to_ticks:
        call bda
        mov al,4
        call cmos_read
        call from_bcd
        movzx ecx,al
        imul ecx,ecx,60
        mov al,2
        call cmos_read
        call from_bcd
        movzx eax,al
        add ecx,eax
        imul ecx,ecx,60
        mov al,0
        call cmos_read
        call from_bcd
        movzx eax,al
        add eax,ecx
        mov ecx,1193182
        mul ecx
        shrd eax,edx,16
        cmp eax,0x1800b0
        jb .fits
        xor eax,eax
.fits:
        mov [b_ticks],eax
        ret

int1a_body:
        cmp ah,0xb1
        je .pci
        cmp ah,7
        ja .unknown
        enter_service
        call bda
        movzx si,ah
        shl si,1
        jmp [cs:si+.table]
.pci:
        enter_service
        jmp int1a_pci
.unknown:
        push bp
        mov bp,sp
        or byte [bp+6],CF
        pop bp
        iret
.table: dw .ticks,.set_ticks,.time,.set_time,.date,.set_date,.alarm,.no_alarm
.ticks:
        cli
        mov ax,[b_ticks]
        mov [bp+r_dx],ax
        mov ax,[b_ticks+2]
        mov [bp+r_cx],ax
        mov al,[b_midnight]
        mov [bp+r_al],al
        mov byte [b_midnight],0
        jmp .ok
.set_ticks:
        cli
        mov ax,[bp+r_dx]
        mov [b_ticks],ax
        mov ax,[bp+r_cx]
        mov [b_ticks+2],ax
        mov byte [b_midnight],0
        jmp .ok
.time:
        call .settled
        jc .carry
        mov al,0
        call cmos_read
        mov [bp+r_dh],al
        mov al,2
        call cmos_read
        mov [bp+r_cl],al
        mov al,4
        call cmos_read
        mov [bp+r_ch],al
        mov al,0x0b
        call cmos_read
        and al,1
        mov [bp+r_dl],al
        mov al,[bp+r_ch]
        mov [bp+r_al],al
        jmp .ok
.set_time:
        call .stop
        mov ah,[bp+r_dh]
        mov al,0
        call cmos_write
        mov ah,[bp+r_cl]
        mov al,2
        call cmos_write
        mov ah,[bp+r_ch]
        mov al,4
        call cmos_write
        mov ah,[bp+r_dl]
        and ah,1
        or ah,2
        mov al,0x0b
        call cmos_write
        jmp .ok
.date:
        call .settled
        jc .carry
        mov al,7
        call cmos_read
        mov [bp+r_dl],al
        mov al,8
        call cmos_read
        mov [bp+r_dh],al
        mov al,9
        call cmos_read
        mov [bp+r_cl],al
        mov al,0x32
        call cmos_read
        cmp al,0x19
        jb .guess
        cmp al,0x21
        jbe .century
.guess:
        mov al,0x20
.century:
        mov [bp+r_ch],al
        mov [bp+r_al],al
        jmp .ok
.set_date:
        call .stop
        mov ah,[bp+r_dl]
        mov al,7
        call cmos_write
        mov ah,[bp+r_dh]
        mov al,8
        call cmos_write
        mov ah,[bp+r_cl]
        mov al,9
        call cmos_write
        mov ah,[bp+r_ch]
        mov al,0x32
        call cmos_write
        mov al,0x0b
        call cmos_read
        and al,0x7f
        mov ah,al
        mov al,0x0b
        call cmos_write
        jmp .ok
.alarm:
        mov al,0x0b
        call cmos_read
        test al,0x20
        jnz .carry
        mov ah,[bp+r_dh]
        mov al,1
        call cmos_write
        mov ah,[bp+r_cl]
        mov al,3
        call cmos_write
        mov ah,[bp+r_ch]
        mov al,5
        call cmos_write
        in al,0xa1
        and al,0xfe
        out 0xa1,al
        mov al,0x0b
        call cmos_read
        or al,0x20
        mov ah,al
        mov al,0x0b
        call cmos_write
        jmp .ok
.no_alarm:
        mov al,0x0b
        call cmos_read
        and al,0xdf
        mov ah,al
        mov al,0x0b
        call cmos_write
.ok:
        mov byte [bp+r_ah],0
        clear_carry
        leave_service
.carry:
        set_carry
        leave_service
; Waits for the end of an update of the clock, 2 ms at most
.settled:
        mov cx,200
.update:
        mov al,0x0a
        call cmos_read
        test al,0x80
        jz .steady
        call delay15
        loop .update
        stc
        ret
.steady:
        clc
        ret
.stop:
        mov ax,0x260a
        call cmos_write
        mov al,0x0b
        call cmos_read
        or al,0x80
        mov ah,al
        mov al,0x0b
        jmp cmos_write

; ---- Serial and parallel -------------------------------------------------------------------------

int14_body:
        enter_service
        sti
        call bda
        mov dx,[bp+r_dx]
        cmp dx,3
        ja .bad
        mov bx,dx
        mov cl,[bx+b_comtimeout]
        shl bx,1
        mov dx,[bx+b_com]
        or dx,dx
        jz .bad
        mov ah,[bp+r_ah]
        or ah,ah
        jz .setup
        dec ah
        jz .send
        dec ah
        jz .receive
        dec ah
        jz .status
.bad:
        set_carry
        leave_service
.setup:
        mov al,[bp+r_al]
        movzx bx,al
        shr bx,5
        shl bx,1
        mov cx,[cs:bx+0xe729]
        add dx,3
        mov al,0x80
        out dx,al
        sub dx,3
        mov al,cl
        out dx,al
        inc dx
        mov al,ch
        out dx,al
        add dx,2
        mov al,[bp+r_al]
        and al,0x1f
        out dx,al
        sub dx,2
        xor al,al
        out dx,al
        dec dx
        jmp .status
.send:
        add dx,4
        mov al,3
        out dx,al
        inc dx
        mov ah,0x20
        call .await
        jc .timeout
        sub dx,5
        mov al,[bp+r_al]
        out dx,al
        jmp .line
.receive:
        add dx,4
        mov al,1
        out dx,al
        inc dx
        mov ah,1
        call .await
        jc .timeout
        sub dx,5
        in al,dx
        mov [bp+r_al],al
        jmp .line
.line:
        add dx,5
        in al,dx
        and al,0x7f
        mov [bp+r_ah],al
        clear_carry
        leave_service
.status:
        add dx,5
        in al,dx
        mov [bp+r_ah],al
        inc dx
        in al,dx
        mov [bp+r_al],al
        clear_carry
        leave_service
.timeout:
        in al,dx
        or al,0x80
        mov [bp+r_ah],al
        clear_carry
        leave_service
; Waits for a bit of the line status, CL times about a second
.await:
        movzx ecx,cl
        inc ecx
        shl ecx,16
.poll:
        in al,dx
        test al,ah
        jnz .seen
        call delay15
        dec ecx
        jnz .poll
        stc
        ret
.seen:
        clc
        ret

int17_body:
        enter_service
        sti
        call bda
        mov dx,[bp+r_dx]
        cmp dx,2
        ja .bad
        mov bx,dx
        mov cl,[bx+b_lpttimeout]
        shl bx,1
        mov dx,[bx+b_lpt]
        or dx,dx
        jz .bad
        mov ah,[bp+r_ah]
        or ah,ah
        jz .print
        dec ah
        jz .initialize
        dec ah
        jz .status
.bad:
        set_carry
        leave_service
.print:
        mov al,[bp+r_al]
        out dx,al
        inc dx
        movzx ecx,cl
        inc ecx
        shl ecx,12
.busy:
        in al,dx
        test al,0x80
        jnz .ready
        call delay15
        dec ecx
        jnz .busy
        dec dx
        mov bl,1
        jmp .answer
.ready:
        inc dx
        mov al,0x0d
        out dx,al
        call delay15
        mov al,0x0c
        out dx,al
        sub dx,2
        jmp .status
.initialize:
        add dx,2
        mov al,0x08
        out dx,al
        call delay15
        mov al,0x0c
        out dx,al
        sub dx,2
.status:
        mov bl,0
.answer:
        inc dx
        in al,dx
        xor al,0x48
        and al,0xf8
        or al,bl
        mov [bp+r_ah],al
        clear_carry
        leave_service

; Print screen: the text page goes to the first printer
int05_body:
        enter_service
        sti
        call bda
        cmp byte [0x100],1
        je .done
        mov byte [0x100],1
        mov ah,3
        mov bh,[b_page]
        int 0x10
        push dx
        call .line
        xor dx,dx
.cell:
        mov ah,2
        mov bh,[b_page]
        int 0x10
        mov ah,8
        int 0x10
        or al,al
        jnz .visible
        mov al,' '
.visible:
        call .put
        jc .failed
        inc dl
        cmp dl,[b_columns]
        jb .cell
        call .line
        jc .failed
        mov dl,0
        inc dh
        mov al,[b_rows]
        cmp dh,al
        jbe .cell
        mov byte [0x100],0
        jmp .restore
.failed:
        mov byte [0x100],0xff
.restore:
        pop dx
        mov ah,2
        mov bh,[b_page]
        int 0x10
.done:
        leave_service
.line:
        mov al,13
        call .put
        jc .returned
        mov al,10
.put:
        push dx
        xor dx,dx
        mov ah,0
        int 0x17
        pop dx
        test ah,0x29
        jz .returned
        stc
.returned:
        ret
