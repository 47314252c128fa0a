//! Where sound goes: a WAV file, the host's loudspeakers (feature `sound`), or nowhere.

use crate::sound::RATE;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Takes samples and never makes the machine wait.
pub trait SoundSink {
    /// Takes the next samples. Returns what a person should know now, for instance why sound has
    /// just stopped.
    ///
    /// # Errors
    /// What the host says about its file or device.
    fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<Option<String>>;
    /// Ends well: headers are completed. Returns what a person should know, for instance how often
    /// the loudspeakers had to wait, and why.
    ///
    /// # Errors
    /// What the host says about its file or device.
    fn finish(&mut self) -> io::Result<Option<String>>;
}

/// A WAV file: 48 000 samples a second of guest time, two channels of 16 bits.
#[derive(Debug)]
pub struct WavFile {
    file: BufWriter<File>,
    bytes: u64,
}

/// A RIFF chunk cannot be longer.
const LONGEST: u64 = u32::MAX as u64 - 36;

impl WavFile {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> io::Result<WavFile> {
        let mut wav = WavFile { file: BufWriter::new(File::create(path)?), bytes: 0 };
        wav.header()?;
        Ok(wav)
    }
    fn header(&mut self) -> io::Result<()> {
        const CHANNELS: u32 = 2;
        const BITS: u32 = 16;
        let frame = CHANNELS * BITS / 8;
        let data = self.bytes as u32;
        let mut header = Vec::with_capacity(44);
        header.extend(b"RIFF");
        header.extend((data + 36).to_le_bytes());
        header.extend(b"WAVEfmt ");
        header.extend(16u32.to_le_bytes());
        header.extend([1, 0, CHANNELS as u8, 0]);
        header.extend(RATE.to_le_bytes());
        header.extend((RATE * frame).to_le_bytes());
        header.extend([frame as u8, 0, BITS as u8, 0]);
        header.extend(b"data");
        header.extend(data.to_le_bytes());
        self.file.write_all(&header)
    }
}

impl SoundSink for WavFile {
    fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<Option<String>> {
        for [left, right] in samples {
            if self.bytes + 4 > LONGEST {
                return Ok(None);
            }
            self.file.write_all(&left.to_le_bytes())?;
            self.file.write_all(&right.to_le_bytes())?;
            self.bytes += 4;
        }
        Ok(None)
    }
    fn finish(&mut self) -> io::Result<Option<String>> {
        self.file.seek(SeekFrom::Start(0))?;
        self.header()?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.flush()?;
        let full = self.bytes + 4 > LONGEST;
        Ok(full.then(|| "the WAV file is full at 4 GiB: what came later is not in it".into()))
    }
}

#[cfg(feature = "sound")]
pub use loudspeakers::Loudspeakers;

/// Samples on their way from the machine to the host's device, which takes them at its own pace.
/// When they run out it finds out why.
#[cfg_attr(not(feature = "sound"), allow(dead_code, reason = "only loudspeakers need it"))]
mod flow {
    use crate::sound::RATE;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Samples that wait at most: more would be heard too late.
    const MOST: usize = RATE as usize / 4;
    /// Samples that must wait before a sound begins, or begins again.
    const ENOUGH: usize = RATE as usize / 20;
    /// The clock of the device is not that of the host. While more than this wait, one sample in
    /// `STRETCH` is left out; with less than half of `ENOUGH`, one is heard twice.
    const MANY: usize = 3 * ENOUGH;
    const STRETCH: usize = 400;
    /// What the machine has made is compared with real time over at least so long.
    const WINDOW: Duration = Duration::from_secs(1);
    /// Between two reports while it runs.
    const PAUSE: Duration = Duration::from_secs(5);
    /// Nobody can make this good by waiting: the machine's thread itself did not run.
    const LONG: Duration = Duration::from_millis(40);

    /// Samples of the last while, against real time.
    #[derive(Clone, Copy, Debug, Default)]
    struct Window {
        began: Duration,
        samples: u64,
        /// The longest time between two deliveries.
        longest: Duration,
    }

