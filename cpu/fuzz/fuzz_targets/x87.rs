#![cfg_attr(fuzzing, no_main)]
cpu_fuzz::target!("x87");
