#![cfg_attr(fuzzing, no_main)]
machine_fuzz::target!("vdi");
