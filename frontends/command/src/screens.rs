//! The front ends of a run: where the screen is shown, and what people do there.

use crate::console::{Console, Input};
#[cfg(unix)]
use crate::terminal::Terminal;
use crate::{Failure, code};
use beigebox::Machine;
use beigebox::clock::Pace;
use beigebox::host::{self, Mode};
use beigebox::pc::Chip;
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec};
use screen::{Command, Event, FrontEnd, Hands, Mouse, Status};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Real time between two looks at the limits while the guest is halted and nobody types.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// The same while somebody is using a front end: what he does is not always seen by waiting for it.
const LONGEST_WAIT_USED: Duration = Duration::from_millis(8);
/// How long after what somebody did he is still using it.
const USED: Duration = Duration::from_secs(2);
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(16);
/// Between two looks at what people do.
const POLL: Duration = Duration::from_millis(2);
/// Between two computations of the speed.
const MEASURE: Duration = Duration::from_millis(500);
/// How long a light stays on.
const LIGHT: Duration = Duration::from_millis(120);
/// How long a message stays.
const MESSAGE: Duration = Duration::from_secs(4);

/// Images that are put into a drive one after the other.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    pub(crate) images: Vec<PathBuf>,
    next: usize,
}

impl Stack {
    pub(crate) fn new(images: Vec<PathBuf>) -> Stack {
        Stack { images, next: 0 }
    }
    fn next(&mut self) -> Option<PathBuf> {
        let image = self.images.get(self.next)?.clone();
        self.next = (self.next + 1) % self.images.len();
        Some(image)
    }
}

/// A light of a drive.
struct Light {
    name: &'static str,
    chip: Chip,
    seen: u64,
    since: Option<Instant>,
}

/// All front ends of a run.
pub(crate) struct Screens {
    fronts: Vec<Box<dyn FrontEnd>>,
    console: Option<Console>,
    hands: Hands,
    events: Vec<Event>,
    status: Status,
    lights: Vec<Light>,
    message_since: Instant,
    shown: Instant,
    /// Instructions that the guest had run then.
    ran: u64,
    polled: Instant,
    /// When somebody last did something.
    used: Instant,
    measured: Instant,
    /// Guest time and instructions then.
    counted: (u64, u64),
    pub(crate) floppies: Stack,
    pub(crate) discs: Stack,
    mode: Mode,
}

