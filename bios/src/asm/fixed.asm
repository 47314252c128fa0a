; Entry points and tables at the addresses that software knows since the first PC.

        org 0xe05b
        jmp post

        org 0xe2c3              ; NMI
        iret

        org 0xe3fe
        jmp int13_body

        org 0xe401              ; a generic fixed disk table
        dw 306
        db 4,0,0
        dw 0x80
        db 0,0,0,0,0,0,0,17,0

        org 0xe6f2
        jmp int19_body

        org 0xe6f5              ; system configuration (INT 15h, AH = C0h)
        dw 8
        db 0xfc,0x00,0x01
        db 0x74                 ; clock, cascaded interrupts, keyboard intercept, EBDA
        db 0x40,0,0,0

        org 0xe729              ; divisors of the serial ports
        dw 1047,768,384,192,96,48,24,12

        org 0xe739
        jmp int14_body

        org 0xe82e
        jmp int16_body

        org 0xe987
        jmp irq1_body

        org 0xec59
        jmp int40_body

        org 0xef57
        jmp irq6_body

        org 0xefc7              ; diskette parameters (INT 1Eh)
        db 0xaf,0x02,0x25,0x02,18,0x1b,0xff,0x6c,0xf6,0x0f,0x08

        org 0xefd2
        jmp int17_body

        org 0xf065              ; the display's ROM replaces this vector
        iret

        org 0xf0a4              ; 6845 parameters of the CGA and MDA (INT 1Dh)
        db 0x38,0x28,0x2d,0x0a,0x1f,0x06,0x19,0x1c,0x02,0x07,0x06,0x07,0,0,0,0
        db 0x71,0x50,0x5a,0x0a,0x1f,0x06,0x19,0x1c,0x02,0x07,0x06,0x07,0,0,0,0
        db 0x38,0x28,0x2d,0x0a,0x7f,0x06,0x64,0x70,0x02,0x01,0x06,0x07,0,0,0,0
        db 0x61,0x50,0x52,0x0f,0x19,0x06,0x19,0x19,0x02,0x0d,0x0b,0x0c,0,0,0,0
        dw 2048,4096,16384,16384
        db 40,40,80,80,40,40,80,80
        db 0x2c,0x28,0x2d,0x29,0x2a,0x2e,0x1e,0x29

        org 0xf841
        jmp int12_body

        org 0xf84d
        jmp int11_body

        org 0xf859
        jmp int15_body

        org 0xfa6e              ; the lower half of the 8x8 font
        font8_low

        org 0xfe6e
        jmp int1a_body

        org 0xfea5
        jmp irq0_body

        org 0xff53
dummy_iret:
        iret

        org 0xff54
        jmp int05_body

        org 0xfff0
        jmp 0xf000:0xe05b

        org 0xfff5
        db "11/21/26"
        db 0
        db 0xfc
        db 0
