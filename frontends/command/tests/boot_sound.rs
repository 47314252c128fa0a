//! Linux plays through its driver for the sound card.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};

/// A second of 8 kHz, 8 bits, through ALSA's `/dev/dsp`: the driver finds the DSP and its version,
/// gets its interrupts and its bytes are fetched, or the write would never end.
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
        .on("/ # ", "serial:yes @@@@zzzz | head -c 8000 > /dev/dsp && echo play\"\"ed<enter>")
        .until("played", "120s");
    let Some(outcome) = boot.run() else { return };
    assert_eq!(outcome.code, 0, "{}", outcome.report());
    assert!(outcome.serial.contains("Sound Blaster 16"), "{}", outcome.report());
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 44 + 48_000 * 4 && bytes.len().is_multiple_of(4), "{} bytes of WAV", bytes.len());
}
