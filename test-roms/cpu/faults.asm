; Exceptions raised in ring 0, 32 bit: vector, error code, restart address.
bits 16
main:
    protected
    fault1 'div by zero', DE, NOERR, div dword [zero]
    fault1 'ud2', UD, NOERR, ud2
    jmp finish
zero dd 0
