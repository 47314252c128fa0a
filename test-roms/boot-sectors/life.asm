; Conway's Life on the text screen: a glider goes 40 generations, on a sheet whose edges meet.
cells   equ 8000h
next    equ 9000h
columns equ 80
size    equ 24 * columns
main:   mov ax, 3
        int 10h
        mov di, cells
        mov cx, size
        xor al, al
        rep stosb
        mov si, glider
        mov cx, 5
.seed:  lodsw
        xchg bx, ax
        mov byte [cells + bx], 1
        loop .seed
        mov bp, 40
generation:
        xor bx, bx
.cell:  mov si, around
        xor dl, dl
.count: lodsw
        test ax, ax
        jz .rule
        add ax, bx
        cmp ax, size
        jb .inside
        sub ax, size
.inside:
        xchg ax, di
        add dl, [cells + di]
        jmp .count
.rule:  or dl, [cells + bx]     ; three neighbours, or two and alive
        cmp dl, 3
        sete [next + bx]
        inc bx
        cmp bx, size
        jb .cell
        mov si, next
        mov di, cells
        mov cx, size
        rep movsb
        dec bp
        jnz generation
        mov ax, 0b800h
        mov es, ax
        mov si, cells
        xor di, di
        mov cx, size
.show:  lodsb
        neg al                  ; 0 or -1
        and al, '*' - ' '
        add al, ' '
        mov ah, 0ah
        stosw
        loop .show
        mov ah, 2
        mov bh, 0
        mov dx, 1800h
        int 10h
        mov si, over
        call print
        jmp finish
around  dw size - columns - 1, size - columns, size - columns + 1, size - 1, 1, columns - 1, columns, columns + 1, 0
glider  dw 1, columns + 2, 2 * columns, 2 * columns + 1, 2 * columns + 2
over    db '40 generations', 0
