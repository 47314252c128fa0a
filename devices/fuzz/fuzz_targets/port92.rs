#![cfg_attr(fuzzing, no_main)]
devices_fuzz::target!("port92");
