; Diskettes: the 82077AA through DMA channel 2 and IRQ 6.

; Number of drives and their controller; BDA equipment word
floppy_init:
        call bda
        mov al,0x10
        call cmos_read
        mov ah,al
        shr al,4
        and ah,0x0f
        xor bl,bl
        or al,al
        jz .second
        inc bl
.second:
        or ah,ah
        jz .counted
        inc bl
.counted:
        and byte [b_equipment],0x3e
        or bl,bl
        jz .none
        dec bl
        shl bl,6
        or bl,1
        or [b_equipment],bl
        mov byte [b_fdtype],0x77
        call floppy_reset
.none:
        ret

irq6_body:
        push ds
        push ax
        call bda
        or byte [b_fdrecal],0x80
        mov al,0x20
        out 0x20,al
        pop ax
        pop ds
        iret

; AL := type (CMOS code) of drive DL; carry: none
floppy_type:
        mov al,0x10
        call cmos_read
        cmp dl,1
        ja .none
        je .second
        shr al,4
.second:
        and al,0x0f
        jz .none
        cmp al,5
        ja .none
        clc
        ret
.none:
        stc
        ret

; Waits for IRQ 6, two seconds by the tick count; carry: it did not come
floppy_interrupt:
        push ax
        push cx
        mov cx,[b_ticks]
.wait:
        cli
        test byte [b_fdrecal],0x80
        jnz .came
        mov ax,[b_ticks]
        sub ax,cx
        cmp ax,37
        ja .late
        call rest
        jmp .wait
.late:
        sti
        stc
        jmp .end
.came:
        and byte [b_fdrecal],0x7f
        sti
        clc
.end:
        pop cx
        pop ax
        ret

; AL to the controller; carry: it does not listen
floppy_out:
        push dx
        push cx
        push ax
        mov dx,0x3f4
        mov cx,700
.wait:
        in al,dx
        and al,0xc0
        cmp al,0x80
        je .ready
        call delay15
        loop .wait
        pop ax
        pop cx
        pop dx
        stc
        ret
.ready:
        inc dx
        pop ax
        out dx,al
        pop cx
        pop dx
        clc
        ret

; AL from the controller
floppy_in:
        push dx
        push cx
        mov dx,0x3f4
        mov cx,700
.wait:
        in al,dx
        and al,0xc0
        cmp al,0xc0
        je .ready
        call delay15
        loop .wait
        pop cx
        pop dx
        stc
        ret
.ready:
        inc dx
        in al,dx
        pop cx
        pop dx
        clc
        ret

; SENSE INTERRUPT STATUS: AL := ST0, AH := cylinder
floppy_sense:
        mov al,0x08
        call floppy_out
        jc .end
        call floppy_in
        jc .end
        push ax
        call floppy_in
        mov ah,al
        pop cx
        mov al,cl
.end:
        ret

floppy_reset:
        push dx
        push bx
        mov al,0x06             ; channel 2 stays quiet meanwhile
        out 0x0a,al
        and byte [b_fdrecal],0x70
        mov dx,0x3f2
        mov al,0x08
        out dx,al
        call delay15
        mov al,0x0c
        out dx,al
        and byte [b_fdmotor],0xf0
        call floppy_interrupt
        mov bx,4
        jc .failed
.sense:
        call floppy_sense
        jc .failed
        dec bx
        jnz .sense
        call floppy_specify
.failed:
        pop bx
        pop dx
        ret

floppy_specify:
        push es
        push si
        xor ax,ax
        mov es,ax
        les si,[es:0x1e*4]
        mov al,0x03
        call floppy_out
        mov al,[es:si]
        call floppy_out
        mov al,[es:si+1]
        and al,0xfe
        call floppy_out
        pop si
        pop es
        ret

