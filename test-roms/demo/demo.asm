; A small interactive guest: a bootable floppy that shows what the machine is and can do.
;
; Text screen with moving colours, clock, mouse, keys; G shows graphics, T plays a tune, Escape
; switches the machine off. It uses the BIOS and runs on any PC with a 386 and a VGA.
; On COM1 and port E9h it says `demo: ready`, and `demo: ` with the name of what a key has begun.

bits 16
org 0x7c00

BACK     equ 0x2000             ; segment in which a text screen is put together
sine     equ 0xa000             ; 256 bytes, 0 to 255
COLUMNS  equ 80
LOGO_ROW equ 1
TOP      equ 11                 ; first row of the panel
ROWS     equ 13
LEFT     equ 5
WIDE     equ 70
INK      equ 0x70
STRONG   equ 0x71

start:
        cli
        xor ax,ax
        mov ds,ax
        mov es,ax
        mov ss,ax
        mov sp,0x7c00
        sti
        cld
        mov [drive],dl
        mov si,SECTORS
        mov bx,0x7e00
        mov cx,2
        xor dh,dh
.read:
        mov ax,0x0201
        mov dl,[drive]
        int 0x13
        jc .failed
        add bx,512
        inc cl
        cmp cl,19
        jb .more
        mov cl,1
        inc dh
        cmp dh,2
        jb .more
        xor dh,dh
        inc ch
.more:
        dec si
        jnz .read
        jmp main
.failed:
        mov si,read_error
.print:
        lodsb
        test al,al
        jz .stop
        mov ah,0x0e
        mov bx,7
        int 0x10
        jmp .print
.stop:
        cli
        hlt
        jmp .stop

drive:      db 0
read_error: db 'The floppy cannot be read.',0

        times 510-($-$$) db 0
        dw 0xaa55

; --- set-up ----------------------------------------------------------------------------------------

main:
        call make_sine
        call identify
        call text_mode
        call start_mouse
        mov ax,[0x46c]
        mov [born],ax
        mov si,ready
        call report
        jmp loop_text

; A parabola is near enough to a sine.
make_sine:
        xor bx,bx
.next:
        mov al,128
        sub al,bl
        mul bl
        shr ax,5
        cmp ax,127
        jbe .fits
        mov ax,127
.fits:
        mov ah,al
        add al,128
        mov [sine+bx],al
        mov al,127
        sub al,ah
        mov [sine+128+bx],al
        inc bx
        cmp bx,128
        jb .next
        ret

text_mode:
        mov ax,3
        int 0x10
        mov cx,0x2000           ; no cursor
        mov ah,1
        int 0x10
        mov ax,0x1003           ; sixteen background colours instead of blinking
        xor bx,bx
        int 0x10
        ret

identify:
        pushfd
        pop eax
        mov ecx,eax
        xor eax,0x200000
        push eax
        popfd
        pushfd
        pop eax
        xor eax,ecx
        test eax,0x200000
        jz .memory
        xor eax,eax
        cpuid
        mov [maker],ebx
        mov [maker+4],edx
        mov [maker+8],ecx
        mov byte [maker+12],0
        mov eax,1
        cpuid
        mov [signature],eax
.memory:
        mov ax,0xe801
        xor cx,cx
        xor dx,dx
        int 0x15
        jc .done
        movzx eax,ax
        movzx ebx,bx
        shl ebx,6
        add eax,ebx
        add eax,1024
        mov [kibibytes],eax
.done:
        ret

start_mouse:
        mov ax,0xc205
        mov bh,3
        int 0x15
        jc .none
        xor ax,ax
        mov es,ax
        mov bx,mouse_packet
        mov ax,0xc207
        int 0x15
        jc .none
        mov ax,0xc200
        mov bh,1
        int 0x15
        jc .none
        mov byte [has_mouse],1
.none:
        ret

; Called by the BIOS for each packet of the mouse.
mouse_packet:
        push bp
        mov bp,sp
        push ax
        push bx
        push ds
        xor ax,ax
        mov ds,ax
        mov bx,[bp+12]
        mov [buttons],bl
        mov al,[bp+10]
        xor ah,ah
        test bl,0x10
        jz .right
        mov ah,0xff
.right:
        add ax,[mouse_x]
        test ax,ax
        jns .not_left
        xor ax,ax