impl Screens {
    pub(crate) fn new(name: String, mode: Mode) -> Screens {
        let now = Instant::now();
        let light = |name, chip| Light { name, chip, seen: 0, since: None };
        Screens {
            fronts: Vec::new(),
            console: None,
            hands: Hands::new(),
            events: Vec::new(),
            status: Status { name, ..Status::default() },
            lights: vec![light("floppy", Chip::Floppy), light("disk", Chip::Ide)],
            message_since: now,
            shown: now - FRAME,
            ran: 0,
            polled: now - POLL,
            used: now,
            measured: now,
            counted: (0, 0),
            floppies: Stack::default(),
            discs: Stack::default(),
            mode,
        }
    }
    /// One more place where the screen is shown.
    pub(crate) fn add(&mut self, front: Box<dyn FrontEnd>) {
        self.fronts.push(front);
    }
    #[cfg(unix)]
    pub(crate) fn terminal(&mut self) -> std::io::Result<()> {
        self.fronts.push(Box::new(Terminal::open()?));
        Ok(())
    }
    /// Keys come from a Unix terminal only.
    #[cfg(not(unix))]
    pub(crate) fn terminal(&mut self) -> std::io::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "there is no screen in a terminal on this host"))
    }
    /// Standard input goes to the serial line.
    pub(crate) fn console(&mut self) -> std::io::Result<()> {
        self.console = Some(Console::open()?);
        Ok(())
    }
    /// Tells the people at the front ends, or standard error when there are none.
    pub(crate) fn tell(&mut self, text: String) {
        if self.fronts.is_empty() {
            eprintln!("beigebox: {text}");
        }
        self.status.message = Some(text);
        self.message_since = Instant::now();
    }

    /// Between two slices of the run: waits as long as the guest is ahead of the host's clock,
    /// shows the screen, does what people did. Returns whether somebody wants to quit.
    pub(crate) fn turn(&mut self, machine: &mut Machine, pace: Option<&Pace>) -> Result<bool, Failure> {
        let mut wait = Duration::ZERO;
        if let Some(pace) = pace {
            let wakes = machine.is_halted().then(|| machine.next_event());
            let is_used = !self.fronts.is_empty() && self.used.elapsed() < USED;
            let longest = if is_used { LONGEST_WAIT_USED } else { LONGEST_WAIT };
            wait = pace.wait(machine.now(), wakes).min(longest);
            // What it has drawn is to be seen first.
            if !self.fronts.is_empty() && machine.counters().instructions != self.ran {
                wait = wait.min(FRAME.saturating_sub(self.shown.elapsed()));
            }
        }
        if let Some(console) = &mut self.console {
            match console.poll(wait) {
                Some(Input::Bytes(bytes)) => machine.serial_input(0, &bytes),
                Some(Input::Quit) => return Ok(true),
                None => {}
            }
        } else if !wait.is_zero() {
            self.wait(wait);
        }
        if !self.fronts.is_empty() && self.fronts(machine)? {
            return Ok(true);
        }
        if let Some(pace) = pace
            && machine.is_halted()
        {
            machine.skip_to(pace.idle_until(machine.now(), machine.next_event()));
        }
        Ok(false)
    }

    /// Nothing says here when somebody does something.
    #[cfg(not(unix))]
    fn wait(&mut self, longest: Duration) {
        std::thread::sleep(longest.min(LONGEST_WAIT_USED));
    }
    /// Until somebody does something, so long at most.
    #[cfg(unix)]
    fn wait(&mut self, longest: Duration) {
        let lines = self.fronts.iter().filter_map(|front| front.line());
        let mut lines: Vec<_> = lines.map(|line| PollFd::from_borrowed_fd(line, PollFlags::IN)).collect();
        let time = Timespec { tv_sec: 0, tv_nsec: longest.as_nanos().min(999_999_999) as _ };
        // An error is as good as an event: then each front end is asked.
        if rustix::event::poll(&mut lines, Some(&time)) != Ok(0) {
            drop(lines);
            self.polled -= POLL;
            self.used = Instant::now();
        }
    }

    fn fronts(&mut self, machine: &mut Machine) -> Result<bool, Failure> {
        let failure = |error: std::io::Error| Failure::new(code::IO, format!("the screen: {error}"));
        let now = Instant::now();
        if now - self.polled >= POLL {
            self.polled = now;
            for front in &mut self.fronts {
                front.poll(&mut self.events).map_err(failure)?;
            }
            if !self.events.is_empty() {
                self.used = now;
            }
            if self.act(machine) {
                return Ok(true);
            }
        }
        if now - self.shown >= FRAME {
            self.shown = now;
            self.ran = machine.counters().instructions;
            self.look(machine, now);
            for front in &mut self.fronts {
                front.show(machine, &self.status).map_err(failure)?;
            }
        }
        Ok(false)
    }

    /// Does what people did. Returns whether somebody wants to quit.
    fn act(&mut self, machine: &mut Machine) -> bool {
        if self.events.is_empty() {
            return false;
        }
        let frame = machine.frame(&mut screen::Viewer::new());
        let size = (frame.width, frame.height);
        for event in std::mem::take(&mut self.events) {
            match self.hands.apply(&event, machine, size) {
                Some(Command::Quit) => return true,
                Some(Command::Reset) => {
                    machine.reset();
                    self.tell("reset".into());
                }
                Some(Command::Screenshot) => self.screenshot(machine),
                Some(Command::NextFloppy) => self.next_floppy(machine),
                Some(Command::NextDisc) => self.next_disc(machine),
                Some(Command::CtrlAltDelete) | None => {}
            }
        }
        false
    }

    fn screenshot(&mut self, machine: &mut Machine) {
        let free = (1..).map(|number| PathBuf::from(format!("beigebox-{number}.png"))).find(|path| !path.exists());
        let Some(path) = free else { return };
        let text = match host::write_png(&machine.picture(), &path) {
            Ok(()) => format!("screenshot in {}", path.display()),
            Err(error) => error.to_string(),
        };
        self.tell(text);
    }
    fn next_floppy(&mut self, machine: &mut Machine) {
        let text = match self.floppies.next() {
            None => "no other floppies: name them with --next-floppy".into(),
            Some(path) => match host::open_floppy(&path, self.mode) {
                Ok(disk) => {
                    machine.change_floppy(0, Some(disk));
                    format!("{} is in drive A", path.display())
                }
                Err(error) => error.to_string(),
            },
        };
        self.tell(text);
    }
    fn next_disc(&mut self, machine: &mut Machine) {
        let text = match self.discs.next() {
            None => "no other discs: name them with --next-disc".into(),
            Some(path) => match host::open_cdrom(&path) {
                Ok(disc) => {
                    machine.change_cdrom(Some(disc));
                    format!("{} is in the CD-ROM drive", path.display())
                }
                Err(error) => error.to_string(),
            },
        };
        self.tell(text);
    }

    /// Brings the status up to date.
    fn look(&mut self, machine: &Machine, now: Instant) {
        let passed = now - self.measured;
        if passed >= MEASURE {
            let counters = machine.counters();
            let (time, instructions) = (counters.time.0, counters.instructions);
            let seconds = passed.as_secs_f64();
            let since = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            self.status.speed = (since(time, self.counted.0) / 1e7).round() as u32;
            self.status.mips = (since(instructions, self.counted.1) / 1e6).round() as u32;
            self.counted = (time, instructions);
            self.measured = now;
        }
        for light in &mut self.lights {
            let activity = machine.activity(light.chip);
            if activity != light.seen {
                light.seen = activity;
                light.since = Some(now);
            }
        }
        let is_lit = |light: &Light| light.since.is_some_and(|since| now - since < LIGHT);
        self.status.drives = self.lights.iter().map(|light| (light.name.to_owned(), is_lit(light))).collect();
        self.status.mouse = if machine.takes_absolute_pointer() {
            Mouse::Absolute
        } else if machine.takes_mouse() {
            Mouse::Relative
        } else {
            Mouse::Ignored
        };
        if self.status.message.is_some() && now - self.message_since >= MESSAGE {
            self.status.message = None;
        }
    }
}