    #[derive(Debug, Default)]
    pub(super) struct Flow {
        samples: VecDeque<[i16; 2]>,
        last: [i16; 2],
        playing: bool,
        /// The device has begun to take samples.
        started: bool,
        stretch: usize,
        /// Ran out since the last delivery.
        ran_dry: bool,

        now: Window,
        before: Window,
        delivered: Duration,
        reported: Option<Duration>,
        report: Option<String>,

        /// How often sound stopped because the guest was slow, because the emulator did not run, and
        /// for neither reason.
        slow: u64,
        slowest: u64,
        held_up: u64,
        longest: Duration,
        unknown: u64,
        /// Samples left out because there were too many, and because the device took too few.
        dropped: u64,
        left: u64,
        /// What the device complained about, and how often.
        complaints: Vec<(String, u64)>,
    }

    impl Flow {
        /// The machine delivers what it has made up to `now`, which counts from any moment.
        pub(super) fn deliver(&mut self, samples: &[[i16; 2]], now: Duration) {
            let pause = now.saturating_sub(self.delivered);
            self.delivered = now;
            self.now.longest = self.now.longest.max(pause);
            self.now.samples += samples.len() as u64;
            if std::mem::take(&mut self.ran_dry) {
                self.find_cause(now);
            }
            if now.saturating_sub(self.now.began) >= WINDOW {
                self.before = std::mem::replace(&mut self.now, Window { began: now, ..Window::default() });
            }
            self.samples.extend(samples);
            let excess = self.samples.len().saturating_sub(MOST);
            self.samples.drain(..excess);
            // What is left out before the device takes anything belongs to no sound.
            if self.started && excess != 0 {
                let (_, percent, _) = self.pace(now);
                *(if percent > 102 { &mut self.dropped } else { &mut self.left }) += excess as u64;
            }
        }
        /// Microseconds of the last while, what the machine has made in it in percent of real time, and
        /// the longest time between two deliveries.
        fn pace(&self, now: Duration) -> (u64, u64, Duration) {
            // A window that has just begun says too little.
            let short = now.saturating_sub(self.now.began) < WINDOW / 2;
            let (began, samples) = match short {
                true => (self.before.began, self.before.samples + self.now.samples),
                false => (self.now.began, self.now.samples),
            };
            let longest = if short { self.before.longest.max(self.now.longest) } else { self.now.longest };
            let micros = now.saturating_sub(began).as_micros().max(1) as u64;
            (micros, (samples * 100_000_000 / u64::from(RATE)) / micros, longest)
        }
        fn find_cause(&mut self, now: Duration) {
            let (micros, percent, longest) = self.pace(now);
            // How much of the time that is missing went in one piece?
            let missing = Duration::from_micros(micros * 100u64.saturating_sub(percent) / 100);
            let text = if longest >= LONG && longest * 2 >= missing {
                self.held_up += 1;
                self.longest = self.longest.max(longest);
                format!("the emulator did not run for {} ms: the host was busy", longest.as_millis())
            } else if percent < 98 {
                self.slow += 1;
                self.slowest = if self.slow == 1 { percent } else { self.slowest.min(percent) };
                format!("the guest ran at {percent} % of real time: the host is too slow for it")
            } else {
                self.unknown += 1;
                "the host's device took more than it should have".to_owned()
            };
            if self.reported.is_none_or(|last| now.saturating_sub(last) >= PAUSE) {
                self.reported = Some(now);
                self.report = Some(format!("sound stopped: {text}"));
            }
        }
        /// The device complains.
        pub(super) fn complain(&mut self, what: String) {
            if let Some((_, count)) = self.complaints.iter_mut().find(|(known, _)| *known == what) {
                *count += 1;
            } else if self.complaints.len() < 8 {
                self.report.get_or_insert_with(|| format!("the host's sound device: {what}"));
                self.complaints.push((what, 1));
            }
        }
        /// The device takes the next sample.
        pub(super) fn next(&mut self) -> [i16; 2] {
            self.started = true;
            self.playing |= self.samples.len() >= ENOUGH;
            if !self.playing {
                return [0; 2];
            }
            self.stretch += 1;
            if self.stretch >= STRETCH {
                self.stretch = 0;
                if self.samples.len() > MANY {
                    self.samples.pop_front();
                } else if self.samples.len() < ENOUGH / 2 && !self.samples.is_empty() {
                    return self.last;
                }
            }
            match self.samples.pop_front() {
                Some(sample) => self.last = sample,
                None => (self.playing, self.ran_dry, self.last) = (false, true, [0; 2]),
            }
            self.last
        }
        /// What a person should know now.
        pub(super) fn report(&mut self) -> Option<String> {
            self.report.take()
        }
        /// What a person should know in the end.
        pub(super) fn summary(&self) -> Option<String> {
            let mut parts = Vec::new();
            let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
            if self.slow != 0 {
                let slowest = self.slowest;
                parts.push(format!("{} because the guest ran slower than real time ({slowest} %)", times(self.slow)));
            }
            if self.held_up != 0 {
                let longest = self.longest.as_millis();
                let text = "because the host did not let the emulator run (for";
                parts.push(format!("{} {text} {longest} ms)", times(self.held_up)));
            }
            if self.unknown != 0 {
                parts.push(format!("{} because the host's device took more than it should have", times(self.unknown)));
            }
            let mut sentences = Vec::new();
            if !parts.is_empty() {
                sentences.push(format!("sound stopped {}", parts.join(", ")));
            }
            let dropped = self.dropped * 1000 / u64::from(RATE);
            if dropped != 0 {
                sentences
                    .push(format!("{dropped} ms of sound were left out because the guest ran faster than real time"));
            }
            let left = self.left * 1000 / u64::from(RATE);
            if left != 0 {
                sentences.push(format!(
                    "{left} ms of sound were left out because the host's device took less than it should have"
                ));
            }
            let complaints = &self.complaints;
            sentences.extend(
                complaints.iter().map(|(what, count)| format!("the sound device said {}: {what}", times(*count))),
            );
            (!sentences.is_empty()).then(|| sentences.join("; "))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const MS: usize = RATE as usize / 1000;

        /// Delivers and takes, each millisecond, for `time` ms; `made` says how many ms of sound the
        /// machine has made in a millisecond, or `None` when it does not run.
        fn play(flow: &mut Flow, time: std::ops::Range<u64>, made: impl Fn(u64) -> Option<f64>) -> Vec<[i16; 2]> {
            let mut heard = Vec::new();
            for at in time {
                if let Some(made) = made(at) {
                    let samples = vec![[100, -100]; (made * MS as f64) as usize];
                    flow.deliver(&samples, Duration::from_millis(at));
                }
                heard.extend((0..MS).map(|_| flow.next()));
            }
            heard
        }

        #[test]
        fn sound_that_comes_in_time_is_played_without_a_word() {
            let mut flow = Flow::default();
            // 0.1 % faster and slower than the device: never dry, nothing dropped.
            for speed in [1.0, 1.001, 0.999] {
                let heard = play(&mut flow, 0..20_000, |at| {
                    // In bits of a millisecond that add up.
                    let whole = |at: u64| (at as f64 * speed * MS as f64) as u64;
                    Some((whole(at + 1) - whole(at)) as f64 / MS as f64)
                });
                assert!(heard[60 * MS..].iter().all(|sample| *sample == [100, -100]), "{speed}");
            }
            assert_eq!((flow.report(), flow.summary()), (None, None));
        }

        #[test]
        fn a_slow_guest_is_named() {
            let mut flow = Flow::default();
            play(&mut flow, 0..6_000, |_| Some(0.5));
            let report = flow.report().unwrap_or_default();
            assert!(report.contains("the guest ran at 50 %"), "{report}");
            assert_eq!(flow.report(), None);
            let summary = flow.summary().unwrap_or_default();
            assert!(summary.contains("because the guest ran slower than real time (50 %)"), "{summary}");
            assert!(!summary.contains("host"), "{summary}");
        }

        #[test]
        fn a_busy_host_is_named() {
            let mut flow = Flow::default();
            // At 3 s the emulator gets no processor for 200 ms, and catches up afterwards.
            play(&mut flow, 0..6_000, |at| match at {
                3000..3200 => None,
                3200 => Some(200.0),
                _ => Some(1.0),
            });
            let report = flow.report().unwrap_or_default();
            assert!(report.contains("did not run for 201 ms"), "{report}");
            let summary = flow.summary().unwrap_or_default();
            assert!(summary.starts_with("sound stopped once because the host did not let"), "{summary}");
        }

        #[test]
        fn what_is_too_much_is_left_out() {
            let mut flow = Flow::default();
            play(&mut flow, 0..2_000, |_| Some(2.0));
            let summary = flow.summary().unwrap_or_default();
            assert!(summary.ends_with("because the guest ran faster than real time"), "{summary}");
            assert!(flow.samples.len() <= MOST);
            flow.complain("gone".into());
            flow.complain("gone".into());
            assert_eq!(flow.report().as_deref(), Some("the host's sound device: gone"));
            assert!(flow.summary().unwrap_or_default().ends_with("the sound device said 2 times: gone"));
        }
    }
}

#[cfg(feature = "sound")]
mod loudspeakers {
    use super::SoundSink;
    use super::flow::Flow;
    use crate::sound::RATE;
    use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Instant;

