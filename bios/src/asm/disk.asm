; Hard disks and CD drives: ATA and ATAPI by PIO, INT 13h, El Torito, INT 19h.

; An entry of the drive table
d_type          equ 0           ; 0 none, 1 disk, 2 CD
d_flags         equ 1           ; 1 LBA, 2 LBA48
d_io            equ 2
d_control       equ 4
d_select        equ 6
d_sectors       equ 8           ; 8 bytes
d_pcylinders    equ 16
d_pheads        equ 18
d_pspt          equ 20
d_cylinders     equ 22
d_heads         equ 24
d_spt           equ 26
DRIVE_SIZE      equ 32

x_lba           equ e_scratch
x_count         equ e_scratch+8         ; sectors still to move
x_op            equ e_scratch+10        ; 0 read, 1 write, 2 verify
x_done          equ e_scratch+12
x_chunk         equ e_scratch+14
x_skip          equ e_scratch+16
x_take          equ e_scratch+18
x_limit         equ e_scratch+20

; Status once BSY is clear, DX = I/O base: AL; carry after five seconds. SI preserved.
ata_wait:
        push ecx
        push dx
        add dx,7
        mov cx,256
.fast:
        in al,dx
        test al,0x80
        jz .free
        loop .fast
        mov ecx,330000
.slow:
        call delay15
        in al,dx
        test al,0x80
        jz .free
        dec ecx
        jnz .slow
        pop dx
        pop ecx
        stc
        ret
.free:
        pop dx
        pop ecx
        clc
        ret

; Waits for DRQ; carry on error or time-out
ata_data:
        call ata_wait
        jc .end
        test al,0x21
        jnz .bad
        test al,8
        jz .bad
        clc
.end:
        ret
.bad:
        stc
        ret

ata_select:
        mov dx,[si+d_io]
        call ata_wait
        jc .end
        mov al,[si+d_select]
        add dx,6
        out dx,al
        mov dx,[si+d_control]
        in al,dx
        in al,dx
        in al,dx
        in al,dx
        mov dx,[si+d_io]
        jmp ata_wait
.end:
        ret

ata_init:
        call ebda
        mov si,e_drives
        mov bx,.channels
.channel:
        mov dx,[cs:bx]
        or dx,dx
        jz .done
        call ata_channel
        add si,2*DRIVE_SIZE
        add bx,4
        jmp .channel
.done:
        call bda
        push ds
        call ebda
        mov al,[e_hdcount]
        pop ds
        mov [b_hdcount],al
        ret
.channels:
        dw 0x1f0,0x3f6,0x170,0x376,0

ata_channel:
        mov ax,[cs:bx+2]
        mov [si+d_io],dx
        mov [si+DRIVE_SIZE+d_io],dx
        mov [si+d_control],ax
        mov [si+DRIVE_SIZE+d_control],ax
        mov byte [si+d_select],0xa0
        mov byte [si+DRIVE_SIZE+d_select],0xb0
        add dx,7
        in al,dx
        cmp al,0xff             ; a floating bus: no channel
        je .none
        ; the registers of a present drive hold what was written
        sub dx,1
        mov al,0xa0
        out dx,al
        call delay15
        call .probe
        je .present
        mov al,0xb0
        add dx,4
        out dx,al
        call delay15
        call .probe
        jne .none
.present:
        mov dx,[si+d_control]
        mov al,0x0e
        out dx,al
        call delay15
        mov al,0x0a
        out dx,al
        mov cx,2
        call delay_ms
        mov dx,[si+d_io]
        call ata_wait
        jc .none
        push si
        push bx
        call ata_drive
        add si,DRIVE_SIZE
        call ata_drive
        pop bx
        pop si
.none:
        ret
.probe:
        mov dx,[si+d_io]
        add dx,2
        mov al,0x55
        out dx,al
        inc dx
        mov al,0xaa
        out dx,al
        in al,dx
        dec dx
        mov ah,al
        in al,dx
        cmp ax,0xaa55
        ret

ata_drive:
        call ata_select
        jc .none
        mov bl,al
        cmp al,0x7f
        je .none
        add dx,4
        in al,dx
        mov ah,al
        inc dx
        in al,dx
        xchg al,ah
        mov cl,0xec
        mov ch,1
        cmp ax,0xeb14           ; the signature of a packet device, whose status is 0 after a reset
        jne .disk
        mov cl,0xa1
        mov ch,2
        jmp .identify
.disk:
        or ax,ax
        jnz .none
        or bl,bl
        jz .none
.identify:
        mov dx,[si+d_io]
        add dx,7
        mov al,cl
        out dx,al
        sub dx,7
        call delay15
        push cx
        call ata_data
        pop cx
        jc .none
        push ds
        pop es
        mov di,e_sector
        push cx
        mov cx,256
        rep insw
        pop cx
        mov [si+d_type],ch
        cmp ch,2
        je .cd
        mov ax,[e_sector+2]
        mov [si+d_pcylinders],ax
        mov ax,[e_sector+6]
        mov [si+d_pheads],ax
        mov ax,[e_sector+12]
        mov [si+d_pspt],ax
        mov byte [si+d_flags],0
        movzx eax,word [e_sector+2]
        movzx ecx,word [e_sector+6]
        mul ecx
        movzx ecx,word [e_sector+12]
        mul ecx
        xor edx,edx
        test byte [e_sector+99],2
        jz .sized
        or byte [si+d_flags],1
        mov eax,[e_sector+120]
        test byte [e_sector+167],4
        jz .sized
        or byte [si+d_flags],2
        mov eax,[e_sector+200]
        mov edx,[e_sector+204]