.not_left:
        cmp ax,639
        jle .not_far
        mov ax,639
.not_far:
        mov [mouse_x],ax
        mov al,[bp+8]
        xor ah,ah
        test bl,0x20
        jz .up
        mov ah,0xff
.up:
        neg ax
        add ax,[mouse_y]
        test ax,ax
        jns .not_above
        xor ax,ax
.not_above:
        cmp ax,399
        jle .not_below
        mov ax,399
.not_below:
        mov [mouse_y],ax
        pop ds
        pop bx
        pop ax
        pop bp
        retf

; --- the text screen -------------------------------------------------------------------------------

loop_text:
        call wait_tick
        call play
        call colours
        call logo
        call panel
        call pointer
        call show
        mov ah,1
        int 0x16
        jz loop_text
        xor ah,ah
        int 0x16
        mov [key],ax
        cmp al,27
        je switch_off
        or al,0x20
        cmp al,'c'
        je .colours
        cmp al,'g'
        je graphics
        cmp al,'t'
        je .tune
        jmp loop_text
.colours:
        mov ax,[palette]
        add ax,32
        cmp ax,3*32
        jb .set
        xor ax,ax
.set:
        mov [palette],ax
        mov si,said_colours
        call report
        jmp loop_text
.tune:
        mov word [note],tune
        mov byte [note_left],0
        mov si,said_tune
        call report
        jmp loop_text

; Sleeps until the timer's interrupt has come, and counts frames.
wait_tick:
        mov ax,[0x46c]
.same:
        hlt
        cmp ax,[0x46c]
        je .same
        inc word [frame]
        ret

; Fills the screen with three waves added up.
colours:
        mov ax,BACK
        mov es,ax
        xor di,di
        xor dh,dh               ; row
.row:
        xor dl,dl               ; column
        mov al,dh
        mov ah,9
        mul ah
        add al,[frame]
        add al,[frame]
        call wave
        mov cx,ax
.column:
        mov al,dl
        mov ah,5
        mul ah
        mov ah,[frame]
        add al,ah
        add al,ah
        add al,ah
        call wave
        mov bp,ax
        mov al,dl
        add al,dh
        shl al,2
        sub al,[frame]
        call wave
        add ax,bp
        add ax,cx               ; 0 to 765
        shr ax,5
        cmp ax,8
        jb .dark
        sub ax,4
        jmp .scaled
.dark:
        shr ax,1
.scaled:
        cmp ax,15
        jbe .bounded
        mov ax,15
.bounded:
        mov bx,ax
        shl bx,1
        add bx,[palette]
        mov ax,[shades+bx]
        stosw
        inc dl
        cmp dl,COLUMNS
        jb .column
        inc dh
        cmp dh,25
        jb .row
        ret

; AX = the sine of AL.
wave:
        movzx bx,al
        movzx ax,byte [sine+bx]
        ret

; The name in letters of eight by eight blocks, out of the BIOS's font.
logo:
        mov ax,0x1130
        mov bh,3
        push es
        int 0x10                ; ES:BP is the font
        mov ax,es
        mov fs,ax
        pop es
        mov si,name
        mov di,(LOGO_ROW*COLUMNS+8)*2
.letter:
        lodsb
        test al,al
        jz .done
        movzx bx,al
        shl bx,3
        add bx,bp
        push di
        mov cx,8
.row:
        mov al,[fs:bx]
        inc bx
        push di
        mov dl,8
.bit:
        shl al,1
        jnc .blank
        mov word [es:di],0x0fdb
        ; a shadow to the right and below
        mov byte [es:di+COLUMNS*2+3],0x08
.blank:
        add di,2
        dec dl
        jnz .bit
        pop di
        add di,COLUMNS*2
        loop .row
        pop di
        add di,16
        jmp .letter
.done:
        ret

; DI = place of column DL, row DH.
at:
        mov al,COLUMNS
        mul dh
        xor bh,bh
        mov bl,dl
        add ax,bx
        shl ax,1
        mov di,ax
        ret

; Writes the text at SI with colour AH to ES:DI.
puts:
        lodsb
        test al,al
        jz .done
        stosw
        jmp puts
.done:
        ret

; Writes EAX in decimal with colour DL, at least CL digits.
decimal:
        mov ch,0
        mov ebx,10
