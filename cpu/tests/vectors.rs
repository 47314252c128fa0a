//! The interpreter on the hardware-captured vectors.

mod tested {
    pub type Tested = cpu::interpreter::Interpreter;

    pub fn tested() -> Tested {
        Tested::new()
    }
}

mod moo;