.sized:
        mov [si+d_sectors],eax
        mov [si+d_sectors+4],edx
        or eax,eax
        jz .none_typed
        call disk_geometry
        movzx bx,byte [e_hdcount]
        mov ax,si
        sub ax,e_drives
        shr ax,5
        mov [bx+e_hdmap],al
        inc byte [e_hdcount]
        call disk_table
.none:
        ret
.none_typed:
        mov byte [si+d_type],0
        ret
.cd:
        movzx bx,byte [e_cdtotal]
        mov ax,si
        sub ax,e_drives
        shr ax,5
        mov [bx+e_cdmap],al
        inc byte [e_cdtotal]
        ret

; Logical geometry: as it is up to 1024 cylinders, else LBA-assisted translation
disk_geometry:
        mov ax,[si+d_pcylinders]
        mov cx,[si+d_pheads]
        mov dx,[si+d_pspt]
        cmp ax,1024
        ja .translate
        or ax,ax
        jz .translate
        or cx,cx
        jz .translate
        or dx,dx
        jnz .store
.translate:
        mov eax,[si+d_sectors]
        cmp dword [si+d_sectors+4],0
        jne .largest
        xor edx,edx
        mov ecx,63
        div ecx
        mov ebx,eax             ; tracks
        mov cx,16
.heads:
        movzx ecx,cx
        mov eax,ebx
        xor edx,edx
        div ecx
        cmp eax,1024
        jbe .fits
        cmp cx,255
        je .largest
        shl cx,1
        cmp cx,256
        jne .heads
        mov cx,255
        jmp .heads
.largest:
        mov ax,1024
        mov cx,255
.fits:
        mov dx,63
.store:
        mov [si+d_cylinders],ax
        mov [si+d_heads],cx
        mov [si+d_spt],dx
        ret

; Fixed disk parameter tables of the first two disks (INT 41h and 46h)
disk_table:
        mov di,e_fdpt0
        cmp byte [e_hdcount],1
        je .fill
        mov di,e_fdpt1
        cmp byte [e_hdcount],2
        jne .end
.fill:
        mov ax,[si+d_cylinders]
        mov [di],ax
        mov al,[si+d_heads]
        mov [di+2],al
        mov byte [di+3],0xa0
        mov ax,[si+d_pcylinders]
        mov [di+9],ax
        mov al,[si+d_pheads]
        mov [di+11],al
        mov byte [di+8],0xc0
        mov al,[si+d_pspt]
        mov [di+4],al
        mov al,[si+d_spt]
        mov [di+14],al
        ; checksum over the translated form
        xor al,al
        mov cx,15
        push di
.sum:
        add al,[di]
        inc di
        loop .sum
        neg al
        mov [di],al
        pop di
.end:
        ret

; Moves x_count sectors from x_lba of drive SI to or from ES:BX; carry and AH: error
disk_transfer:
        mov word [x_done],0
.chunk:
        mov cx,[x_count]
        or cx,cx
        jz .ok
        ; buffer as close to its segment as can be
        mov ax,bx
        shr ax,4
        mov dx,es
        add dx,ax
        mov es,dx
        and bx,15
        ; the end of the medium
        mov eax,[x_lba]
        mov edx,[x_lba+4]
        movzx edi,cx
        add eax,edi
        adc edx,0
        cmp edx,[si+d_sectors+4]
        ja .past
        jb .inside
        cmp eax,[si+d_sectors]
        ja .past
.inside:
        cmp cx,128
        jbe .small
        mov cx,128
.small:
        mov [x_chunk],cx
        call ata_select
        jc .timeout
        mov dx,[si+d_control]
        mov al,0x0a
        out dx,al
        call disk_address
        mov dx,[si+d_io]
        add dx,7
        out dx,al
        sub dx,7
        call delay_short
        mov cx,[x_chunk]
        cmp byte [x_op],2
        je .verify
.sector:
        call ata_data
        jc .failed
        push cx
        mov cx,256
        cmp byte [x_op],0
        jne .write
        mov di,bx
        rep insw
        jmp .moved
.write:
        push si
        push ds
        mov si,bx
        push es
        pop ds
        rep outsw
        pop ds
        pop si
.moved:
        pop cx
        mov ax,es
        add ax,0x20
        mov es,ax
        inc word [x_done]
        dec word [x_count]
        loop .sector
.verified:
        call ata_wait
        jc .timeout
        test al,0x21
        jnz .failed
        movzx eax,word [x_chunk]
        add [x_lba],eax
        adc dword [x_lba+4],0
        jmp .chunk
