//! The translating engine on the hardware-captured vectors. They are of processors before the 386, whose code it leaves to
//! its interpreter: what is proved is that it does.
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

mod tested {
    use jit::{Settings, Translator};

    pub type Tested = Translator;

    pub fn tested() -> Tested {
        let settings = Settings { threshold: 1, background: Some(false), cache: None, ..Settings::default() };
        Translator::new(&settings).unwrap()
    }
}

#[path = "../../cpu/tests/moo/mod.rs"]
mod moo;