.digit:
        xor edx,edx
        push cx
        div ebx
        pop cx
        push dx
        inc ch
        test eax,eax
        jnz .digit
        cmp ch,cl
        jb .digit
.write:
        pop ax
        add al,'0'
        mov ah,INK
        stosw
        dec ch
        jnz .write
        ret

; Writes AL as two hexadecimal (or BCD) digits.
hex:
        push ax
        shr al,4
        call .digit
        pop ax
        and al,15
.digit:
        add al,'0'
        cmp al,'9'
        jbe .number
        add al,7
.number:
        mov ah,INK
        stosw
        ret

panel:
        ; the sheet, with a shadow
        mov dh,TOP
.rows:
        mov dl,LEFT
        call at
        mov cx,WIDE
        mov ax,INK*256+' '
        rep stosw
        cmp dh,TOP
        je .no_shadow
        mov byte [es:di+1],0x08
        mov byte [es:di+3],0x08
.no_shadow:
        inc dh
        cmp dh,TOP+ROWS
        jb .rows
        ; fixed texts: row, column, colour, text
        mov si,labels
.label:
        mov dh,[si]
        test dh,dh
        jz .facts
        mov dl,[si+1]
        mov cl,[si+2]
        add si,3
        call at
        mov ah,cl
        call puts
        jmp .label
.facts:
        mov dh,TOP+4
        mov dl,LEFT+15
        call at
        mov si,maker
        mov ah,INK
        call puts
        mov eax,[signature]
        test eax,eax
        jz .memory
        mov si,family
        mov ah,INK
        call puts
        mov eax,[signature]
        shr eax,8
        and eax,15
        mov cl,1
        call decimal
        mov si,model
        mov ah,INK
        call puts
        mov eax,[signature]
        mov ebx,eax
        shr eax,4
        and eax,15
        shr ebx,12
        and ebx,0xf0
        add eax,ebx
        mov cl,1
        call decimal
.memory:
        mov dh,TOP+5
        mov dl,LEFT+15
        call at
        mov eax,[kibibytes]
        mov cl,1
        call decimal
        mov si,unit
        mov ah,INK
        call puts
        ; date and time
        mov dh,TOP+6
        mov dl,LEFT+15
        call at
        mov ah,4
        int 0x1a
        push dx
        push cx
        mov al,ch
        call hex
        pop cx
        mov al,cl
        call hex
        mov ax,INK*256+'-'
        stosw
        pop dx
        push dx
        mov al,dh
        call hex
        mov ax,INK*256+'-'
        stosw
        pop dx
        mov al,dl
        call hex
        mov ax,INK*256+' '
        stosw
        mov ah,2
        int 0x1a
        push dx
        push cx
        mov al,ch
        call hex
        mov ax,INK*256+':'
        stosw
        pop cx
        mov al,cl
        call hex
        mov ax,INK*256+':'
        stosw
        pop dx
        mov al,dh
        call hex
        mov si,running
        mov ah,INK
        call puts
        movzx eax,word [0x46c]
        sub ax,[born]
        mov ebx,10
        mul ebx
        mov ebx,182
        div ebx
        mov cl,1
        call decimal
        mov si,seconds
        mov ah,INK
        call puts
        ; mouse
        mov dh,TOP+7
        mov dl,LEFT+15
        call at
        cmp byte [has_mouse],0
        jne .mouse
        mov si,absent
        mov ah,INK
        call puts
        jmp .key
.mouse:
        movzx eax,word [mouse_x]
        mov cl,3
        call decimal
        mov ax,INK*256+','
        stosw
        movzx eax,word [mouse_y]
        mov cl,3
        call decimal
        mov si,button_text
        mov ah,INK
        call puts
        mov cl,[buttons]
        mov dl,3
.button:
        mov ax,INK*256+0xf9
        shr cl,1
        jnc .up
        mov al,0xfe
.up:
        stosw
        dec dl
        jnz .button
.key:
        mov dh,TOP+8
        mov dl,LEFT+15
        call at
        mov ax,[key]
        test ax,ax
        jz .no_key
        push ax
        mov al,ah
        call hex
        mov ax,INK*256+' '
        stosw
        pop ax
        cmp al,' '
        jb .no_key
        mov ah,STRONG
        stosw