.verify:
        sub [x_count],cx
        add [x_done],cx
        jmp .verified
.ok:
        mov ah,0
        clc
        ret
.past:
        mov ah,0x04
        stc
        ret
.timeout:
        mov ah,0x80
        stc
        ret
.failed:
        mov ah,0x20
        inc dx
        in al,dx
        test al,0x10
        jz .no_id
        mov ah,0x04
.no_id:
        test al,0x40
        jz .no_ecc
        mov ah,0x10
.no_ecc:
        stc
        ret

; 400 ns for the status to become valid
delay_short:
        push ax
        push dx
        mov dx,[si+d_control]
        in al,dx
        in al,dx
        in al,dx
        in al,dx
        pop dx
        pop ax
        ret

; Task file for x_lba and x_chunk of drive SI; AL := command
disk_address:
        mov dx,[si+d_io]
        add dx,2
        mov eax,[x_lba]
        test byte [si+d_flags],1
        jz .chs
        movzx ecx,word [x_chunk]
        add ecx,eax
        jc .wide
        cmp dword [x_lba+4],0
        jne .wide
        cmp ecx,0x10000000
        jb .narrow
.wide:
        mov al,[x_chunk+1]
        out dx,al
        inc dx
        mov al,[x_lba+3]
        out dx,al
        inc dx
        mov al,[x_lba+4]
        out dx,al
        inc dx
        mov al,[x_lba+5]
        out dx,al
        sub dx,3
        mov al,[x_chunk]
        out dx,al
        mov eax,[x_lba]
        inc dx
        out dx,al
        inc dx
        shr eax,8
        out dx,al
        inc dx
        shr eax,8
        out dx,al
        inc dx
        mov al,[si+d_select]
        or al,0x40
        out dx,al
        movzx di,byte [x_op]
        mov al,[cs:di+.wide_commands]
        ret
.narrow:
        push eax
        mov al,[x_chunk]
        out dx,al
        pop eax
        inc dx
        out dx,al
        inc dx
        shr eax,8
        out dx,al
        inc dx
        shr eax,8
        out dx,al
        inc dx
        shr eax,8
        and al,15
        or al,0x40
        or al,[si+d_select]
        out dx,al
        jmp .command
.chs:
        push dx
        xor edx,edx
        movzx ecx,word [si+d_pspt]
        div ecx
        mov bh,dl
        inc bh
        xor edx,edx
        movzx ecx,word [si+d_pheads]
        div ecx
        mov cl,dl               ; head; EAX cylinder
        pop dx
        push ax
        mov al,[x_chunk]
        out dx,al
        inc dx
        mov al,bh
        mov bh,0
        out dx,al
        pop ax
        inc dx
        out dx,al
        inc dx
        mov al,ah
        out dx,al
        inc dx
        mov al,cl
        or al,[si+d_select]
        out dx,al
.command:
        movzx di,byte [x_op]
        mov al,[cs:di+.commands]
        ret
.commands:      db 0x20,0x30,0x40
.wide_commands: db 0x24,0x34,0x42

; ---- ATAPI ---------------------------------------------------------------------------------------

; Sends the packet at e_packet to drive SI; data goes to ES:BX: x_skip words are dropped, x_take
; words kept, the rest dropped. Carry and AH on error.
packet_command:
        call ata_select
        jc .failed
        mov dx,[si+d_control]
        mov al,0x0a
        out dx,al
        mov dx,[si+d_io]
        inc dx
        mov al,0
        out dx,al
        add dx,3
        out dx,al
        inc dx
        mov al,8
        out dx,al
        add dx,2
        mov al,0xa0
        out dx,al
        sub dx,7
        call delay_short
        call ata_data
        jc .failed
        push si
        mov si,e_packet
        mov cx,6
        rep outsw
        pop si
        mov di,bx
.phase:
        call delay_short
        call ata_wait
        jc .failed
        test al,0x21
        jnz .failed
        test al,8
        jz .done
        push dx
        add dx,4
        in al,dx
        mov cl,al
        inc dx
        in al,dx
        mov ch,al
        pop dx
        shr cx,1
        jcxz .failed
.word:
        cmp word [x_skip],0
        je .keep
        in ax,dx
        dec word [x_skip]
        loop .word
        jmp .phase
.keep:
        mov ax,[x_take]
        or ax,ax
        jz .drop
        cmp ax,cx
        jbe .part
        mov ax,cx
.part:
        sub [x_take],ax
        sub cx,ax
        xchg ax,cx
        rep insw
        xchg ax,cx
        jcxz .phase
.drop:
        in ax,dx
        loop .drop
        jmp .phase
.done:
        mov ah,0
        clc
        ret
.failed:
        mov ah,0x20
        stc
        ret

; Block EAX of CD drive SI, words x_skip.. x_take of it, to ES:BX
cd_block:
        mov di,3
.again:
        pushad
        bswap eax
        mov [e_packet+2],eax
        mov word [e_packet],0x0028
        mov byte [e_packet+6],0
        mov word [e_packet+7],0x0100
        mov byte [e_packet+9],0
        mov word [e_packet+10],0
        mov cx,[x_skip]
        push cx
        mov cx,[x_take]
        push cx
        call packet_command
        pop cx
        mov [x_take],cx
        pop cx
        mov [x_skip],cx
        popad
        jnc .done
        dec di
        jnz .again
        mov ah,0x20
        stc
