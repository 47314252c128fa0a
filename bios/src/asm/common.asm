; Names shared by the system BIOS and the VGA BIOS.

; The frame that `enter_service` builds; the caller's flags lie where INT put them.
r_di    equ 0
r_si    equ 4
r_bp    equ 8
r_bx    equ 16
r_bl    equ 16
r_bh    equ 17
r_dx    equ 20
r_dl    equ 20
r_dh    equ 21
r_cx    equ 24
r_cl    equ 24
r_ch    equ 25
r_ax    equ 28
r_al    equ 28
r_ah    equ 29
r_es    equ 32
r_ds    equ 34
r_ip    equ 36
r_cs    equ 38
r_flags equ 40

CF      equ 0x01
ZF      equ 0x40

%macro enter_service 0
        push ds
        push es
        pushad
        mov bp,sp
        cld
%endmacro

%macro leave_service 0
        popad
        pop es
        pop ds
        iret
%endmacro

%macro set_carry 0
        or byte [bp+r_flags],CF
%endmacro

%macro clear_carry 0
        and byte [bp+r_flags],~CF & 0xff
%endmacro

; BIOS data area, segment 40h
BDA             equ 0x40
b_com           equ 0x00
b_lpt           equ 0x08
b_ebda          equ 0x0e
b_equipment     equ 0x10
b_memory        equ 0x13
b_shift         equ 0x17
b_shift2        equ 0x18
b_altpad        equ 0x19
b_kbhead        equ 0x1a
b_kbtail        equ 0x1c
b_kbbuffer      equ 0x1e
b_fdrecal       equ 0x3e
b_fdmotor       equ 0x3f
b_fdtimeout     equ 0x40
b_fdstatus      equ 0x41
b_fdresult      equ 0x42
b_mode          equ 0x49
b_columns       equ 0x4a
b_pagesize      equ 0x4c
b_pagestart     equ 0x4e
b_cursor        equ 0x50
b_shape         equ 0x60
b_page          equ 0x62
b_crtc          equ 0x63
b_modeset       equ 0x65
b_palette       equ 0x66
b_resume        equ 0x67
b_ticks         equ 0x6c
b_midnight      equ 0x70
b_break         equ 0x71
b_warm          equ 0x72
b_hdstatus      equ 0x74
b_hdcount       equ 0x75
b_lpttimeout    equ 0x78
b_comtimeout    equ 0x7c
b_kbstart       equ 0x80
b_kbend         equ 0x82
b_rows          equ 0x84
b_charheight    equ 0x85
b_videoctl      equ 0x87
b_videosw       equ 0x88
b_videoflags    equ 0x89
b_dcc           equ 0x8a
b_fdrate        equ 0x8b
b_hdflag        equ 0x8e
b_fdtype        equ 0x8f
b_fdmedia       equ 0x90
b_fdtrack       equ 0x94
b_kbflags       equ 0x96
b_kbleds        equ 0x97
b_waitptr       equ 0x98
b_waitcount     equ 0x9c
b_waitflag      equ 0xa0
b_saveptr       equ 0xa8
