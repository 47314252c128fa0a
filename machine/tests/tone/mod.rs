//! Frequency analysis.

/// Strength of a frequency among samples (Goertzel): the amplitude of that sine.
pub(crate) fn strength(samples: &[f64], frequency: f64) -> f64 {
    let w = 2.0 * std::f64::consts::PI * frequency / 48_000.0;
    let (mut a, mut b) = (0.0, 0.0);
    for sample in samples {
        (a, b) = (sample + 2.0 * w.cos() * a - b, a);
    }
    (a * a + b * b - 2.0 * w.cos() * a * b).max(0.0).sqrt() * 2.0 / samples.len() as f64
}