.done:
        ret

; Is a disc there and ready? Waits while it spins up, three seconds at most. Carry: no
cd_ready:
        mov di,200
.again:
        push di
        call .clear
        mov word [x_skip],0
        mov word [x_take],0
        call packet_command
        jnc .ready
        ; sense: 3Ah is "medium not present"
        call .clear
        mov byte [e_packet],0x03
        mov byte [e_packet+4],18
        mov word [x_skip],0
        mov word [x_take],9
        push ds
        pop es
        mov bx,e_sector
        call packet_command
        pop di
        jc .absent
        cmp byte [e_sector+12],0x3a
        je .absent
        cmp byte [e_sector+2],6 ; unit attention: ask again at once
        je .soon
        mov cx,15
        call delay_ms
.soon:
        dec di
        jnz .again
.absent:
        stc
        ret
.ready:
        pop di
        clc
        ret
.clear:
        mov dword [e_packet],0
        mov dword [e_packet+4],0
        mov dword [e_packet+8],0
        ret

; ---- INT 13h -------------------------------------------------------------------------------------

; SI := entry AL of the drive table
drive_entry:
        movzx si,al
        shl si,5
        add si,e_drives
        ret

int13_body:
        enter_service
        sti
        call ebda
        mov dl,[bp+r_dl]
        cmp byte [e_cdactive],2
        jne .real
        cmp byte [bp+r_ah],0x4b
        jae .real
        cmp dl,[e_cddrive]
        je emulated_service
        ; the emulated drive stands in front of those of its kind
        mov al,dl
        xor al,[e_cddrive]
        test al,0x80
        jnz .real
        cmp dl,0xe0
        jae .real
        dec dl
.real:
        cmp byte [bp+r_ah],0x4b
        je cd_emulation_service
        test dl,0x80
        jnz .disk
        call bda
        jmp floppy_service
.disk:
        cmp dl,0xe0
        jae .cd
        mov bl,dl
        and bx,0x7f
        cmp bl,[e_hdcount]
        jae .bad
        mov al,[bx+e_hdmap]
        call drive_entry
        jmp disk_service
.cd:
        mov bl,dl
        sub bl,0xe0
        mov bh,0
        cmp bl,[e_cdtotal]
        jae .bad
        mov al,[bx+e_cdmap]
        call drive_entry
        jmp cd_service
.bad:
        cmp byte [bp+r_ah],0x15
        jne .invalid
        mov byte [bp+r_ah],0
        clear_carry
        leave_service
.invalid:
        cmp byte [bp+r_ah],0x08
        jne .plain
        mov al,[e_hdcount]
        mov [bp+r_dl],al
        mov ah,7
        jmp disk_answer
.plain:
        mov ah,1
        jmp disk_answer

; Stores the status AH and returns
disk_answer:
        mov [bp+r_ah],ah
        push ds
        call bda
        mov [b_hdstatus],ah
        pop ds
        or ah,ah
        jnz .error
        clear_carry
        leave_service
.error:
        set_carry
        leave_service

disk_service:
        mov al,[bp+r_ah]
        cmp al,0x15
        ja .extensions
        movzx bx,al
        shl bx,1
        jmp [cs:bx+.table]
.table:
        dw .ok,.status,.read,.write,.verify,.ok,.bad,.bad,.parameters,.ok,.bad,.bad,.ok,.ok,.bad,.bad,.ready,.ok
        dw .bad,.bad,.ok,.type
.extensions:
        cmp al,0x41
        je .installed
        cmp al,0x42
        je .extended_read
        cmp al,0x43
        je .extended_write
        cmp al,0x44
        je .extended_verify
        cmp al,0x45
        je .lock
        cmp al,0x47
        je .ok
        cmp al,0x48
        je edd_parameters
        cmp al,0x49
        je .unchanged
        cmp al,0x4e
        je .ok
.bad:
        mov ah,1
        jmp disk_answer
.lock:
        mov byte [bp+r_al],0
.unchanged:
.ok:
        mov ah,0
        jmp disk_answer
.status:
        push ds
        call bda
        mov ah,[b_hdstatus]
        mov byte [b_hdstatus],0
        pop ds
        mov [bp+r_ah],ah
        or ah,ah
        jnz .status_error
        clear_carry
        leave_service
.status_error:
        set_carry
        leave_service
.ready:
        call ata_select
        mov ah,0xaa
        jc disk_answer
        test al,0x40
        jz disk_answer
        jmp .ok
.type:
        mov ecx,[si+d_sectors]
        cmp dword [si+d_sectors+4],0
        je .type_fits
        mov ecx,0xffffffff
.type_fits:
        mov [bp+r_dx],cx
        shr ecx,16
        mov [bp+r_cx],cx
        mov byte [bp+r_ah],3
        clear_carry
        leave_service
