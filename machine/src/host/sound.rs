//! Where sound goes: a WAV file, the host's loudspeakers (feature `sound`), or nowhere.

use crate::sound::RATE;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Takes samples and never makes the machine wait.
pub trait SoundSink {
    /// Takes the next samples.
    ///
    /// # Errors
    /// What the host says about its file or device.
    fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<()>;
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
    fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<()> {
        for [left, right] in samples {
            if self.bytes + 4 > LONGEST {
                return Ok(());
            }
            self.file.write_all(&left.to_le_bytes())?;
            self.file.write_all(&right.to_le_bytes())?;
            self.bytes += 4;
        }
        Ok(())
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

#[cfg(feature = "sound")]
mod loudspeakers {
    use super::SoundSink;
    use crate::sound::RATE;
    use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    /// Samples that wait at most: more would be heard too late.
    const MOST: usize = RATE as usize / 4;
    /// Samples that must wait before a sound begins, or begins again.
    const ENOUGH: usize = RATE as usize / 20;

    #[derive(Default)]
    struct Queue {
        samples: VecDeque<[i16; 2]>,
        playing: bool,
        /// How often nothing was there to be played, and how many samples were dropped.
        dry: u64,
        dropped: u64,
    }

    impl Queue {
        fn next(&mut self) -> [i16; 2] {
            self.playing |= self.samples.len() >= ENOUGH;
            if !self.playing {
                return [0; 2];
            }
            self.samples.pop_front().unwrap_or_else(|| {
                (self.playing, self.dry) = (false, self.dry + 1);
                [0; 2]
            })
        }
    }

    /// The host's default output.
    pub struct Loudspeakers {
        queue: Arc<Mutex<Queue>>,
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
            let queue = Arc::new(Mutex::new(Queue::default()));
            let source = queue.clone();
            let config = cpal::StreamConfig { channels: 2, sample_rate: RATE, buffer_size: cpal::BufferSize::Default };
            let fill = move |buffer: &mut [i16], _: &cpal::OutputCallbackInfo| {
                let mut queue = source.lock().unwrap_or_else(PoisonError::into_inner);
                for frame in buffer.chunks_mut(2) {
                    for (slot, level) in frame.iter_mut().zip(queue.next()) {
                        *slot = level;
                    }
                }
            };
            let stream = device
                .build_output_stream(config, fill, |_| (), None)
                .map_err(|error| io::Error::other(error.to_string()))?;
            stream.play().map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Loudspeakers { queue, _stream: stream })
        }
    }

    impl SoundSink for Loudspeakers {
        fn play(&mut self, samples: &[[i16; 2]]) -> io::Result<()> {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.samples.extend(samples);
            let excess = queue.samples.len().saturating_sub(MOST);
            queue.samples.drain(..excess);
            queue.dropped += excess as u64;
            Ok(())
        }
        fn finish(&mut self) -> io::Result<Option<String>> {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let dropped = queue.dropped * 1000 / u64::from(RATE);
            Ok((queue.dry != 0 || dropped != 0).then(|| {
                format!(
                    "sound stopped {} times because the guest ran slower than real time, and {dropped} ms were \
                     left out because it ran faster",
                    queue.dry
                )
            }))
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
