; The backdoor port of VMware: version, the absolute pointer's queue.
bits 16
MAGIC equ 564d5868h
; A call: command, EBX; the answer is in [a], [b], [c], [d]
%macro call_it 2
    mov ecx, %1
    mov ebx, %2
    call backdoor
%endmacro
main:
    call_it 10, 0
    equal16 'version: magic', [b], MAGIC
    equal16 'version', [a], 6
    equal16 'product', [c], 4
    call_it 40, 0
    equal16 'the pointer is off', [a], 0ffff0000h
    call_it 41, 45414552h
    call_it 40, 0
    equal16 'enabled: its name waits', [a], 1
    call_it 39, 1
    equal16 'its name', [a], 3442554ah
    call_it 40, 0
    equal16 'nothing waits', [a], 0
    call_it 41, 53424152h
    call_it 40, 0
    equal16 'absolute: nothing waits', [a], 0
    call_it 39, 4
    equal16 'read in vain: an error', [a], 0ffff0000h
    call_it 40, 0
    equal16 'which stands', [a], 0ffff0000h
    call_it 41, 45414552h
    call_it 40, 0
    equal16 'until it is enabled anew', [a], 1
    call_it 41, 0f5h
    call_it 40, 0
    equal16 'off again', [a], 0ffff0000h
    done
backdoor:
    mov eax, MAGIC
    mov edx, 5658h
    in eax, dx
    mov [a], eax
    mov [b], ebx
    mov [c], ecx
    mov [d], edx
    ret
align 4, 0
a dd 0
b dd 0
c dd 0
d dd 0
