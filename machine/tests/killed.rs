//! Writers that are killed at any moment: the image is consistent, and holds what was flushed.
//!
//! `BEIGEBOX_KILLS=1000 cargo test --release -p beigebox --test killed` for more than a few kills.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

use beigebox::Storage;
use beigebox::host::image::Image;
use beigebox::host::image::qcow2::{CheckReport, CreateQcow2};
use beigebox::host::{ImageOptions, Mode, open_image};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SECTORS: u64 = 48 << 11;
const IMAGE: &str = "BEIGEBOX_KILLED_IMAGE";
const FIRST: &str = "BEIGEBOX_KILLED_FIRST";

fn mix(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ x >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
}
/// First sector and number of sectors of a write.
fn place(number: u64) -> (u64, u64) {
    let dice = mix(number);
    let first = dice % SECTORS;
    (first, (1 + (dice >> 32 & 0xff) >> (dice >> 20 & 7)).clamp(1, SECTORS - first))
}
fn open(path: &Path, mode: Mode) -> Box<beigebox::host::image::qcow2::Qcow2> {
    let Image::Qcow2(image) = open_image(path, &ImageOptions::new(mode)).unwrap() else { panic!("not qcow2") };
    image
}

/// This program once more, by what runs programs of other processors if they are such.
fn this_program() -> Command {
    let itself = std::env::current_exe().unwrap();
    let runner = std::env::var("BEIGEBOX_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else { return Command::new(itself) };
    let mut command = Command::new(first);
    command.args(words).arg(itself);
    command
}

/// The program that is killed: writes, says which write was flushed last, never ends.
#[test]
#[ignore = "run by the other test, and killed"]
fn writer() {
    let Some(path) = std::env::var_os(IMAGE) else { return };
    let mut number: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut image = open(path.as_ref(), Mode::Write);
    let mut out = std::io::stderr();
    writeln!(out, "open").unwrap();
    loop {
        let (first, count) = place(number);
        image.write(first * 512, &number.to_le_bytes().repeat(64 * count as usize)).unwrap();
        if mix(number ^ 0x5555).is_multiple_of(12) {
            image.flush().unwrap();
            writeln!(out, "flushed {number}").unwrap();
        }
        number += 1;
    }
}

#[test]
fn killed_writers_lose_nothing_that_was_flushed() {
    let kills: u64 = std::env::var("BEIGEBOX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut held = vec![0u64; SECTORS as usize];
    let mut number = 1u64;
    let (mut flushes, mut leaks) = (0, 0);
    for kill in 0..kills {
        if kill % 8 == 0 {
            let settings = CreateQcow2 {
                cluster_bits: [16, 12, 9, 16][(kill / 8 % 4) as usize],
                version: if kill / 8 % 4 == 3 { 2 } else { 3 },
                ..CreateQcow2::new(SECTORS * 512)
            };
            let mut bytes = beigebox::host::image::create_file(&path, true).unwrap();
            settings.write(&mut *bytes).unwrap();
            held.fill(0);
        } else if kill % 8 == 4 {
            open(&path, Mode::Write).create_snapshot(&format!("at {kill}"), 0).unwrap();
        }
        let mut child = this_program()
            .args(["writer", "--exact", "--ignored", "--nocapture"])
            .env(IMAGE, &path)
            .env(FIRST, number.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "open");
        std::thread::sleep(Duration::from_micros(mix(kill) % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut flushed = 0;
        for line in lines {
            if let Some(text) = line.unwrap().strip_prefix("flushed ") {
                flushed = text.parse().unwrap_or(flushed);
                flushes += 1;
            }
        }
        for write in number..=flushed {
            let (first, count) = place(write);
            held[first as usize..(first + count) as usize].fill(write);
        }
        let report: CheckReport = open(&path, Mode::ReadOnly).check().unwrap();
        assert_eq!(report.corruptions, 0, "kill {kill}: {report:?}");
        leaks += report.leaks;
        if let Ok(status) = Command::new("qemu-img").arg("check").arg(&path).output() {
            // 3: leaked clusters, and nothing worse.
            let text = String::from_utf8_lossy(&status.stdout).into_owned();
            assert!(matches!(status.status.code(), Some(0 | 3)), "kill {kill}: {text}");
        }
        let mut image = open(&path, Mode::ReadOnly);
        let mut all = vec![0; (SECTORS * 512) as usize];
        image.read(0, &mut all).unwrap();
        let mut last = flushed.max(number);
        for (at, sector) in all.chunks_exact(512).enumerate() {
            let found = u64::from_le_bytes(sector[..8].try_into().unwrap());
            assert!(sector == found.to_le_bytes().repeat(64), "kill {kill}: sector {at} is torn");
            let (first, count) = place(found);
            let later = found > flushed && found >= number && (first..first + count).contains(&(at as u64));
            assert!(found == held[at] || later, "kill {kill}: sector {at} holds {found}, not {}", held[at]);
            held[at] = found;
            last = last.max(found);
        }
        number = last + 1;
    }
    assert!(flushes > 0);
    println!("{kills} kills, {flushes} flushes, {leaks} leaked clusters, {number} writes");
}