.parameters:
        mov ax,[si+d_cylinders]
        dec ax
        mov [bp+r_ch],al
        shl ah,6
        mov al,[si+d_spt]
        and al,0x3f
        or al,ah
        mov [bp+r_cl],al
        mov al,[si+d_heads]
        dec al
        mov [bp+r_dh],al
        mov al,[e_hdcount]
        mov [bp+r_dl],al
        mov byte [bp+r_al],0
        jmp .ok
.read:
        mov byte [x_op],0
        jmp .chs
.write:
        mov byte [x_op],1
        jmp .chs
.verify:
        mov byte [x_op],2
.chs:
        mov al,[bp+r_al]
        or al,al
        jz .bad
        mov ah,0
        mov [x_count],ax
        ; LBA = (cylinder * heads + head) * sectors + sector - 1
        mov al,[bp+r_ch]
        mov ah,[bp+r_cl]
        shr ah,6
        cmp ax,[si+d_cylinders]
        jae .bad
        movzx eax,ax
        movzx ecx,byte [bp+r_dh]
        cmp cx,[si+d_heads]
        jae .bad
        movzx edx,word [si+d_heads]
        imul eax,edx
        add eax,ecx
        movzx edx,word [si+d_spt]
        imul eax,edx
        movzx ecx,byte [bp+r_cl]
        and cl,0x3f
        jz .bad
        cmp cx,dx
        ja .bad
        dec ecx
        add eax,ecx
        mov [x_lba],eax
        mov dword [x_lba+4],0
        mov es,[bp+r_es]
        mov bx,[bp+r_bx]
        call disk_transfer
        mov al,[x_done]
        mov [bp+r_al],al
        jmp disk_answer
.installed:
        cmp word [bp+r_bx],0x55aa
        jne .bad
        mov word [bp+r_bx],0xaa55
        mov byte [bp+r_ah],0x30
        mov word [bp+r_cx],0x0007
        clear_carry
        leave_service
.extended_read:
        mov byte [x_op],0
        jmp .extended
.extended_write:
        mov byte [x_op],1
        jmp .extended
.extended_verify:
        mov byte [x_op],2
.extended:
        call edd_packet
        jc .bad
        call disk_transfer
        push ax
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        mov ax,[x_done]
        mov [es:di+2],ax
        pop ax
        jmp disk_answer

; Reads the address packet at the caller's DS:SI: x_lba, x_count, ES:BX; carry: malformed
edd_packet:
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        cmp byte [es:di],16
        jb .bad
        cmp dword [es:di+4],0xffffffff  ; a 64-bit address follows: not supported
        je .bad
        mov ax,[es:di+2]
        mov [x_count],ax
        mov eax,[es:di+8]
        mov [x_lba],eax
        mov eax,[es:di+12]
        mov [x_lba+4],eax
        les bx,[es:di+4]
        clc
        ret
.bad:
        stc
        ret

; Drive parameters (EDD 1.1 and the interface extension of EDD 2)
edd_parameters:
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        mov cx,[es:di]
        cmp cx,26
        jb disk_service.bad
        mov word [es:di],26
        cmp byte [si+d_type],2
        je .cd
        mov word [es:di+2],2
        movzx eax,word [si+d_pcylinders]
        mov [es:di+4],eax
        movzx eax,word [si+d_pheads]
        mov [es:di+8],eax
        movzx eax,word [si+d_pspt]
        mov [es:di+12],eax
        mov eax,[si+d_sectors]
        mov [es:di+16],eax
        mov eax,[si+d_sectors+4]
        mov [es:di+20],eax
        mov word [es:di+24],512
        jmp .interface
.cd:
        mov word [es:di+2],0x74
        mov eax,0xffffffff
        mov [es:di+4],eax
        mov [es:di+8],eax
        mov [es:di+12],eax
        mov [es:di+16],eax
        mov [es:di+20],eax
        mov word [es:di+24],2048
.interface:
        cmp cx,30
        jb .done
        mov word [es:di],30
        mov word [es:di+26],e_edd
        mov [es:di+28],ds
        mov ax,[si+d_io]
        mov [e_edd],ax
        mov ax,[si+d_control]
        mov [e_edd+2],ax
        mov al,[si+d_select]
        or al,0x40
        mov [e_edd+4],al
        mov byte [e_edd+5],0xcb
        mov al,14
        cmp word [si+d_io],0x1f0
        je .irq
        inc al
.irq:
        mov [e_edd+6],al
        mov byte [e_edd+7],1
        mov byte [e_edd+8],0
        mov byte [e_edd+9],0
        mov word [e_edd+10],0x0010
        cmp byte [si+d_type],2
        jne .extension
        or word [e_edd+10],0x0060
.extension:
        mov word [e_edd+12],0
        mov byte [e_edd+14],0x11
        mov bx,e_edd
        xor al,al
        mov cx,15
.sum:
        add al,[bx]
        inc bx
        loop .sum
        neg al
        mov [e_edd+15],al
.done:
        mov ah,0
        jmp disk_answer