.no_key:
        ret

; The mouse as an inverted cell.
pointer:
        cmp byte [has_mouse],0
        je .none
        mov ax,[mouse_y]
        shr ax,4
        mov dh,al
        mov ax,[mouse_x]
        shr ax,3
        mov dl,al
        call at
        mov byte [es:di+1],0xe4
        cmp byte [es:di],' '
        jne .none
        mov byte [es:di],0xfe
.none:
        ret

show:
        push ds
        mov ax,0xb800
        mov es,ax
        mov ax,BACK
        mov ds,ax
        xor si,si
        xor di,di
        mov cx,COLUMNS*25
        rep movsw
        pop ds
        ret

; --- the tune --------------------------------------------------------------------------------------

; Moves the speaker on by one tick.
play:
        mov bx,[note]
        test bx,bx
        jz .silent
        cmp byte [note_left],0
        jne .hold
        mov ax,[bx]
        test ax,ax
        jz .over
        mov cl,[bx+2]
        mov [note_left],cl
        add bx,3
        mov [note],bx
        push ax
        mov al,0xb6
        out 0x43,al
        pop ax
        out 0x42,al
        mov al,ah
        out 0x42,al
        in al,0x61
        or al,3
        out 0x61,al
        ret
.hold:
        dec byte [note_left]
        jnz .silent
        jmp .quiet
.over:
        mov word [note],0
.quiet:
        in al,0x61
        and al,0xfc
        out 0x61,al
.silent:
        ret

; --- graphics --------------------------------------------------------------------------------------

graphics:
        mov si,said_graphics
        call report
        mov ax,0x13
        int 0x10
        mov dx,0x3c8
        xor al,al
        out dx,al
        inc dx
        xor bx,bx
.colour:
        mov al,[sine+bx]
        shr al,2
        out dx,al
        mov al,bl
        add al,85
        call .part
        mov al,bl
        add al,170
        call .part
        inc bl
        jnz .colour
.frame:
        call wait_tick
        call play
        mov ax,0xa000
        mov es,ax
        xor di,di
        xor cx,cx               ; row
.row:
        mov al,cl
        shl al,1
        sub al,[frame]
        call wave
        mov dh,al               ; this row's share
        xor dl,dl               ; column, modulo 256
        mov bp,320
.pixel:
        mov al,dl
        add al,[frame]
        movzx bx,al
        mov ah,[sine+bx]
        mov al,dl
        add al,cl
        shr ah,1
        add al,[frame]
        add al,[frame]
        movzx bx,al
        mov al,[sine+bx]
        shr al,1
        add al,ah
        add al,dh
        stosb
        inc dl
        dec bp
        jnz .pixel
        inc cx
        cmp cx,200
        jb .row
        ; a cross where the mouse is
        cmp byte [has_mouse],0
        je .keys
        mov ax,[mouse_y]
        shr ax,1
        mov bx,320
        mul bx
        mov bx,[mouse_x]
        shr bx,1
        add ax,bx
        mov di,ax
        mov cx,5
.cross:
        mov bx,cx
        mov byte [es:di+bx],0
        neg bx
        mov byte [es:di+bx],0
        imul bx,bx,320
        mov byte [es:di+bx],0
        neg bx
        mov byte [es:di+bx],0
        loop .cross
.keys:
        mov ah,1
        int 0x16
        jz .frame
        xor ah,ah
        int 0x16
        mov [key],ax
        cmp al,'t'
        jne .back
        mov word [note],tune
        mov byte [note_left],0
        jmp .frame
.back:
        call text_mode
        mov si,said_text
        call report
        jmp loop_text
.part:
        push bx
        movzx bx,al
        mov al,[sine+bx]
        shr al,2
        out dx,al
        pop bx
        ret

; --- the end ---------------------------------------------------------------------------------------

; Says the text at SI on COM1 and the debug console.
report:
        lodsb
        test al,al
        jz .done
        out 0xe9,al
        mov ah,al
        mov dx,0x3fd
        mov cx,0x4000
.busy:
        in al,dx
        test al,0x20
        jnz .free
        loop .busy
.free:
        mov al,ah
        mov dx,0x3f8
        out dx,al
        jmp report
.done:
        ret

