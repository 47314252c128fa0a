#![cfg_attr(fuzzing, no_main)]
devices_fuzz::target!("ne2000_isa");