; Motor of drive DL on
floppy_motor:
        push ax
        push cx
        push dx
        mov byte [b_fdtimeout],0xff
        mov cl,dl
        mov al,0x10
        shl al,cl
        or al,0x0c
        or al,dl
        mov dx,0x3f2
        out dx,al
        mov al,1
        shl al,cl
        and byte [b_fdmotor],0xf0
        or [b_fdmotor],al
        pop dx
        pop cx
        pop ax
        ret

; Head of drive DL to track 0
floppy_recalibrate:
        push cx
        mov cx,2
.again:
        and byte [b_fdrecal],0x7f
        mov al,0x07
        call floppy_out
        jc .failed
        mov al,dl
        call floppy_out
        jc .failed
        call floppy_interrupt
        jc .failed
        push cx
        call floppy_sense
        pop cx
        jc .failed
        test al,0x10            ; 77 steps were not enough
        jnz .more
        mov al,1
        mov cl,dl
        shl al,cl
        or [b_fdrecal],al
        mov bx,dx
        and bx,1
        mov byte [bx+b_fdtrack],0
        pop cx
        clc
        ret
.more:
        loop .again
.failed:
        pop cx
        stc
        ret

; Drive DL to cylinder CH
floppy_seek:
        push bx
        mov al,1
        mov cl,dl
        shl al,cl
        test [b_fdrecal],al
        jnz .known
        call floppy_recalibrate
        jc .failed
.known:
        mov bx,dx
        and bx,1
        cmp [bx+b_fdtrack],ch
        je .there
        and byte [b_fdrecal],0x7f
        mov al,0x0f
        call floppy_out
        jc .failed
        mov al,dl
        call floppy_out
        mov al,ch
        call floppy_out
        jc .failed
        call floppy_interrupt
        jc .failed
        push cx
        call floppy_sense
        pop cx
        jc .failed
        test al,0xc0
        jnz .failed
        mov [bx+b_fdtrack],ch
.there:
        pop bx
        clc
        ret
.failed:
        pop bx
        stc
        ret

; Is there a medium in drive DL? A change is noticed and cleared by stepping.
; Carry and AH: 6 changed, 80h none.
floppy_medium:
        push bx
        mov bx,dx
        and bx,1
        push dx
        mov dx,0x3f7
        in al,dx
        pop dx
        test al,0x80
        jz .same
        push cx
        mov ch,1
        call floppy_seek
        mov ch,0
        call floppy_seek
        call floppy_recalibrate
        pop cx
        push dx
        mov dx,0x3f7
        in al,dx
        pop dx
        mov ah,0x80
        test al,0x80
        jnz .bad
        mov ah,6
        mov al,[bx+b_fdmedia]
        and byte [bx+b_fdmedia],0xef
        test al,0x10
        jnz .bad
.same:
        pop bx
        clc
        ret
.bad:
        pop bx
        stc
        ret

int40_body:
        enter_service
        sti
        call bda
        mov dl,[bp+r_dl]
; DL: the drive, DS = BDA
floppy_service:
        call floppy_dispatch
        mov byte [b_fdtimeout],37
        mov [bp+r_ah],ah
        mov [b_fdstatus],ah
        or ah,ah
        jnz .error
        clear_carry
        leave_service
.error:
        set_carry
        leave_service

; Function AH of the frame, drive DL; AH := status
floppy_dispatch:
        movzx bx,byte [bp+r_ah]
        cmp bl,0x08
        jbe .low
        cmp bl,0x15
        je .kind
        cmp bl,0x16
        je .changed
        cmp bl,0x17
        je .media
        cmp bl,0x18
        je .media
.invalid:
        mov ah,1
        ret
.low:
        shl bx,1
        jmp [cs:bx+.table]
.table: dw .reset,.status,.read,.write,.verify,.format,.invalid,.invalid,.parameters
.absent:
        mov ah,0x80
        ret
.reset:
        call floppy_type
        jc .absent
        call floppy_reset
        mov ah,0x80
        jc .reset_end
        mov ah,0
