//! Known tones of the speaker, the synthesizer and the sound card, checked in a WAV file by
//! frequency analysis.

mod board;
#[path = "../../machine/tests/tone/mod.rs"]
mod tone;

use beigebox::host::sound::{SoundSink, WavFile};
use board::{Board, Firmware, Out};
use tone::strength;

/// Runs for half a second and records; the samples of both channels as the file has them.
fn record(board: &mut Board) -> [Vec<f64>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let mut wav = WavFile::create(&path).unwrap();
    board.0.take_sound();
    for _ in 0..50 {
        board.0.run_for(10_000_000);
        wav.play(&board.0.take_sound()).unwrap();
    }
    assert_eq!(wav.finish().unwrap(), None);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[..4], b"RIFF");
    assert_eq!(bytes[24..28], 48_000u32.to_le_bytes());
    let samples: Vec<f64> =
        bytes[44..].chunks_exact(2).map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]]))).collect();
    assert_eq!(samples.len(), 48_000, "half a second of guest time");
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

/// `frequency` is there, and its neighbours by a twentieth are not.
fn assert_tone(samples: &[f64], frequency: f64, at_least: f64) {
    let found = strength(samples, frequency);
    assert!(found >= at_least, "{frequency} Hz: {found}");
    for other in [frequency * 0.95, frequency * 1.05, frequency / 2.0] {
        let noise = strength(samples, other);
        assert!(noise < found / 20.0, "{other} Hz: {noise} beside {frequency} Hz: {found}");
    }
}

#[test]
fn the_speaker_plays_the_timers_tone() {
    let mut board = Board::boot(Firmware::Own).unwrap();
    board.0.listen(true);
    // Half a second of silence, then two tones: 1193182 Hz / 1193 and / 2712.
    assert!(record(&mut board)[0].iter().all(|sample| *sample == 0.0));
    for divisor in [1193u16, 2712] {
        let [low, high] = divisor.to_le_bytes();
        board.out(&[Out::Byte(0x43, 0xb6), Out::Byte(0x42, low), Out::Byte(0x42, high), Out::Byte(0x61, 3)]);
        let [left, right] = record(&mut board);
        assert_tone(&left, 1_193_182.0 / f64::from(divisor), 5_000.0);
        assert_eq!(left, right);
    }
    board.out(&[Out::Byte(0x61, 0)]);
    record(&mut board);
    let [left, _] = record(&mut board);
    assert!(left.iter().all(|sample| sample.abs() < 100.0));
}

fn dsp(bytes: &[u8]) -> Vec<Out> {
    bytes.iter().map(|byte| Out::Byte(0x22c, *byte)).collect()
}

#[test]
fn the_sound_card_plays_a_sample_from_memory() {
    let mut board = Board::boot(Firmware::Own).unwrap();
    board.0.listen(true);
    board.out(&[Out::Byte(0x226, 1), Out::Byte(0x226, 0)]);
    // 8 bits unsigned, mono, 11025 Hz: a sine with a period of 25 samples, 441 Hz, in an endless
    // block at 20000h over channel 1.
    let sine = |at: usize, period: f64| (at as f64 * 2.0 * std::f64::consts::PI / period).sin();
    let sample: Vec<u8> = (0..2500).map(|at| (128.0 + 100.0 * sine(at, 25.0)) as u8).collect();
    board.0.write_memory(0x2_0000, &sample);
    let dma =
        [(0x0a, 5), (0x0c, 0), (0x0b, 0x59), (0x02, 0), (0x02, 0), (0x83, 2), (0x03, 0xc3), (0x03, 0x09), (0x0a, 1)];
    board.out(&dma.map(|(port, value)| Out::Byte(port, value)));
    board.out(&dsp(&[0xd1, 0x41, 0x2b, 0x11, 0xc6, 0x00, 0xff, 0x03]));
    let [left, right] = record(&mut board);
    // The mixer is at 14 dB below full twice.
    assert_tone(&left, 441.0, 900.0);
    assert_eq!(left, right);
    // 16 bits signed, stereo, 44100 Hz over channel 5: 882 Hz left, 2205 Hz right.
    let sample: Vec<u8> = (0..4000)
        .flat_map(|at| [sine(at, 50.0), sine(at, 20.0)])
        .flat_map(|level| ((level * 16_000.0) as i16).to_le_bytes())
        .collect();
    board.0.write_memory(0x3_0000, &sample);
    let dma =
        [(0xd4, 5), (0xd8, 0), (0xd6, 0x59), (0xc4, 0), (0xc4, 0x80), (0x8b, 2), (0xc6, 0x3f), (0xc6, 0x1f), (0xd4, 1)];
    board.out(&dsp(&[0xda]));
    board.out(&dma.map(|(port, value)| Out::Byte(port, value)));
    board.out(&dsp(&[0x41, 0xac, 0x44, 0xb6, 0x30, 0xff, 0x03]));
    record(&mut board);
    let [left, right] = record(&mut board);
    assert_tone(&left, 882.0, 600.0);
    assert_tone(&right, 2205.0, 600.0);
    assert!(strength(&left, 2205.0) < 10.0 && strength(&right, 882.0) < 10.0);
    // Silence after the block that D9h makes the last.
    board.out(&dsp(&[0xd9]));
    record(&mut board);
    assert!(record(&mut board)[0].iter().all(|sample| *sample == 0.0));
}

#[test]
fn the_synthesizer_plays_a_note() {
    let mut board = Board::boot(Firmware::Own).unwrap();
    board.0.listen(true);
    let note = [
        (0x20, 0x01),
        (0x23, 0x21),
        (0x40, 0x3f),
        (0x43, 0x00),
        (0x63, 0xf0),
        (0x83, 0x0f),
        (0xc0, 0x30),
        (0xa0, 0x41),
        (0xb0, 0x32),
    ];
    let writes: Vec<Out> =
        note.into_iter().flat_map(|(at, value)| [Out::Byte(0x388, at), Out::Byte(0x389, value)]).collect();
    board.out(&writes);
    record(&mut board);
    let [left, _] = record(&mut board);
    // F-number 241h in block 4.
    assert_tone(&left, 577.0 * 49_716.0 / 65_536.0, 100.0);
}

#[test]
fn listening_changes_nothing_in_the_guest() {
    let run = |listens: bool| {
        let mut board = Board::boot(Firmware::Own).unwrap();
        board.0.listen(listens);
        let tone = [Out::Byte(0x43, 0xb6), Out::Byte(0x42, 0), Out::Byte(0x42, 8), Out::Byte(0x61, 3)];
        board.out(&tone);
        board.out(&dsp(&[0x80, 0xff, 0x03]));
        board.0.run_for(100_000_000);
        let _ = board.0.take_sound();
        board.0.run_for(100_000_000);
        board.0.state_hash()
    };
    assert_eq!(run(true), run(false));
}
