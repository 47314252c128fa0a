//! Translated code on disk: the guest's results are those of the interpreter whatever has become of the files.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use cpu::Model;
use cpu::bus::{Bus, Cycle};
use cpu::engine::Engine;
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::state::{Attributes, CpuState, Seg, Segment, Width, cr0, gpr};
use jit::{CacheSettings, Counters, Settings, Translator};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const RAM: u64 = 1 << 20;
const CODE: u64 = 0x4000;
const FUNCTIONS: u64 = 40;
const CHILD: &str = "BEIGEBOX_TEST_CACHE_CHILD";

struct Nobody;
impl Bus for Nobody {
    fn port_read(&mut self, _: Cycle<'_>, _: u16, _: Width) -> u32 {
        0
    }
    fn port_write(&mut self, _: Cycle<'_>, _: u16, _: Width, _: u32) {}
    fn mmio_read(&mut self, _: Cycle<'_>, _: u64, _: Width) -> u64 {
        0
    }
    fn mmio_write(&mut self, _: Cycle<'_>, _: u64, _: Width, _: u64) {}
    fn acknowledge_interrupt(&mut self, _: Cycle<'_>) -> Option<u8> {
        None
    }
    fn attention(&self) -> bool {
        false
    }
}

fn program(seed: u32) -> Vec<u8> {
    functions(seed, FUNCTIONS, 300)
}
/// Functions with loops, and a program that calls them all, again and again.
fn functions(seed: u32, functions: u64, times: u32) -> Vec<u8> {
    let mut memory = vec![0; (CODE + 0x1000 + 5 * functions + 0x23 * functions) as usize];
    let mut main = Vec::new();
    for n in 0..functions {
        let at = CODE + 0x1000 + 5 * functions + 0x23 * n;
        // mov ecx, TIMES; again: add eax, N; rol eax, 5; push eax; bswap eax; xor [2000h], eax; sahf; pop eax;
        // loop again; ret
        let mut code = vec![0xb9];
        code.extend(times.to_le_bytes());
        code.push(5);
        code.extend((seed.wrapping_mul(n as u32 + 1)).to_le_bytes());
        code.extend([0xc1, 0xc0, 5, 0x50, 0x0f, 0xc8, 0x31, 0x05, 0, 0x20, 0, 0, 0x9e, 0x58, 0x49, 0x75, 0xea, 0xc3]);
        memory[at as usize..at as usize + code.len()].copy_from_slice(&code);
        let from = CODE + main.len() as u64 + 5;
        main.push(0xe8);
        main.extend((at.wrapping_sub(from) as u32).to_le_bytes());
    }
    // jmp CODE
    main.push(0xe9);
    main.extend((main.len() as u32 + 4).wrapping_neg().to_le_bytes());
    memory[CODE as usize..CODE as usize + main.len()].copy_from_slice(&main);
    memory
}

fn run(engine: &mut dyn Engine, program: &[u8]) -> (String, u64) {
    let mut memory = GuestMemory::new(RAM, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 0xa_0000, ram, 0, false);
    memory.write(0, program);
    let mut cpu = CpuState::new(Model::PentiumM);
    for seg in Seg::ALL {
        let attributes = Attributes(if seg == Seg::Cs { 0xc9b } else { 0xc93 });
        cpu.seg[seg as usize] = Segment::new(8, 0, u32::MAX, attributes, true);
    }
    cpu.cr0 |= cr0::PE;
    cpu.gpr.set(gpr::SP, 0x3f00);
    cpu.rip = CODE;
    cpu.update_mode();
    for _ in 0..40 {
        engine.run(&mut cpu, &mut memory, &mut Nobody, program.len().max(150_000) as u64);
    }
    cpu.lazy.settle();
    let mut word = [0; 8];
    memory.read(0x2000, &mut word);
    (format!("{cpu:x?}"), u64::from_le_bytes(word))
}

fn settings(folder: &Path) -> Settings {
    let cache = CacheSettings { folder: folder.to_owned(), limit: 16 << 20 };
    Settings { threshold: 20, memory: 4 << 20, background: Some(false), cache: Some(cache), ..Settings::default() }
}
fn plain(program: &[u8]) -> (String, u64) {
    run(&mut Interpreter::new(), program)
}
/// Runs with the cache in `folder`, and compares.
fn with_cache(folder: &Path, program: &[u8]) -> Counters {
    let mut translator = Translator::new(&settings(folder)).unwrap();
    assert!(translator.cache_error().is_none(), "{:?}", translator.cache_error());
    assert_eq!(run(&mut translator, program), plain(program));
    translator.counters()
}
/// The oldest first.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = all.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_second_run_starts_with_what_the_first_has_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("deep/code");
    let program = program(0x1234_5677);
    let cold = with_cache(&folder, &program);
    assert!(cold.loaded == 0 && cold.regions >= FUNCTIONS, "{cold:?}");
    for path in files(&folder, "").into_iter().chain([folder.clone()]) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    let warm = with_cache(&folder, &program);
    assert!(warm.loaded >= FUNCTIONS && 4 * warm.regions < cold.regions, "{warm:?}");
    assert!(warm.native > cold.native, "{warm:?} {cold:?}");
}

#[test]
fn changed_code_is_not_taken_for_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = program(0x1234_5677);
    with_cache(folder.path(), &bytes);
    // The constant in one function; then in all of them, and back.
    bytes[(CODE + 0x1000 + 5 * FUNCTIONS + 0x23 * 7 + 6) as usize] ^= 0x55;
    let warm = with_cache(folder.path(), &bytes);
    assert!(warm.loaded > 0 && warm.regions > 0, "{warm:?}");
    let other = with_cache(folder.path(), &program(0x0bad_cafe));
    assert!(other.regions >= FUNCTIONS, "{other:?}");
    for bytes in [bytes, program(0x0bad_cafe), program(0x1234_5677)] {
        let again = with_cache(folder.path(), &bytes);
        assert!(again.loaded >= FUNCTIONS, "{again:?}");
    }
}

