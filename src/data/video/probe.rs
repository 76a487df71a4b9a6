//! What a film holds: the times of its frames, read from its packets without decoding any.

use std::io::{BufRead, Read};
use std::sync::atomic::AtomicBool;

use super::child::Running;
use super::place::Place;
use super::timeline::Timeline;
use super::tools::Tools;
use crate::data::picture::{MAX_DECODED_BYTES, MAX_SIDE};
use crate::data::skip::{Fault, SkipReason};

/// Most frames of a film: a day and a half at 30 a second.
pub const MAX_FRAMES: usize = 1 << 22;
/// A frame is held once while it is read and once beside it, on its way.
const HELD: u64 = 2;
const MAX_FRAME_BYTES: u64 = MAX_DECODED_BYTES / HELD;

/// A film's frames, and how large they are before any rotation.
#[derive(Debug, Clone)]
pub(in crate::data) struct Film {
    pub timeline: Timeline,
    /// Whether the times are those at which frames are shown, rather than decoded.
    pub exact: bool,
    pub width: u64,
    pub height: u64,
}

impl Film {
    /// Looks into the film at `place`.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no film.
    pub fn open(tools: &Tools, place: Place<'_>, stop: &AtomicBool) -> Result<Self, Fault> {
        let bytes = place.content()?;
        let mut command = tools.probe(place);
        // V, not v: a cover picture of a song is no video.
        command.args(["-select_streams", "V:0", "-of", "compact"]);
        command.args([
            "-show_entries",
            "packet=pts_time,dts_time,flags:stream=width,height:format=format_name,start_time",
        ]);
        let mut running = Running::start(&mut command, tools.patience(bytes, stop))?;
        let found = match Found::read(&mut running) {
            Ok(found) => found,
            Err(Unfit::Read(error)) => return Err(running.fault(&error)),
            Err(Unfit::TooMany) => {
                return Err(Fault::new(SkipReason::TooLarge, format!("the film has more than {MAX_FRAMES} frames")));
            }
        };
        let (status, said) = running.finish()?;
        if !status.success() {
            return Err(said.fault(status, place));
        }
        found.film()
    }

    /// Bytes of a decoded frame.
    pub fn frame_bytes(&self) -> u64 {
        self.width * self.height * 3
    }

    /// Bytes that decoding holds at once.
    pub fn held_bytes(&self) -> u64 {
        HELD * self.frame_bytes()
    }
}

/// What ffprobe has written.
#[derive(Debug, Default)]
struct Found {
    stream: bool,
    width: u64,
    height: u64,
    origin: f64,
    /// Whether the container tells when a frame is decoded, and of some alone when it is shown.
    vague: bool,
    packets: Vec<Packet>,
}

/// A packet, which holds a frame.
#[derive(Debug)]
struct Packet {
    shown: Option<f64>,
    decoded: Option<f64>,
    key: bool,
}

enum Unfit {
    Read(std::io::Error),
    TooMany,
}

impl Found {
    /// Reads lines such as `packet|pts_time=0.040000|dts_time=0.000000|flags=K_`.
    fn read(from: &mut impl BufRead) -> Result<Self, Unfit> {
        /// A line has a few numbers.
        const LINE: u64 = 4 << 10;
        let mut found = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if from.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(Unfit::Read)? == 0 {
                return Ok(found);
            }
            let text = String::from_utf8_lossy(&line);
            let mut parts = text.trim_end().split('|');
            let section = parts.next().unwrap_or_default();
            let value = |key: &str| parts.clone().find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            let seconds = |key| value(key).and_then(|text| text.parse::<f64>().ok()).filter(|time| time.is_finite());
            match section {
                "packet" => {
                    let flags = value("flags").unwrap_or_default();
                    // What an edit list cuts away is decoded and not shown.
                    if !flags.contains('D') {
                        let (shown, decoded) = (seconds("pts_time"), seconds("dts_time"));
                        found.packets.push(Packet { shown, decoded, key: flags.contains('K') });
                    }
                    if found.packets.len() > MAX_FRAMES {
                        return Err(Unfit::TooMany);
                    }
                }
                "stream" => {
                    let side = |key| value(key).and_then(|text| text.parse().ok()).unwrap_or(0);
                    (found.stream, found.width, found.height) = (true, side("width"), side("height"));
                }
                "format" => {
                    found.origin = seconds("start_time").unwrap_or(0.0);
                    found.vague = value("format_name") == Some("avi");
                }
                _ => {}
            }
        }
    }

    fn film(self) -> Result<Film, Fault> {
        let Self { stream, width, height, origin, vague, packets } = self;
        if !stream {
            return Err(Fault::new(SkipReason::NoVideo, "the file has no video stream"));
        }
        if width.max(height) > u64::from(MAX_SIDE) || width * height * 3 > MAX_FRAME_BYTES {
            let detail = format!("frames of {width}x{height} pixels are larger than {} MiB", MAX_FRAME_BYTES >> 20);
            return Err(Fault::new(SkipReason::TooLarge, detail));
        }
        // AVI says of some packets when they are shown, and of all when they are decoded, which is about the same. What
        // says elsewhere nothing of when it is shown never is, such as what a cut left without its reference.
        let exact = !vague || packets.iter().all(|packet| packet.shown.is_some());
        let time = |packet: &Packet| if exact { packet.shown } else { packet.decoded };
        let mut times: Vec<f64> = packets.iter().filter_map(time).collect();
        if exact {
            // VP8's hidden frames, which are only decoded, carry the time of the one that is shown next.
            times.sort_unstable_by(f64::total_cmp);
            times.dedup();
        }
        if times.is_empty() || width * height == 0 {
            return Err(Fault::new(SkipReason::NoVideo, "the video stream has no frames"));
        }
        // A time of decoding leads to another frame than the one that is shown then: such a film is read from its start.
        let keys = packets.iter().filter(|packet| exact && packet.key).filter_map(time).collect();
        Ok(Film { timeline: Timeline::new(times, keys, origin), exact, width, height })
    }
}
