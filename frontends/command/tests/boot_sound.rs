//! Linux plays a tone through its driver for the sound card, and the WAV file has it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};

/// Strength of a frequency among samples (Goertzel): the amplitude of that sine.
fn strength(samples: &[f64], frequency: f64) -> f64 {
    let w = 2.0 * std::f64::consts::PI * frequency / 48_000.0;
    let (mut a, mut b) = (0.0, 0.0);
    for sample in samples {
        (a, b) = (sample + 2.0 * w.cos() * a - b, a);
    }
    (a * a + b * b - 2.0 * w.cos() * a * b).max(0.0).sqrt() * 2.0 / samples.len() as f64
}

/// A square wave of 1 kHz at 8 kHz, 8 bits, through ALSA's `/dev/dsp`. The volumes are set at the
/// mixer's ports, as the driver begins with all of them down.
#[test]
fn linux_plays_through_snd_sb16() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let wav = format!("wav:{}", path.display());
    let boot = Boot::new(Firmware::Own)
        .image("--kernel", "vmlinuz-686")
        .image("--initrd", "initramfs-modules.cpio.gz")
        .with(&["--memory", "128M", "--sound", &wav])
        .with(&["--append", "console=ttyS0,115200 mitigations=off cryptomgr.notests"])
        .on("/ # ", "serial:modprobe snd-sb16 isapnp=0 port=0x220 irq=5 dma8=1 dma16=5<enter>")
        .on("/ # ", "serial:modprobe snd-pcm-oss; cat /proc/asound/cards<enter>")
        .on(
            "/ # ",
            r#"serial:for r in 060 061 062 063; do printf "\\$r\\370" | dd of=/dev/port bs=1 seek=548 2> /dev/null; done<enter>"#,
        )
        .on(
            "/ # ",
            r#"serial:yes "@@@@$(printf '\300\300\300\300')" | tr -d '\n' | head -c 8000 > /dev/dsp && echo play""ed<enter>"#,
        )
        .until("played", "120s");
    let Some(outcome) = boot.run() else { return };
    assert_eq!(outcome.code, 0, "{}", outcome.report());
    assert!(outcome.serial.contains("Sound Blaster 16"), "{}", outcome.report());
    let bytes = std::fs::read(&path).unwrap();
    let left: Vec<f64> =
        bytes[44..].chunks_exact(4).map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]]))).collect();
    let loudest = left.chunks(4800).max_by(|a, b| strength(a, 1000.0).total_cmp(&strength(b, 1000.0))).unwrap();
    let tone = strength(loudest, 1000.0);
    // 4 / pi times the height of the square wave.
    assert!((15_000.0..25_000.0).contains(&tone), "{tone}");
    assert!(strength(loudest, 1100.0) < tone / 20.0 && strength(loudest, 900.0) < tone / 20.0);
}