.reset_end:
        ret
.status:
        mov ah,[b_fdstatus]
        ; the status stays; carry follows it
        ret
.kind:
        call floppy_type
        mov ah,0
        jc .kind_end
        mov byte [bp+r_ah],2
        pop ax                  ; AH is the answer, not a status
        mov byte [b_fdstatus],0
        clear_carry
        leave_service
.kind_end:
        pop ax
        mov byte [bp+r_ah],0
        clear_carry
        leave_service
.changed:
        call floppy_type
        jc .absent
        call floppy_motor
        mov dx,0x3f7
        in al,dx
        mov ah,0
        test al,0x80
        jz .changed_end
        mov ah,6
.changed_end:
        ret
.media:
        call floppy_type
        jc .absent
        xor ax,ax
        mov es,ax
        mov ax,[es:0x1e*4]
        mov [bp+r_di],ax
        mov ax,[es:0x1e*4+2]
        mov [bp+r_es],ax
        mov ah,0
        ret
.parameters:
        mov al,[b_equipment]
        mov ah,0
        test al,1
        jz .number
        shr al,6
        inc al
        mov ah,al
.number:
        mov byte [bp+r_dh],0
        mov [bp+r_dl],ah
        mov word [bp+r_ax],0
        mov word [bp+r_bx],0
        mov word [bp+r_cx],0
        call floppy_type
        mov ah,0
        jc .no_drive
        mov [bp+r_bl],al
        movzx bx,al
        shl bx,1
        mov cx,[cs:bx+.geometry]
        mov [bp+r_cx],cx
        mov byte [bp+r_dh],1
        xor ax,ax
        mov es,ax
        mov ax,[es:0x1e*4]
        mov [bp+r_di],ax
        mov ax,[es:0x1e*4+2]
        mov [bp+r_es],ax
.no_drive:
        mov ah,0
        ret
.geometry:
        dw 0,39<<8|9,79<<8|15,79<<8|9,79<<8|18,79<<8|36
.verify:
        mov al,0
        call floppy_ready
        jc .failed
        mov ch,[bp+r_ch]
        call floppy_seek
        mov ah,0x40
        jc .failed
        mov ah,0
        ret
.read:
        mov si,0xe646           ; command, DMA mode
        jmp .transfer
.write:
        mov si,0xc54a
.transfer:
        movzx ax,byte [bp+r_al]
        or al,al
        jz .invalid
        shl ax,9
        mov cx,ax
        dec cx
        call floppy_ready
        jc .failed
        call floppy_attempts
        jc .failed
        mov ah,0
        ret
.failed:
        mov byte [bp+r_al],0
        ret
.format:
        mov cl,[bp+r_al]
        movzx cx,cl
        shl cx,2
        dec cx
        mov si,0x4d4a
        call floppy_ready
        jc .failed
        call floppy_attempts
        jc .failed
        mov ah,0
        ret

; Drive there, motor on, medium in; carry and AH otherwise
floppy_ready:
        call floppy_type
        mov ah,0x80
        jc .end
        call floppy_motor
        push cx
        call floppy_rate_now
        pop cx
        jmp floppy_medium
.end:
        ret

; Data rate as remembered for drive DL, or the first of its type
floppy_rate_now:
        mov bx,dx
        and bx,1
        mov al,[bx+b_fdmedia]
        test al,0x10
        jnz .known
        call floppy_type
        mov ah,al
        mov al,0x00             ; 500 kbit/s
        cmp ah,5
        jne .not_ed
.not_ed:
        cmp ah,1
        je .low
        cmp ah,3
        jne .set
.low:
        mov al,0x80             ; 250 kbit/s
.set:
        mov [bx+b_fdmedia],al
.known:
        shr al,6
        push dx
        mov dx,0x3f7
        out dx,al
        pop dx
        ret

; Tries at up to four data rates until one works; SI, CX as for floppy_transfer
floppy_attempts:
        mov di,4
