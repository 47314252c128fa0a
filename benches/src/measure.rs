//! What every measurement needs.

use std::path::{Path, PathBuf};

/// The command that was built together with this program.
pub(crate) fn beigebox() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("beigebox"))
}

/// The folder of the guests that `scripts/setup` has made.
pub(crate) fn guests() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.guests");
    std::env::var_os("BEIGEBOX_GUESTS").map_or_else(beside, PathBuf::from)
}

/// CPU seconds that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 in clock ticks, of which Linux reports 100 a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// The upper of the two in the middle when their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
