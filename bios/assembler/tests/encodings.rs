//! Every line is assembled, then decoded by an independent decoder; the text it prints must match.

use assembler::{Options, assemble};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

fn bytes(source: &str) -> Vec<u8> {
    assemble(source, &Options::default()).unwrap_or_else(|e| panic!("{e}")).bytes
}

fn decode(bits: u32, code: &[u8]) -> String {
    let mut formatter = FastFormatter::new();
    let mut decoder = Decoder::with_ip(bits, code, 0, DecoderOptions::NO_INVALID_CHECK);
    let mut text = String::new();
    while decoder.can_decode() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        formatter.format(&decoder.decode(), &mut text);
    }
    text
}

/// Writes every number the same way and drops what the decoder's style adds.
fn normal(text: &str) -> String {
    let mut out = String::new();
    for word in text.replace(" ptr", "").split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        let body = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let parsed = if !body.starts_with(|c: char| c.is_ascii_digit()) {
            None
        } else if let Some(hex) = body.strip_prefix("0x").or(body.strip_suffix('h')) {
            i64::from_str_radix(hex, 16).ok()
        } else {
            body.parse().ok()
        };
        match parsed {
            Some(n) => out.push_str(&format!("{n}{}", &word[body.len()..])),
            None => out.push_str(word),
        }
    }
    out
}

