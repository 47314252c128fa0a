//! fonts
pub fn system() -> String { "%macro font8_low 0\n times 1024 db 0\n%endmacro\n".into() }
pub fn display() -> String { "font8: times 2048 db 0\nfont14: times 3584 db 0\nfont16: times 4096 db 0\n".into() }
