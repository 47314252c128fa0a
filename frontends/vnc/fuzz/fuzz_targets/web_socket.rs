#![cfg_attr(fuzzing, no_main)]
vnc_fuzz::target!("web_socket");
