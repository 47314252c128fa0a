#![cfg_attr(fuzzing, no_main)]
devices_fuzz::target!("piix_power");
