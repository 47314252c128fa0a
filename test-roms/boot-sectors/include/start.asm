; A boot sector: at 7C00h in real mode, with segments at 0 and the stack below. Comes before the program.
drive   equ 600h                ; the drive booted from
bits 16
        cli
        cld
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 7c00h
        sti
        mov [drive], dl
        jmp 0:main
