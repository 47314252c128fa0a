; Paging with 4 KiB and 4 MiB pages: error codes, CR2, accessed and dirty bits, WP, reserved bits,
; stale translations, INVLPG, global pages, accesses that cross into a bad page.
bits 16
DIR equ 20000h
TAB equ 21000h
TAB2 equ 22000h
WIN equ 400000h                 ; the second 4 MiB are the test's window, through TAB2
; Entry n of the window.
%macro map 2
    mov dword [TAB2 + %1 * 4], %2
    invlpg [WIN + %1 * 1000h]
%endmacro
%macro pte 3
    mov eax, [TAB2 + %2 * 4]
    equal %1, eax, %3
%endmacro
main:
    protected
    ; identity map of the first 4 MiB for everyone
    mov edi, TAB
    mov eax, 7
    mov ecx, 1024
.fill:
    stosd
    add eax, 1000h
    dec ecx
    jnz .fill
    mov edi, DIR
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov edi, TAB2
    mov ecx, 1024
    rep stosd
    mov dword [DIR], TAB + 7
    mov dword [DIR + 4], TAB2 + 7
    mov eax, DIR
    mov cr3, eax
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    ; --- not present
    fault2 'read, not present', PF, 0, mov al, [WIN + 123h]
    equal 'CR2', [got_cr2], WIN + 123h
    fault2 'write, not present', PF, 2, mov [WIN + 123h], al
    ufault2 'read in ring 3', PF, 4, mov al, [WIN]
    ufault2 'write in ring 3', PF, 6, mov [WIN], al
    fault2 'directory entry not present', PF, 0, mov al, [0c0000000h]
    ; --- protection
    map 0, 30005h
    fault2 'supervisor writes to a read-only page, WP clear', NONE, ANY, mov [WIN], al
    pte 'accessed and dirty', 0, 30065h
    ufault2 'user writes to a read-only page', PF, 7, mov [WIN], al
    ufine2 'user reads it', mov al, [WIN]
    map 0, 30003h
    ufault2 'user reads a supervisor page', PF, 5, mov al, [WIN]
    ufault2 'user writes a supervisor page', PF, 7, mov [WIN], al
    pte 'a fault sets nothing', 0, 30003h
    fine2 'supervisor reads', mov al, [WIN]
    pte 'accessed', 0, 30023h
    fine2 'supervisor writes', mov [WIN], al
    pte 'dirty', 0, 30063h
    ; the directory entry's rights count too
    map 0, 30007h
    mov dword [DIR + 4], TAB2 + 5
    mov eax, cr3
    mov cr3, eax
    ufault2 'directory read-only', PF, 7, mov [WIN], al
    mov dword [DIR + 4], TAB2 + 3
    mov eax, cr3
    mov cr3, eax
    ufault2 'directory for the supervisor', PF, 5, mov al, [WIN]
    mov dword [DIR + 4], TAB2 + 7
    mov eax, cr3
    mov cr3, eax
    fine2 'read through it', mov al, [WIN]
    mov eax, [DIR + 4]
    equal 'directory entry accessed, not dirty', eax, TAB2 + 27h
    ; --- WP
    mov eax, cr0
    or eax, 10000h
    mov cr0, eax
    map 0, 30005h
    fault2 'WP: supervisor writes to a read-only page', PF, 3, mov [WIN], al
    pte 'WP: not accessed by the fault', 0, 30005h
    fault2 'WP: read-modify-write', PF, 3, add byte [WIN], 1
    fault2 'WP: CMPXCHG that fails writes too', PF, 3, cmpxchg [WIN], cl
    mov eax, cr0
    and eax, 0fffeffffh
    mov cr0, eax
    ; --- code
    map 0, 30007h
    mov byte [WIN], 0c3h
    try .exec
    map 0, 30003h
    go_user WIN
.exec: expect 'user runs a supervisor page', PF, 5, WIN
    map 0, 0
    try .exec2
    mov eax, WIN
    jmp eax
.exec2: expect 'run a page not present', PF, 0, WIN
    equal 'CR2 of a fetch', [got_cr2], WIN
    ; an instruction that runs over into a bad page: CR2 is the second page
    map 0, 30007h
    mov byte [WIN + 0fffh], 0b0h
    map 1, 0
    try .exec3
    mov eax, WIN + 0fffh
    jmp eax
.exec3: expect 'instruction across into a bad page', PF, 0, WIN + 0fffh
    equal 'CR2 of that', [got_cr2], WIN + 1000h
    ; --- data across two pages
    fault2 'read across', PF, 0, mov eax, [WIN + 0ffdh]
    equal 'CR2', [got_cr2], WIN + 1000h
    mov dword [WIN + 0ffch], 11111111h
    mov eax, 22222222h
    fault2 'write across', PF, 2, mov [WIN + 0ffeh], eax
    mov eax, [WIN + 0ffch]
    equal 'nothing written', eax, 11111111h
    map 1, 31005h
    ufault2 'user writes across into a read-only page', PF, 7, mov [WIN + 0ffeh], eax
    equal 'CR2', [got_cr2], WIN + 1000h
    mov eax, [WIN + 0ffch]
    equal 'nothing written', eax, 11111111h
    ; --- system accesses from ring 3 are supervisor accesses: GDT, IDT and TSS in supervisor pages
    mov dword [TAB], 3
    mov dword [TAB + 4], 3 + 1000h
    invlpg [0]
    invlpg [1000h]
    mov eax, cr3
    mov cr3, eax
    map 2, 32007h
    mov word [WIN + 2000h], 0d88eh      ; MOV DS, AX
    mov word [WIN + 2002h], 80cdh       ; INT 80h
    try .system
    push dword DATA3
    push dword USER_STACK
    push dword 2
    push dword CODE3
    push dword WIN + 2000h
    mov ax, DATA3
    mov ds, ax
    iretd
