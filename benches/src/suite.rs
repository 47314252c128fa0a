//! The guest benchmark suite, and what is made of its results.

use std::path::Path;

/// Names of the benchmarks in these groups, and how many units of work make each its full length, from a file of them.
///
/// # Errors
/// When `scripts/setup` has not made the suite.
pub(crate) fn units(file: &Path, groups: &[String]) -> Result<Vec<(String, u64)>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}; run scripts/setup", file.display()))?;
    let mut all = Vec::new();
    for entry in text.split([',', '\n', ' ']).filter(|e| !e.is_empty()) {
        let Some((name, units)) = entry.split_once(':') else { continue };
        if groups.iter().any(|g| name == g || name.split('.').next() == Some(g)) {
            all.push((name.to_owned(), units.trim().parse()?));
        }
    }
    Ok(all)
}

pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|v| v.ln()).sum::<f64>() / values.len().max(1) as f64).exp()
}