#[test]
fn regions_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let at = CODE + 0x1000 + 5 * FUNCTIONS + 0x23 * 7 + 5;
    let dump = jit::DumpSettings { folder: folder.path().to_owned(), address: Some(at) };
    let settings = Settings { cache: None, dump: Some(dump), ..settings(folder.path()) };
    run(&mut Translator::new(&settings).unwrap(), &program(0x1234_5677));
    let all = files(folder.path(), ".txt");
    assert!(!all.is_empty() && all.len() < 10, "{}", all.len());
    for file in all {
        let text = fs::read_to_string(file).unwrap();
        let (guest, host) = text.split_once("\nhost\n").unwrap();
        assert!(guest.contains(&format!("{at:08x}  add eax")) && guest.contains("bswap eax"), "{guest}");
        assert!(host.contains("bswap eax") && host.lines().count() > guest.lines().count(), "{host}");
    }
}

#[test]
fn what_memory_had_no_room_for_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    // Two segments of code are all there is.
    let memory = functions(0x1234_5677, 4000, 7);
    let cold = with_cache(folder.path(), &memory);
    let warm = with_cache(folder.path(), &memory);
    assert!(cold.evicted > 1000 && warm.evicted > 1000 && warm.loaded > 4000, "{cold:?} {warm:?}");
}

#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(0x1234_5677);
    with_cache(folder.path(), &program);
    let all = with_cache(folder.path(), &program).loaded;
    let want = plain(&program);
    let mut damaged = 0;
    for end in [".index", ".code"] {
        let path = files(folder.path(), end).remove(0);
        let good = fs::read(&path).unwrap();
        let mut check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut translator = Translator::new(&settings(folder.path())).unwrap();
            assert_eq!(run(&mut translator, &program), want);
            let loaded = translator.counters().loaded;
            damaged += u64::from(loaded < all);
            // What this run would keep does not belong here.
            drop(translator);
            for file in files(folder.path(), "").into_iter().filter(|f| f.extension() != Some("lock".as_ref())) {
                if !file.to_string_lossy().contains(path.file_stem().unwrap().to_str().unwrap()) {
                    fs::remove_file(file).unwrap();
                }
            }
        };
        // Each byte of the header and of the first entry or record; then some everywhere.
        for at in (0..130).chain((200..good.len()).step_by(good.len() / 20)) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            check(&bytes);
        }
        for length in [0, 1, 23, 24, 25, 71, 72, good.len() / 2, good.len() - 1] {
            check(&good[..length]);
        }
        check(&[&good[..], &[0xff; 100]].concat());
        check(&vec![0; good.len()]);
        fs::write(&path, &good).unwrap();
    }
    // Headers, at least; what is missing elsewhere may make place for other records.
    assert!(damaged > 48, "{damaged}");
    assert!(with_cache(folder.path(), &program).loaded >= FUNCTIONS);
}

#[test]
fn only_files_of_ones_own_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("code");
    let program = program(0x1234_5677);
    with_cache(&at, &program);
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    // A folder that others can write.
    for mode in [0o770, 0o722, 0o702] {
        chmod(&at, mode);
        let mut translator = Translator::new(&settings(&at)).unwrap();
        assert!(translator.cache_error().is_some());
        assert_eq!(run(&mut translator, &program), plain(&program));
        assert_eq!(translator.counters().loaded, 0);
    }
    chmod(&at, 0o700);
    // A file that others can write, and one that is somewhere else.
    for end in [".index", ".code"] {
        let path = files(&at, end).remove(0);
        chmod(&path, 0o620);
        let settings = settings(&at);
        let loaded = || {
            let mut translator = Translator::new(&settings).unwrap();
            assert_eq!(run(&mut translator, &program), plain(&program));
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let loaded = translator.counters().loaded;
            drop(translator);
            files(&at, "").iter().filter(|f| !f.to_str().unwrap().contains(&stem)).for_each(|f| {
                let _ = fs::remove_file(f);
            });
            loaded
        };
        assert_eq!(loaded(), 0);
        chmod(&path, 0o600);
        assert!(loaded() > 0);
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(loaded(), 0);
        fs::remove_file(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
    }
    // What is no folder.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Translator::new(&settings(&file)).unwrap().cache_error().is_some());
}

/// Not a test of its own: what other processes do in the tests below.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let rounds = std::env::var("ROUNDS").unwrap().parse().unwrap();
    for n in 0..rounds {
        with_cache(folder.as_ref(), &program(0x1234_5677 + 2 * n));
    }
}
fn spawn(folder: &Path, rounds: u32) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact"])
        .env(CHILD, folder)
        .env("ROUNDS", rounds.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn several_runs_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| spawn(folder.path(), 6)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for n in 0..6 {
        let warm = with_cache(folder.path(), &program(0x1234_5677 + 2 * n));
        assert!(warm.loaded >= FUNCTIONS, "{n}: {warm:?}");
    }
}

#[test]
fn a_killed_run_leaves_nothing_bad() {
    let folder = tempfile::tempdir().unwrap();
    for milliseconds in (5..120).step_by(9) {
        let mut child = spawn(folder.path(), 1000);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        with_cache(folder.path(), &program(0x1234_5677));
    }
    let warm = with_cache(folder.path(), &program(0x1234_5677));
    assert!(warm.loaded >= FUNCTIONS, "{warm:?}");
}
