//! Translated code that is kept from one measured run to the next.

use std::path::PathBuf;

/// A folder for translated code, for the time of the measurement.
pub(crate) struct Cache(PathBuf);

impl Cache {
    pub(crate) fn new() -> Cache {
        Cache(std::env::temp_dir().join(format!("beigebox-benches-code-{}", std::process::id())))
    }
    pub(crate) fn folder(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