cd_service:
        mov al,[bp+r_ah]
        cmp al,0x41
        je disk_service.installed
        cmp al,0x42
        je .read
        cmp al,0x44
        je .ok
        cmp al,0x47
        je .ok
        cmp al,0x48
        je edd_parameters
        cmp al,0x43
        je .protected
        cmp al,0x15
        je .type
        cmp al,0x01
        je disk_service.status
        cmp al,0
        je .ok
        cmp al,0x09
        je .ok
        cmp al,0x0c
        je .ok
        cmp al,0x0d
        je .ok
        cmp al,0x10
        je .ok
        cmp al,0x11
        je .ok
        cmp al,0x14
        je .ok
        mov ah,1
        jmp disk_answer
.type:
        mov byte [bp+r_ah],2
        clear_carry
        leave_service
.protected:
        mov ah,3
        jmp disk_answer
.ok:
        mov ah,0
        jmp disk_answer
.read:
        call edd_packet
        jc disk_service.bad
        mov word [x_done],0
.block:
        cmp word [x_count],0
        je .finished
        mov ax,bx
        shr ax,4
        mov dx,es
        add dx,ax
        mov es,dx
        and bx,15
        mov word [x_skip],0
        mov word [x_take],1024
        mov eax,[x_lba]
        call cd_block
        jc .failed
        inc dword [x_lba]
        inc word [x_done]
        dec word [x_count]
        add bx,2048
        jmp .block
.finished:
        mov ah,0
.failed:
        push ax
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        mov ax,[x_done]
        mov [es:di+2],ax
        pop ax
        jmp disk_answer

; The diskette or disk that the boot CD stands in for
emulated_service:
        mov al,[bp+r_ah]
        cmp al,0x02
        je .read
        cmp al,0x03
        je cd_service.protected
        cmp al,0x04
        je .ok
        cmp al,0x08
        je .parameters
        cmp al,0x15
        je .type
        cmp al,0x01
        je disk_service.status
        cmp al,0x41
        je .extensions
        cmp al,0x42
        je .extended
        cmp al,0x44
        je .ok
        cmp al,0x48
        je .edd
        cmp al,0x05
        je cd_service.protected
        cmp al,0x14
        jbe .ok
.bad:
        mov ah,1
        jmp disk_answer
.ok:
        mov ah,0
        jmp disk_answer
.type:
        mov byte [bp+r_ah],1
        test byte [e_cddrive],0x80
        jz .typed
        mov byte [bp+r_ah],3
        mov ax,[e_cdsectors]
        mov [bp+r_dx],ax
        mov ax,[e_cdsectors+2]
        mov [bp+r_cx],ax
.typed:
        clear_carry
        leave_service
.extensions:
        test byte [e_cddrive],0x80
        jz .bad
        jmp disk_service.installed
.edd:
        test byte [e_cddrive],0x80
        jz .bad
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        cmp word [es:di],26
        jb .bad
        mov word [es:di],26
        mov word [es:di+2],2
        movzx eax,word [e_cdcylinders]
        mov [es:di+4],eax
        movzx eax,word [e_cdheads]
        mov [es:di+8],eax
        movzx eax,word [e_cdspt]
        mov [es:di+12],eax
        mov eax,[e_cdsectors]
        mov [es:di+16],eax
        mov dword [es:di+20],0
        mov word [es:di+24],512
        jmp .ok
.parameters:
        mov ax,[e_cdcylinders]
        dec ax
        mov [bp+r_ch],al
        shl ah,6
        mov al,[e_cdspt]
        or al,ah
        mov [bp+r_cl],al
        mov al,[e_cdheads]
        dec al
        mov [bp+r_dh],al
        mov byte [bp+r_dl],1
        mov byte [bp+r_al],0
        test byte [e_cddrive],0x80
        jnz .hard
        mov byte [bp+r_bl],4
        mov word [bp+r_di],0xefc7
        mov word [bp+r_es],0xf000
        jmp .ok
.hard:
        mov al,[e_hdcount]
        inc al
        mov [bp+r_dl],al
        jmp .ok
.extended:
        test byte [e_cddrive],0x80
        jz .bad
        call edd_packet
        jc .bad
        jmp .move
.read:
        mov al,[bp+r_al]
        or al,al
        jz .bad
        mov ah,0
        mov [x_count],ax
        mov al,[bp+r_ch]
        mov ah,[bp+r_cl]
        shr ah,6
        movzx eax,ax
        movzx ecx,word [e_cdheads]
        imul eax,ecx
        movzx ecx,byte [bp+r_dh]
        add eax,ecx
        movzx ecx,word [e_cdspt]
        imul eax,ecx
        movzx ecx,byte [bp+r_cl]
        and cl,0x3f
        jz .bad
        dec ecx
        add eax,ecx
        mov [x_lba],eax
        mov es,[bp+r_es]
        mov bx,[bp+r_bx]
.move:
        mov al,[e_cdindex]
        call drive_entry
        mov word [x_done],0