.system: expect 'descriptor tables in supervisor pages', NONE, ANY, ANY
    mov dword [TAB], 7
    mov dword [TAB + 4], 7 + 1000h
    mov eax, cr3
    mov cr3, eax
    ; --- stale translations: what is in the TLB may be used until INVLPG; after it the new one must
    map 3, 33007h
    mov dword [WIN + 3000h], 33333333h
    map 4, 34007h
    mov dword [WIN + 4000h], 44444444h
    mov dword [TAB2 + 12], 34007h
    invlpg [WIN + 3000h]
    mov eax, [WIN + 3000h]
    equal 'INVLPG', eax, 44444444h
    mov dword [TAB2 + 12], 33007h
    mov eax, cr3
    mov cr3, eax
    mov eax, [WIN + 3000h]
    equal 'MOV CR3', eax, 33333333h
    ; an entry that was not present is not in the TLB: no INVLPG needed
    map 5, 0
    fault2 'not present', PF, 0, mov al, [WIN + 5000h]
    mov dword [TAB2 + 20], 34007h
    mov eax, [WIN + 5000h]
    equal 'present without INVLPG', eax, 44444444h
    ; a fault looks at the tables again: more rights without INVLPG
    mov eax, cr0
    or eax, 10000h
    mov cr0, eax
    map 5, 34005h
    fault2 'read-only', PF, 3, mov [WIN + 5000h], eax
    mov dword [TAB2 + 20], 34007h
    fine2 'writable without INVLPG', mov [WIN + 5000h], ecx
    mov eax, cr0
    and eax, 0fffeffffh
    mov cr0, eax
    ; the dirty bit is set by the first write after a read
    map 6, 36007h
    mov al, [WIN + 6000h]
    pte 'read', 6, 36027h
    mov [WIN + 6000h], al
    pte 'write', 6, 36067h
    ; after the bits are cleared and INVLPG, they are set again
    map 6, 36007h
    mov [WIN + 6000h], al
    pte 'write after INVLPG', 6, 36067h
    ; fix in the handler, and go on
    mov dword [hook], .fix
    map 7, 0
    try .fixed
    mov ecx, 1234h
    mov [WIN + 7000h], ecx
    int 80h
.fixed: mov dword [hook], 0
    expect 'page made present in the handler', NONE, ANY, ANY
    mov eax, [WIN + 7000h]
    equal 'the write was done again', eax, 1234h
    ; --- global pages
    mov eax, cr4
    or eax, 80h
    mov cr4, eax
    map 8, 33107h
    mov eax, [WIN + 8000h]
    mov eax, cr3
    mov cr3, eax
    equal 'global page after MOV CR3', [WIN + 8000h], 33333333h
    mov dword [TAB2 + 32], 34007h
    mov eax, cr4
    and eax, -81h
    mov cr4, eax
    mov dword [34000h], 44444444h
    equal 'CR4.PGE drops global pages', [WIN + 8000h], 44444444h
    ; --- 4 MiB pages
    mov dword [DIR + 8], 87h
    mov eax, cr3
    mov cr3, eax
    fault2 'PS without CR4.PSE is a table', PF, 0, mov al, [800000h + 3ff000h]
    mov dword [DIR + 8], 0
    mov eax, cr4
    or eax, 10h
    mov cr4, eax
    mov dword [DIR + 8], 400085h
    mov eax, cr3
    mov cr3, eax
    mov dword [TAB2 + 36], 400007h
    invlpg [WIN + 9000h]
    mov dword [WIN + 9000h], 99999999h
    equal '4 MiB page', [800000h], 99999999h
    mov eax, [DIR + 8]
    equal '4 MiB page accessed', eax, 4000a5h
    ufault2 '4 MiB page read-only', PF, 7, mov [800000h], al
    mov dword [DIR + 8], 400087h
    invlpg [812345h]
    mov byte [800000h], 98h
    mov eax, [DIR + 8]
    equal '4 MiB page dirty', eax, 4000e7h
    mov dword [DIR + 8], 600087h
    invlpg [800000h]
    fault2 '4 MiB page with a reserved bit', PF, 9, mov al, [800000h]
    mov dword [DIR + 8], 0
    invlpg [800000h]
    fault2 'INVLPG drops the whole 4 MiB page', PF, 0, mov al, [0a00000h]
    ; --- a page table entry in the page that it maps
    mov dword [TAB2 + 40], TAB2 + 7
    mov dword [WIN + 0a000h + 44], 33007h
    equal 'self-mapped table', [WIN + 0b000h], 33333333h
    mov eax, [TAB2 + 40]
    equal 'its entry', eax, TAB2 + 67h
    ; --- paging off and on
    mov eax, cr0
    and eax, 7fffffffh
    mov cr0, eax
    equal 'paging off', [33000h], 33333333h
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    mov eax, 80000010h
    fault2 'CR0: PE clear, PG set', GP, 0, mov cr0, eax
    jmp finish
.fix:
    mov dword [TAB2 + 28], 37007h
    clc
    ret