.next:
        push cx
        push si
        push di
        call floppy_transfer
        pop di
        pop si
        pop cx
        jnc .good
        mov bx,dx
        and bx,1
        test byte [bx+b_fdmedia],0x10
        jnz .failed
        cmp ah,3
        je .failed
        cmp ah,9
        je .failed
        cmp ah,0x80
        je .failed
        add byte [bx+b_fdmedia],0x40
        push ax
        call floppy_rate_set
        pop ax
        dec di
        jnz .next
.failed:
        stc
        ret
.good:
        mov bx,dx
        and bx,1
        mov al,[bx+b_fdmedia]
        and al,0xc0
        or al,0x17
        mov [bx+b_fdmedia],al
        clc
        ret
floppy_rate_set:
        mov al,[bx+b_fdmedia]
        shr al,6
        push dx
        mov dx,0x3f7
        out dx,al
        pop dx
        ret

; SI: command and DMA mode, CX: bytes minus one; carry and AH: error
floppy_transfer:
        ; physical address; a block must not cross 64 KiB
        movzx eax,word [bp+r_es]
        shl eax,4
        movzx ebx,word [bp+r_bx]
        add eax,ebx
        mov bx,ax
        add bx,cx
        mov ah,9
        jc .end
        movzx eax,word [bp+r_es]
        shl eax,4
        movzx ebx,word [bp+r_bx]
        add eax,ebx
        mov ebx,eax
        mov di,cx
        mov ch,[bp+r_ch]
        call floppy_seek
        mov ah,0x40
        jc .end
        cli
        mov al,0x06
        out 0x0a,al
        out 0x0c,al
        mov ax,si
        out 0x0b,al
        mov al,bl
        out 0x04,al
        mov al,bh
        out 0x04,al
        shr ebx,16
        mov al,bl
        out 0x81,al
        mov ax,di
        out 0x05,al
        mov al,ah
        out 0x05,al
        mov al,0x02
        out 0x0a,al
        sti
        and byte [b_fdrecal],0x7f
        push es
        xor ax,ax
        mov es,ax
        les di,[es:0x1e*4]
        mov ax,si
        mov al,ah
        call floppy_out
        jc .deaf
        mov al,[bp+r_dh]
        shl al,2
        or al,dl
        call floppy_out
        mov ax,si
        cmp ah,0x4d
        je .format
        mov al,[bp+r_ch]
        call floppy_out
        mov al,[bp+r_dh]
        call floppy_out
        mov al,[bp+r_cl]
        call floppy_out
        mov al,[es:di+3]
        call floppy_out
        mov al,[es:di+4]
        call floppy_out
        mov al,[es:di+5]
        call floppy_out
        mov al,[es:di+6]
        call floppy_out
        jmp .sent
.format:
        mov al,[es:di+3]
        call floppy_out
        mov al,[es:di+4]
        call floppy_out
        mov al,[es:di+7]
        call floppy_out
        mov al,[es:di+8]
        call floppy_out
.sent:
        jc .deaf
        pop es
        call floppy_interrupt
        jc .silent
        mov di,b_fdresult
        mov cx,7
.result:
        call floppy_in
        jc .silent
        mov [di],al
        inc di
        loop .result
        test byte [b_fdresult],0xc0
        jz .fine
        mov al,[b_fdresult+1]
        mov ah,0x04
        test al,0x84
        jnz .end_bad
        mov ah,0x03
        test al,2
        jnz .end_bad
        mov ah,0x10
        test al,0x20
        jnz .end_bad
        mov ah,0x08
        test al,0x10
        jnz .end_bad
        mov ah,0x02
        test al,1
        jnz .end_bad
        mov ah,0x20
.end_bad:
        stc
        ret
.fine:
        mov ah,0
        clc
.end:
        ret
.deaf:
        pop es
.silent:
        call floppy_reset
        mov ah,0x80
        stc
        ret