/// Lines `source | what the decoder shows`; without a bar both are the same.
fn check(bits: u32, table: &str) {
    let mut failures = String::new();
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (source, shown) = line.split_once(" | ").unwrap_or((line, line));
        let code = bytes(&format!("bits {bits}\n{source}"));
        let found = decode(bits, &code);
        if normal(&found) != normal(shown) {
            failures.push_str(&format!("{bits}-bit: {source}: {found}: {code:02x?}\n"));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn code16() {
    check(
        16,
        "add al,5
        add ax,5
        add ax,1234h
        add eax,12345678h
        add cx,-1 | add cx,0FFFFh
        add cx,0xffff | add cx,0FFFFh
        cmp byte [bx+si+4],9 | cmp byte ptr [bx+si+4],9
        cmp dword [es:di],1 | cmp dword ptr es:[di],1
        mov al,[0x449] | mov al,[449h]
        mov [es:0x449],eax | mov es:[449h],eax
        mov bx,[bp] | mov bx,[bp]
        mov bx,[bp-2] | mov bx,[bp-2]
        mov bx,[bp+0x1234] | mov bx,[bp+1234h]
        mov eax,[esi+ecx*4+8] | mov eax,[esi+ecx*4+8]
        mov al,[eax*2+0x100] | mov al,[eax*2+100h]
        mov [dword 0x12345678],bl | mov [12345678h],bl
        mov ds,ax
        mov ax,es
        mov [bx],ds
        mov cr0,eax
        mov ebx,cr3
        mov dr7,edx
        movzx eax,byte [si] | movzx eax,byte ptr [si]
        movzx ax,bl
        movsx ecx,dx
        push 5 | push 5
        push dword 5 | push 5
        push word 0x1234 | push 1234h
        push fs
        pop gs
        push dword [bx] | push dword ptr [bx]
        pop word [bx] | pop word ptr [bx]
        pushad
        pushaw | pusha
        iretd
        iret
        rep movsb | rep movsb [di],[si]
        rep movsd | rep movsd [di],[si]
        repne scasb | repne scasb al,[di]
        es lodsb | lodsb al,es:[si]
        in al,dx
        in eax,dx
        in al,0x60 | in al,60h
        out 0x80,al | out 80h,al
        out dx,ax
        shl ax,1
        shr ebx,4
        sar byte [si],cl | sar byte ptr [si],cl
        shld eax,edx,4
        shrd [bx],ax,cl
        bt ax,3
        bts word [bx],5 | bts word ptr [bx],5
        btr eax,ecx
        bsf ax,bx
        bswap edx
        lgdt [0x100] | lgdt [100h]
        o32 lidt [cs:bx] | lidt cs:[bx]
        jmp 0xf000:0xe05b | jmp 0F000h:0E05Bh
        jmp dword 8:0x12345 | jmp 8:12345h
        jmp far [bx] | jmpf dword [bx]
        call far [cs:bx] | callf dword cs:[bx]
        call [bx+2] | call word ptr [bx+2]
        jmp ax
        retf
        retf 2
        ret
        int 0x10 | int 10h
        xchg ax,bx | xchg bx,ax
        xchg al,ah
        xchg [bx],cx
        test al,1
        test bx,bx
        test dword [di],0x80 | test dword ptr [di],80h
        imul bx,cx
        imul eax,ebx,10 | imul eax,ebx,0Ah
        mul cx
        div byte [si] | div byte ptr [si]
        lea si,[bx+di]
        les di,[bx] | les di,[bx]
        setz al | sete al
        cmovb ax,bx
        xadd [bx],al
        lock cmpxchg [bx],ecx
        cmpxchg8b [bx]
        enter 4,0
        leave
        aam | aam 0Ah
        lmsw ax
        smsw ax
        ltr ax
        invlpg [bx]
        fnstsw ax
        fld qword [bx] | fld qword ptr [bx]
        fstp tword [bx] | fstp tbyte ptr [bx]
        fild word [bx] | fild word ptr [bx]
        fninit
        movaps xmm0,[bx]
        movd xmm1,eax
        a32 rep movsd | rep movsd [edi],[esi]
        cpuid
        wrmsr
        lar ax,bx",
    );
}

#[test]
fn code32() {
    check(
        32,
        "mov eax,[ebp] | mov eax,[ebp]
        mov eax,[esp+4]
        mov [edi],ax
        mov word [ebx+ebp*8-4],3 | mov word ptr [ebx+ebp*8-4],3
        mov eax,cr4
        lgdt [eax]
        jmp 8:0x100000 | jmp 8:100000h
        jmp far [esi] | jmpf fword ptr [esi]
        o16 retf | retf
        retf
        push 0x12345678 | push 12345678h
        push byte 5 | push 5
        inc eax
        dec byte [eax] | dec byte ptr [eax]
        in ax,dx
        pushf | pushfd
        popfd
        stosd | stosd [edi],eax
        call [ebx] | call dword ptr [ebx]
        mov al,[bx] | mov al,[bx]
        sub esp,0x1000 | sub esp,1000h
        str ax
        ud2",
    );
}

#[test]
fn jumps_choose_their_size() {
    assert_eq!(bytes("a: jmp a"), [0xeb, 0xfe]);
    assert_eq!(bytes("jz b\ntimes 127 nop\nb:")[..2], [0x74, 127]);
    assert_eq!(bytes("jz b\ntimes 128 nop\nb:")[..4], [0x0f, 0x84, 128, 0]);
    assert_eq!(bytes("jmp b\ntimes 128 nop\nb:")[..3], [0xe9, 128, 0]);
    assert_eq!(bytes("bits 32\njmp b\ntimes 128 nop\nb:")[..5], [0xe9, 128, 0, 0, 0]);
    assert_eq!(bytes("call b\nb: loop b\njcxz b"), [0xe8, 0, 0, 0xe2, 0xfe, 0xe3, 0xfc]);
    // A jump that only becomes long because another one did.
    let chain = "jmp b\ntimes 125 nop\njmp c\nb: times 200 nop\nc:";
    assert_eq!(bytes(chain)[0], 0xe9);
}

#[test]
fn data_and_layout() {
    assert_eq!(bytes("db 'ab',1,'c'+1\ndw 0x1234,'x'\ndd 1"), [97, 98, 1, 100, 0x34, 0x12, 120, 0, 1, 0, 0, 0]);
    assert_eq!(bytes("org 0x100\nx: dw x,y-x\ny equ $\norg 0x108\ndb 1"), [0, 1, 4, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes("db 1\nalign 4,0\ndb 2"), [1, 0, 0, 0, 2]);
}

#[test]
fn macros_and_conditions() {
    let source = "%define N 3
        %macro put 2
        %if %1 > 2
        db %2
        %else
        %%l: dw %%l
        %endif
        %endmacro
        put N, 7
        put 1, 7
        put 1, 7
        k equ N*2
        %rep k
        db 0xaa
        %endrep
        %ifdef MISSING
        %error never
        %elif N == 3
        db 1
        %endif";
    assert_eq!(bytes(source), [7, 1, 0, 3, 0, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 1]);
}

#[test]
fn local_labels_belong_to_their_parent() {
    assert_eq!(bytes("a:\n.x: nop\nb:\n.x: jmp .x\njmp a.x"), [0x90, 0xeb, 0xfe, 0xeb, 0xfb]);
}

#[test]
fn mistakes_name_their_line() {
    let error = |source: &str| assemble(source, &Options::default()).expect_err(source).to_string();
    assert_eq!(error("nop\nmov ax,bl"), "line 2: the operands differ in size");
    assert_eq!(error("nop\njmp nowhere"), "line 2: `nowhere` is not defined");
    assert_eq!(error("mov [bx],1"), "line 1: the operand size is not known");
    assert_eq!(error("a:\na:"), "line 2: `a` is defined twice");
    assert_eq!(error("frob ax"), "line 1: unknown instruction `frob`, or not with these operands");
    assert_eq!(error("zork ax"), "line 1: unknown instruction `zork`");
    assert_eq!(error("db 300"), "line 1: 0x12c does not fit in 1 byte(s)");
    assert_eq!(error("x: loop y\ntimes 200 nop\ny:"), "line 1: the target is 200 bytes away, too far for a short jump");
    assert_eq!(error("db 1,2\norg 1"), "line 2: org 0x1 lies behind: already at 0x2");
    assert_eq!(error("%if 1"), "line 1: %if without %endif");
    assert_eq!(error("mov ax,[bx+cx]"), "line 1: these registers do not form a 16-bit address");
    assert_eq!(error("mov al,'"), "line 1: the text has no closing quote");
    assert_eq!(error("%macro m 1\n%endmacro\nm"), "line 3: `m` takes 1 arguments, 0 given");
    assert_eq!(error("%macro m 0\nm\n%endmacro\nm"), "line 4: macros or repetitions nest or grow without end");
    assert_eq!(error("mov ax,5 6"), "line 1: end of line expected, found `6`");
}