switch_off:
        mov si,said_off
        call report
        mov ax,0x5301           ; APM: connect
        xor bx,bx
        int 0x15
        mov ax,0x530e           ; version 1.2
        xor bx,bx
        mov cx,0x0102
        int 0x15
        mov ax,0x5307           ; all devices off
        mov bx,1
        mov cx,3
        int 0x15
        call text_mode
        mov si,safe
        mov ax,0xb800
        mov es,ax
        mov di,(12*COLUMNS+20)*2
        mov ah,0x0e
        call puts
        cli
.halt:
        hlt
        jmp .halt

; --- data ------------------------------------------------------------------------------------------

name:         db 'BEIGEBOX',0
maker:        db 'Intel 386 or 486',0
signature:    dd 0
kibibytes:    dd 0
born:         dw 0
frame:        dw 0
palette:      dw 0
key:          dw 0
mouse_x:      dw 320
mouse_y:      dw 152
buttons:      db 0
has_mouse:    db 0
note:         dw 0
note_left:    db 0

family:       db ' family ',0
model:        db ' model ',0
unit:         db ' KiB',0
running:      db '   running for ',0
seconds:      db ' s',0
absent:       db 'none',0
button_text:  db '   buttons ',0
safe:         db 'It is now safe to switch off this PC.',0

ready:         db 'demo: ready',10,0
said_colours:  db 'demo: colours',10,0
said_tune:     db 'demo: tune',10,0
said_graphics: db 'demo: graphics',10,0
said_text:     db 'demo: text',10,0
said_off:      db 'demo: off',10,0

labels:
        db TOP+1,LEFT+3,STRONG,'A PC in a box.',0
        db TOP+1,LEFT+18,INK,'This program runs inside of it, from a floppy disk.',0
        db TOP+2,LEFT+3,INK,'Start your own:  beigebox IMAGE',0
        db TOP+4,LEFT+3,STRONG,'Processor',0
        db TOP+5,LEFT+3,STRONG,'Memory',0
        db TOP+6,LEFT+3,STRONG,'Clock',0
        db TOP+7,LEFT+3,STRONG,'Mouse',0
        db TOP+8,LEFT+3,STRONG,'Last key',0
        db TOP+10,LEFT+3,0x1f,' C ',0
        db TOP+10,LEFT+7,INK,'colours',0
        db TOP+10,LEFT+18,0x1f,' G ',0
        db TOP+10,LEFT+22,INK,'graphics',0
        db TOP+10,LEFT+34,0x1f,' T ',0
        db TOP+10,LEFT+38,INK,'tune',0
        db TOP+10,LEFT+46,0x1f,' Esc ',0
        db TOP+10,LEFT+52,INK,'switch off',0
        db 0

; Sixteen steps from dark to bright, as character and colour; three sets of colours.
shades:
        dw 0x0020,0x01b0,0x01b1,0x01b2,0x19b0,0x19b1,0x19b2,0x93b0
        dw 0x93b1,0x3bb0,0x3bb1,0x3bb2,0x0bdb,0xbfb0,0xbfb1,0xbfb2
        dw 0x0020,0x04b0,0x04b1,0x04b2,0x4cb0,0x4cb1,0x4cb2,0xc6b0
        dw 0xc6b1,0x6eb0,0x6eb1,0x6eb2,0x0edb,0xefb0,0xefb1,0xefb2
        dw 0x0020,0x05b0,0x05b1,0x05b2,0x5db0,0x5db1,0x5db2,0xd3b0
        dw 0xd3b1,0x3ab0,0x3ab1,0x3ab2,0x0adb,0xafb0,0xafb1,0xafb2

; Beethoven's Ode to Joy: divisor of the timer's clock, ticks.
E4 equ 3616
F4 equ 3419
G4 equ 3044
D4 equ 4058
C4 equ 4554
%macro n 2
        dw %1
        db %2
%endmacro
tune:
        n E4,7
        n E4,7
        n F4,7
        n G4,7
        n G4,7
        n F4,7
        n E4,7
        n D4,7
        n C4,7
        n C4,7
        n D4,7
        n E4,7
        n E4,10
        n D4,3
        n D4,14
        dw 0

code_end:
SECTORS equ (code_end-0x7e00+511)/512
        times (512-(code_end-0x7c00)%512)%512 db 0
