; Physical address extension: 4 KiB and 2 MiB pages, reserved bits, execute-disable, the directory
; pointers as registers; PSE-36.
bits 16
PDPT equ 20000h
DIR equ 21000h
TAB equ 22000h
TAB2 equ 23000h
WIN equ 200000h
%macro map 3                    ; entry, low, high
    mov dword [TAB2 + %1 * 8], %2
    mov dword [TAB2 + %1 * 8 + 4], %3
    invlpg [WIN + %1 * 1000h]
%endmacro
main:
    protected
    mov edi, PDPT
    xor eax, eax
    mov ecx, 1000h
    rep stosd
    mov edi, TAB
    mov eax, 7
    mov ecx, 512
.fill:
    mov [edi], eax
    add eax, 1000h
    add edi, 8
    dec ecx
    jnz .fill
    mov dword [PDPT], DIR + 1
    mov dword [DIR], TAB + 7
    mov dword [DIR + 8], TAB2 + 7
    mov eax, cr4
    or eax, 20h
    mov cr4, eax
    mov eax, PDPT
    mov cr3, eax
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    ; --- 4 KiB
    map 0, 30005h, 0
    mov dword [30000h], 30303030h
    fault2 'not present', PF, 0, mov al, [WIN + 1000h]
    fine2 'read', mov al, [WIN]
    ufault2 'user writes read-only', PF, 7, mov [WIN], al
    equal 'accessed', [TAB2], 30025h
    fault2 'pointer not present', PF, 0, mov al, [40000000h]
    fault2 'directory entry not present', PF, 2, mov [600000h], al
    map 1, 31007h, 0
    fine2 'write', mov [WIN + 1000h], al
    equal 'dirty', [TAB2 + 8], 31067h
    ; --- reserved bits
    map 2, 32007h, 80000h
    fault2 'bit 51 reserved', PF, 9, mov al, [WIN + 2000h]
    map 2, 32007h, 80000000h
    fault2 'bit 63 reserved without NXE', PF, 9, mov al, [WIN + 2000h]
    ufault2 'the same from ring 3, write', PF, 0fh, mov [WIN + 2000h], al
    mov dword [DIR + 12], 80000h
    mov eax, cr3
    mov cr3, eax
    fault2 'reserved bit in the directory', PF, 9, mov al, [WIN]
    mov dword [DIR + 12], 0
    mov eax, cr3
    mov cr3, eax
    ; --- pointers are loaded by MOV CR3 only
    mov dword [PDPT + 8], DIR + 1
    fault2 'a pointer that changed in memory', PF, 0, mov al, [40000000h]
    mov eax, cr3
    mov cr3, eax
    fine2 'after MOV CR3', mov al, [40000000h]
    mov dword [PDPT + 8], DIR + 3
    mov eax, cr3
    fault2 'pointer with a reserved bit', GP, 0, mov cr3, eax
    mov dword [PDPT + 8], 2
    mov eax, cr3
    fine2 'reserved bits of an absent pointer', mov cr3, eax
    mov dword [PDPT + 8], 0
    ; --- 2 MiB
    mov dword [DIR + 16], 400087h
    mov eax, cr3
    mov cr3, eax
    fine2 '2 MiB page', mov [400000h], eax
    equal '2 MiB accessed and dirty', [DIR + 16], 4000e7h
    mov dword [DIR + 16], 402087h
    invlpg [400000h]
    fault2 '2 MiB page with bit 13', PF, 9, mov al, [400000h]
    mov dword [DIR + 16], 500087h
    invlpg [400000h]
    fault2 '2 MiB page with bit 20', PF, 9, mov al, [400000h]
    mov dword [DIR + 16], 400085h
    invlpg [400000h]
    ufault2 '2 MiB page read-only', PF, 7, mov [5fffffh], al
    ; --- execute disable
    mov ecx, 0c0000080h
    xor edx, edx
    mov eax, 800h
    fine1 'EFER.NXE', wrmsr
    mov byte [31000h], 0c3h
    map 3, 31007h, 80000000h
    fine2 'read of an NX page', mov al, [WIN + 3000h]
    fine2 'write to an NX page', mov byte [WIN + 3000h], 0c3h
    try .nx
    mov eax, WIN + 3000h
    jmp eax
.nx: expect 'run an NX page', PF, 11h, WIN + 3000h
    equal 'CR2', [got_cr2], WIN + 3000h
    try .nx3
    go_user WIN + 3000h
.nx3: expect 'run an NX page in ring 3', PF, 15h, WIN + 3000h
    map 4, 0, 0
    try .nxp
    mov eax, WIN + 4000h
    jmp eax
.nxp: expect 'fetch from an absent page with NXE', PF, 10h, WIN + 4000h
    ; an instruction that runs over into an NX page
    map 5, 31007h, 0
    map 6, 32007h, 80000000h
    mov byte [WIN + 5fffh], 0b0h
    try .nxx
    mov eax, WIN + 5fffh
    jmp eax
.nxx: expect 'instruction across into an NX page', PF, 11h, WIN + 5fffh
    equal 'CR2 is the second page', [got_cr2], WIN + 6000h
    ; NX in the directory
    mov dword [DIR + 12], 80000000h
    mov eax, cr3
    mov cr3, eax
    map 7, 31007h, 0
    try .nxd
    mov eax, WIN + 7000h
    jmp eax
.nxd: expect 'NX in the directory entry', PF, 11h, WIN + 7000h
    mov dword [DIR + 12], 0
    mov eax, cr3
    mov cr3, eax
    ; --- A page fault inside CMPXCHG8B that updates an entry: 64-bit writes of entries
    mov eax, 31007h
    mov edx, 0
    mov ebx, 30007h
    mov ecx, 0
    map 8, 31007h, 0
    lock cmpxchg8b [TAB2 + 64]
    invlpg [WIN + 8000h]
    equal 'entry exchanged', [WIN + 8000h], 30303030h
    ; --- back to 32-bit paging with PSE-36
    mov eax, cr0
    and eax, 7fffffffh
    mov cr0, eax
    mov eax, cr4
    and eax, -21h
    or eax, 10h
    mov cr4, eax
    mov edi, DIR
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov dword [DIR], 83h
    mov dword [DIR + 4], 2083h      ; physical 1_00000000h
    mov dword [DIR + 8], 200083h    ; bit 21 is reserved
    mov dword [DIR + 12], 83h
    mov eax, DIR
    mov cr3, eax
    mov eax, cr0
    or eax, 80000000h
    mov cr0, eax
    fine2 'PSE-36: an address beyond 4 GiB', mov eax, [400000h]
    mov dword [31000h], 0cafeh
    mov eax, [431000h]
    xor ecx, ecx
    cmp eax, 0cafeh
    setz cl
    equal 'PSE-36: not that of 0', ecx, 0
    equal 'PSE-36: 0 again', [0c31000h], 0cafeh
    fault2 'PSE-36: bit 21', PF, 9, mov al, [800000h]
    jmp finish