.sector:
        cmp word [x_count],0
        je .finished
        mov ax,bx
        shr ax,4
        mov dx,es
        add dx,ax
        mov es,dx
        and bx,15
        mov eax,[x_lba]
        cmp eax,[e_cdsectors]
        jae .past
        mov cx,ax
        and cx,3
        shl cx,8
        mov [x_skip],cx
        ; as much of the block as is wanted
        mov dx,1024
        sub dx,cx
        mov cx,[x_count]
        cmp cx,4
        jae .whole
        shl cx,8
        cmp cx,dx
        jae .whole
        mov dx,cx
.whole:
        mov [x_take],dx
        shr eax,2
        add eax,[e_cdlba]
        push dx
        call cd_block
        pop dx
        jc .error
        add bx,dx
        add bx,dx
        shr dx,8
        sub [x_count],dx
        add [x_done],dx
        movzx edx,dx
        add [x_lba],edx
        jmp .sector
.past:
        mov ah,4
        jmp .error
.finished:
        mov ah,0
.error:
        cmp byte [bp+r_ah],0x42
        je .packet
        mov al,[x_done]
        mov [bp+r_al],al
        jmp disk_answer
.packet:
        push ax
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        mov ax,[x_done]
        mov [es:di+2],ax
        pop ax
        jmp disk_answer

; AH = 4Bh: end the emulation or tell its state (El Torito 1.0, section 4)
cd_emulation_service:
        cmp byte [e_cdactive],0
        je .bad
        cmp byte [bp+r_al],1
        ja .bad
        mov es,[bp+r_ds]
        mov di,[bp+r_si]
        mov byte [es:di],0x13
        mov al,[e_cdmedia]
        mov [es:di+1],al
        mov al,[e_cddrive]
        mov [es:di+2],al
        mov al,[e_cdindex]
        mov ah,al
        shr al,1
        mov [es:di+3],al
        mov eax,[e_cdlba]
        mov [es:di+4],eax
        mov al,[e_cdindex]
        and al,1
        mov ah,0
        mov [es:di+8],ax
        mov word [es:di+10],0
        mov ax,[e_cdsegment]
        mov [es:di+12],ax
        mov ax,[e_cdcount]
        mov [es:di+14],ax
        mov ax,[e_cdcylinders]
        mov [es:di+16],al
        shl ah,6
        mov al,[e_cdspt]
        or al,ah
        mov [es:di+17],al
        mov al,[e_cdheads]
        mov [es:di+18],al
        cmp byte [bp+r_al],0
        jne .keep
        cmp byte [e_cdactive],2
        jne .keep
        mov byte [e_cdactive],1
.keep:
        mov ah,0
        jmp disk_answer
.bad:
        mov ah,1
        jmp disk_answer

; ---- Boot ----------------------------------------------------------------------------------------

floppy_text     db "Booting from floppy...",13,10,0
disk_text       db "Booting from hard disk...",13,10,0
cd_text         db "Booting from CD...",13,10,0
network_text    db "Booting from network...",13,10,0
failed_text     db "Boot failed.",13,10,0
nothing_text    db "No bootable device.",13,10,0

int19_body:
        cli
        xor ax,ax
        mov ss,ax
        mov sp,0x7a00
        sti
        cld
        mov al,0x3d
        call cmos_read
        mov bl,al
        mov al,0x38
        call cmos_read
        and al,0xf0
        mov bh,al
        call ebda
        ; three nibbles: 3Dh low, 3Dh high, 38h high
        movzx ax,bl
        and al,0x0f
        mov cl,bl
        and cl,0xf0
        or al,cl
        mov ah,bh
        shr ah,4
        mov [e_bootorder],ax
        or ax,ax
        jnz .chosen
        mov word [e_bootorder],0x0321
.chosen:
        mov cx,3
.device:
        push cx
        mov ax,[e_bootorder]
        shr word [e_bootorder],4
        and al,0x0f
        cmp al,1
        je .floppy
        cmp al,2
        je .disk
        cmp al,3
        je .cd
        cmp al,4
        je .network
.next:
        call ebda
        pop cx
        loop .device
        int 0x18
.floppy:
        call bda
        test byte [b_equipment],1
        jz .next
        mov si,floppy_text
        call print
        mov dl,0
        jmp .sector
.disk:
        cmp byte [e_hdcount],0
        je .next
        mov si,disk_text
        call print
        mov dl,0x80
.sector:
        mov di,4
.again:
        xor ax,ax
        mov es,ax
        mov bx,0x7c00
        mov ax,0x0201
        mov cx,1
        mov dh,0
        int 0x13
        jnc .loaded
        cmp ah,6
        je .retry
        cmp ah,0x80
        je .failed
        push ax
        mov ah,0
        int 0x13
        pop ax
.retry:
        dec di
        jnz .again
.failed:
        mov si,failed_text
        call print
        jmp .next
.loaded:
        cmp dl,0x80
        jae .signature
        push dx
        mov al,0x38
        call cmos_read
        pop dx
        test al,1
        jnz .enter
.signature:
        xor ax,ax
        mov es,ax
        cmp word [es:0x7dfe],0xaa55
        jne .failed
.enter:
        mov bx,0x7c00
        xor ax,ax
        jmp boot_enter
