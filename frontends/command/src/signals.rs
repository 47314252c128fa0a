//! Signals that end a run: the first one cleanly, the second one at once.

use crate::{Failure, code};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// From now on `flag` becomes true when somebody wants the program to end.
pub(crate) fn raise(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    for signal in [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        signal_hook::consts::SIGHUP,
    ] {
        let code = i32::from(code::INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .map_err(|error| Failure::new(code::IO, format!("signals: {error}")))?;
    }
    Ok(())
}