    /// The host's default output.
    pub struct Loudspeakers {
        flow: Arc<Mutex<Flow>>,
        opened: Instant,
        _stream: cpal::Stream,
    }

    impl Loudspeakers {
        /// Opens the default output.
        ///
        /// # Errors
        /// There is none, or it does not take 48 000 samples a second in two channels.
        pub fn open() -> io::Result<Loudspeakers> {
            let device = cpal::default_host()
                .default_output_device()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no sound output"))?;
            let flow = Arc::new(Mutex::new(Flow::default()));
            let (source, judge) = (flow.clone(), flow.clone());
            let config = cpal::StreamConfig { channels: 2, sample_rate: RATE, buffer_size: cpal::BufferSize::Default };
            let fill = move |buffer: &mut [i16], _: &cpal::OutputCallbackInfo| {
                let mut flow = source.lock().unwrap_or_else(PoisonError::into_inner);
                for frame in buffer.chunks_mut(2) {
                    for (slot, level) in frame.iter_mut().zip(flow.next()) {
                        *slot = level;
                    }
                }
            };
            let complain = move |error: cpal::Error| {
                let what = match error.kind() {
                    // It plays all the same.
                    cpal::ErrorKind::RealtimeDenied | cpal::ErrorKind::DeviceChanged => return,
                    cpal::ErrorKind::Xrun => "it was not served in time: the host was busy".to_owned(),
                    _ => error.to_string(),
                };
                judge.lock().unwrap_or_else(PoisonError::into_inner).complain(what);
            };
            let stream = device
                .build_output_stream(config, fill, complain, None)
                .map_err(|error| io::Error::other(error.to_string()))?;
            stream.play().map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Loudspeakers { flow, opened: Instant::now(), _stream: stream })
        }
    }

    impl SoundSink for Loudspeakers {
        fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<Option<String>> {
            let now = self.opened.elapsed();
            let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
            flow.deliver(samples, now);
            Ok(flow.report())
        }
        fn finish(&mut self) -> io::Result<Option<String>> {
            Ok(self.flow.lock().unwrap_or_else(PoisonError::into_inner).summary())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_file_says_how_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut wav = WavFile::create(&path).unwrap();
        wav.play(&[[1, -1], [256, 2]]).unwrap();
        assert_eq!(wav.finish().unwrap(), None);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 44 + 8);
        assert_eq!((&bytes[4..8], &bytes[40..44]), (&44u32.to_le_bytes()[..], &8u32.to_le_bytes()[..]));
        assert_eq!(bytes[44..], [1, 0, 0xff, 0xff, 0, 1, 2, 0]);
        assert_eq!(bytes[24..28], 48_000u32.to_le_bytes());
    }
}