.network:
        cmp dword [e_bev],0
        je .next
        mov si,network_text
        call print
        mov di,pnp_header       ; ES:DI: the PnP header
        mov ax,0xf000
        mov es,ax
        sti
        call far [e_bev]
        cli
        xor ax,ax
        mov ss,ax
        mov sp,0x7a00-2         ; the count of devices lies there
        sti
        cld
        jmp .next
.cd:
        cmp byte [e_cdtotal],0
        je .next
        mov byte [e_cdactive],0
        mov bx,0
.cd_drive:
        push bx
        mov al,[bx+e_cdmap]
        mov [e_cdindex],al
        mov [e_cddrive],bl
        add byte [e_cddrive],0xe0
        call cd_boot
        pop bx
        inc bx
        cmp bl,[e_cdtotal]
        jb .cd_drive
        jmp .next


boot_enter:
        ; AX:BX is the entry, DL the drive
        mov bp,0
        push ax
        push bx
        xor ax,ax
        mov ds,ax
        mov es,ax
        mov bx,ax
        mov cx,ax
        mov si,ax
        mov di,pnp_header       ; ES:DI: the PnP header
        mov cx,0xf000
        mov es,cx
        xor cx,cx
        mov ax,0xaa55
        sti
        retf
; Boots from the CD of e_cdindex, or returns
cd_boot:
        mov al,[e_cdindex]
        call drive_entry
        call cd_ready
        jc .return
        mov si,cd_text
        call print
        mov al,[e_cdindex]
        call drive_entry
        ; boot record volume descriptor, block 17; its catalog's first two entries
        mov eax,17
        call .head
        jc .failed
        cmp dword [e_sector+1],0x30304443       ; CD001
        jne .failed
        cmp dword [e_sector+7],0x54204c45       ; EL TORITO SPECIFICATION
        jne .failed
        mov eax,[e_sector+0x47]
        call .head
        jc .failed
        cmp byte [e_sector],1
        jne .failed
        cmp word [e_sector+30],0xaa55
        jne .failed
        cmp byte [e_sector+32],0x88
        jne .failed
        mov al,[e_sector+33]
        and al,0x0f
        cmp al,4
        ja .failed
        mov [e_cdmedia],al
        mov ax,[e_sector+34]
        or ax,ax
        jnz .segment
        mov ax,0x07c0
.segment:
        mov [e_cdsegment],ax
        mov ax,[e_sector+38]
        mov [e_cdcount],ax
        mov eax,[e_sector+40]
        mov [e_cdlba],eax
        ; load: sectors of 512 bytes in blocks of 2048
        mov cx,[e_cdcount]
        add cx,3
        shr cx,2
        jnz .some
        inc cx
.some:
        mov es,[e_cdsegment]
        mov eax,[e_cdlba]
.block:
        push cx
        xor bx,bx
        mov word [x_skip],0
        mov word [x_take],1024
        push eax
        call cd_block
        pop eax
        pop cx
        jc .failed
        inc eax
        mov dx,es
        add dx,0x80
        mov es,dx
        loop .block
        mov byte [e_cdactive],1
        mov al,[e_cdmedia]
        or al,al
        jz .start
        ; emulation: geometry of the diskette, or from the first partition's end
        mov byte [e_cdactive],2
        cmp al,4
        je .hard
        movzx bx,al
        shl bx,1
        mov word [e_cdcylinders],80
        mov word [e_cdheads],2
        mov ax,[cs:bx+.spt]
        mov [e_cdspt],ax
        imul ax,ax,160
        movzx eax,ax
        mov [e_cdsectors],eax
        mov byte [e_cddrive],0
        push ds
        call bda
        test byte [b_equipment],1
        jz .first
        ; one drive more, the real first is the second now
        and byte [b_equipment],0x3f
        or byte [b_equipment],0x40
.first:
        or byte [b_equipment],1
        pop ds
        jmp .start
.hard:
        mov es,[e_cdsegment]
        mov al,[es:446+5]
        mov ah,0
        inc ax
        mov [e_cdheads],ax
        mov al,[es:446+6]
        and ax,0x3f
        mov [e_cdspt],ax
        mov ah,[es:446+6]
        shr ah,6
        mov al,[es:446+7]
        inc ax
        mov [e_cdcylinders],ax
        movzx eax,ax
        movzx ecx,word [e_cdheads]
        imul eax,ecx
        movzx ecx,word [e_cdspt]
        imul eax,ecx
        mov [e_cdsectors],eax
        mov byte [e_cddrive],0x80
        push ds
        call bda
        inc byte [b_hdcount]
        pop ds
.start:
        mov dl,[e_cddrive]
        mov ax,[e_cdsegment]
        xor bx,bx
        cmp ax,0x07c0
        jne boot_enter
        xor ax,ax
        mov bx,0x7c00
        jmp boot_enter
.failed:
        mov si,failed_text
        call print
.return:
        ret
.spt:   dw 0,15,18,36
; First 512 bytes of block EAX to e_sector
.head:
        push ds
        pop es
        mov bx,e_sector
        mov word [x_skip],0
        mov word [x_take],256
        jmp cd_block

int18:
        sti
        cld
        mov si,nothing_text
        call print
.idle:
        sti
        hlt
        jmp .idle
