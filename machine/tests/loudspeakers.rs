//! The host's sound output, with a device that only this test knows: ALSA writes what it is given into a pipe, and this
//! test takes it from there at the pace of a sound card.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod tone;

use beigebox::clock::Pace;
use beigebox::host::sound::{Loudspeakers, SoundSink};
use beigebox::loader::Payload;
use beigebox::{Machine, Stop};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tone::strength;

/// Set for the process that plays: ALSA reads its configuration once.
const PLAYS: &str = "BEIGEBOX_TEST_PLAYS";
const MS: Duration = Duration::from_millis(1);
/// Bytes that a card takes in a millisecond: 48 frames of two samples.
const PER_MS: usize = 48 * 4;

/// What plays, in a process of its own: a second of a tone; then the device takes nothing for 400 ms; then the emulator
/// does not run for 400 ms.
fn plays() {
    // Counter 2 divides by 1193 and drives the speaker; sti; hlt; jmp back to hlt.
    let code = [
        0xb0, 0xb6, 0xe6, 0x43, 0xb8, 0xa9, 0x04, 0xe6, 0x42, 0x88, 0xe0, 0xe6, 0x42, 0xe4, 0x61, 0x0c, 0x03, 0xe6,
        0x61, 0xfb, 0xf4, 0xeb, 0xfd,
    ];
    let payload = Payload { kernel: code.to_vec(), flat: Some(0x7c00), ..Payload::default() };
    let mut pc = Machine::builder().memory(2 << 20).direct_boot(payload).build().unwrap();
    let mut speakers = Loudspeakers::open().unwrap();
    pc.listen(true);
    let pace = Pace::starting(pc.now());
    let (began, mut slept, mut longest) = (Instant::now(), false, Duration::ZERO);
    while began.elapsed() < 4000 * MS {
        if !slept && began.elapsed() > 3000 * MS {
            slept = true;
            std::thread::sleep(400 * MS);
        }
        assert_eq!(pc.run_for(1_000_000), Stop::Done);
        let samples = pc.take_sound();
        let before = Instant::now();
        if let Some(text) = speakers.play(&samples).unwrap() {
            println!("told: {text}");
        }
        longest = longest.max(before.elapsed());
        std::thread::sleep(pace.wait(pc.now(), None));
    }
    println!("longest: {} us", longest.as_micros());
    println!("in the end: {}", speakers.finish().unwrap().unwrap_or_default());
    // Closing waits for the device, which is not there any more.
    std::process::exit(0);
}

fn child(folder: &Path) -> Command {
    let text = format!(
        "pcm.!default {{ type file slave.pcm {{ type null }} file \"{}\" format \"raw\" }}\nctl.!default {{ type hw card 0 }}\n",
        folder.join("device").display()
    );
    std::fs::write(folder.join("asound.conf"), text).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_host_hears_a_tone_and_why_it_stops", "--nocapture"]);
    command.env("ALSA_CONFIG_PATH", folder.join("asound.conf")).env(PLAYS, "1").stdout(Stdio::piped());
    command
}

#[test]
fn the_host_hears_a_tone_and_why_it_stops() {
    if std::env::var_os(PLAYS).is_some() {
        return plays();
    }
    // Sound is a matter of time, and a busy host takes some away: one undisturbed run is proof.
    for _ in 1..6 {
        if std::panic::catch_unwind(hears_a_tone_and_why_it_stops).is_ok() {
            return;
        }
    }
    hears_a_tone_and_why_it_stops();
}

fn hears_a_tone_and_why_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("device");
    assert!(Command::new("mkfifo").arg(&device).status().unwrap().success());
    let player = child(folder.path()).spawn().unwrap();
    let mut device = File::open(&device).unwrap();
    let mut heard = Vec::new();
    let mut bytes = [0; PER_MS];
    let (mut began, mut stood) = (None, false);
    while device.read_exact(&mut bytes).is_ok() {
        let start = *began.get_or_insert_with(Instant::now);
        heard.extend(bytes.chunks_exact(4).map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]]))));
        if !stood && start.elapsed() > 1700 * MS {
            stood = true;
            std::thread::sleep(400 * MS);
            began = Some(start + 400 * MS);
        }
        let start = began.unwrap();
        std::thread::sleep((MS * (heard.len() / 48) as u32).saturating_sub(start.elapsed()));
    }
    let output = player.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // A second of it, undisturbed: each half period has 23 to 25 samples, so nothing is missing and nothing is heard twice
    // but a sample here and there by which clocks are brought together.
    let first = heard.iter().position(|level| *level != 0.0).unwrap_or_else(|| panic!("silence: {said}"));
    let tone = &heard[first + 4_800..first + 4_800 + 48_000];
    let frequency = 1_193_182.0 / 1193.0;
    let found = strength(tone, frequency);
    assert!(found > 5_000.0, "{frequency} Hz: {found}");
    for other in [frequency * 0.95, frequency * 1.05, frequency / 2.0] {
        let noise = strength(tone, other);
        assert!(noise < found / 20.0, "{other} Hz: {noise} beside {found}");
    }
    let changes: Vec<usize> = (1..tone.len()).filter(|at| (tone[at - 1] < 0.0) != (tone[*at] < 0.0)).collect();
    let halves: Vec<usize> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(halves.iter().all(|half| (23..=25).contains(half)), "{halves:?}");
    // The guest was never made to wait, and was told whose fault it was.
    let longest =
        said.lines().find_map(|line| line.strip_prefix("longest: ")?.strip_suffix(" us")?.parse::<u64>().ok());
    assert!(longest.is_some_and(|longest| longest < 200_000), "{said}");
    assert!(said.contains("told: sound stopped: the emulator did not run for "), "{said}");
    assert!(
        said.contains("in the end: sound stopped once because the host did not let the emulator run (for 4"),
        "{said}"
    );
    assert!(said.contains("left out because the host's device took less than it should have"), "{said}");
}
