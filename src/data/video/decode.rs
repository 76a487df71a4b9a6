//! Some frames of a film, decoded from the nearest place before them instead of from the start.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::ops::Range;

use super::child::{MARK, Patience, Running};
use super::place::Place;
use super::ppm;
use super::probe::Film;
use super::timeline::Timeline;
use super::tools::Tools;
use crate::data::dataset::Wanted;
use crate::data::picture::{Picture, hold};
use crate::data::skip::{Fault, SkipReason};

/// Hands over the frames that are `wanted`; gives their times.
///
/// A frame comes twice where a container leads to the wrong place, and the film is read from its start.
///
/// # Errors
/// A [`Fault`] that says why there are no frames.
pub(in crate::data) fn frames(
    tools: &Tools,
    place: Place<'_>,
    film: &Film,
    Wanted { frames: wanted, stop, each }: Wanted<'_>,
) -> Result<Vec<f64>, Fault> {
    let _share = hold(film.held_bytes());
    // Who waits for memory, which other films have, is not late.
    let patience = tools.patience(0, stop);
    let size = Cell::new(None);
    let mut times = Vec::with_capacity(wanted.len());
    for run in runs(&film.timeline, wanted) {
        let part = Part { tools, place, film, wanted: &wanted[run.clone()], before: run.start, size: &size, patience };
        times.extend(part.decode(each)?);
    }
    Ok(times)
}

/// Frames that one process decodes.
struct Part<'a> {
    tools: &'a Tools,
    place: Place<'a>,
    film: &'a Film,
    wanted: &'a [usize],
    /// Frames that are wanted before these.
    before: usize,
    /// The size of the first frame, which all have, whichever process decodes them.
    size: &'a Cell<Option<(usize, usize)>>,
    patience: Patience<'a>,
}

/// Where a process begins to decode.
#[derive(Clone, Copy)]
enum Begin {
    Start,
    /// Just before this frame.
    Frame(usize),
}

impl Part<'_> {
    fn decode(&self, each: &mut dyn FnMut(usize, &Picture)) -> Result<Vec<f64>, Fault> {
        let timeline = &self.film.timeline;
        let first = self.wanted.first().copied().unwrap_or(0);
        if timeline.key(first) > 0 {
            match self.decode_from(Begin::Frame(first), each) {
                Err(Fault { reason: SkipReason::Truncated | SkipReason::Corrupt, .. }) => {}
                other => return other,
            }
            tracing::debug!("{}: seeking leads elsewhere; it is read from its start", self.place.path().display());
        }
        self.decode_from(Begin::Start, each)
    }

    fn decode_from(&self, begin: Begin, each: &mut dyn FnMut(usize, &Picture)) -> Result<Vec<f64>, Fault> {
        let timeline = &self.film.timeline;
        let (start, first) = match begin {
            Begin::Start => (None, 0),
            Begin::Frame(i) => {
                let (before, shown) = (timeline.time(i.saturating_sub(1)), timeline.time(i));
                (Some(shown - (shown - before) / 2.0 - timeline.origin), i)
            }
        };
        let mut command = self.tools.decode(self.place, start);
        // Times leave before the frames are numbered anew, one each twenty-fifth of a second, so that no frame is
        // doubled or dropped to make the film even.
        let filters = format!(
            "select='{}',settb=1/1000000,metadata=mode=add:key={}:value=1,metadata=mode=print:file='pipe\\:2',settb=1/25,setpts=N",
            selection(self.wanted, first),
            MARK.trim_end_matches('='),
        );
        let count = self.wanted.len();
        command.args(["-map", "0:V:0", "-an", "-sn", "-dn", "-vf", &filters, "-r", "25"]);
        command.args([
            "-frames:v",
            &count.to_string(),
            "-f",
            "image2pipe",
            "-c:v",
            "ppm",
            "-pix_fmt",
            "rgb24",
            "pipe:1",
        ]);
        let mut running = Running::start(&mut command, self.patience)?;
        let read = self.read(&mut running, each);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            let unsupported = error.kind() == io::ErrorKind::Unsupported;
            return Err(match unsupported {
                true => Fault::new(SkipReason::Unsupported, error.to_string()),
                false => running.fault(error),
            });
        }
        let (status, said) = running.finish()?;
        if !status.success() {
            return Err(said.fault(status, self.place));
        }
        let times: Vec<f64> = said.times().iter().map(|time| *time as f64 / 1e6).collect();
        // A decoder leaves out what it cannot decode, and counts on.
        let is_other = |(time, frame): &(&f64, &usize)| self.film.exact && !shows(timeline, **time, **frame);
        if let Some((time, frame)) = times.iter().zip(self.wanted).find(is_other) {
            let detail = format!(
                "frame {frame}, of {:.3} s, cannot be decoded: frame {}, of {time:.3} s, came",
                timeline.time(*frame),
                timeline.nearest(*time)
            );
            return Err(Fault::new(SkipReason::Corrupt, detail));
        }
        match read {
            Ok(found) if found == count && times.len() == count => Ok(times),
            Ok(found) if found == count => {
                Err(Fault::new(SkipReason::DecoderFailed, format!("{count} frames came with {} times", times.len())))
            }
            Ok(found) => {
                let detail = format!("the film ends early: {found} of {count} frames could be decoded");
                Err(Fault::new(SkipReason::Truncated, detail))
            }
            Err(_) => Err(Fault::new(SkipReason::Truncated, "the film ends in the middle of a frame")),
        }
    }

    /// Reads frames to the end, at most as many as are wanted; gives their number.
    fn read(&self, running: &mut Running<'_>, each: &mut dyn FnMut(usize, &Picture)) -> io::Result<usize> {
        let mut frame = Picture::default();
        let mut found = 0;
        while ppm::read(running, self.film.frame_bytes(), &mut frame)? {
            if found == self.wanted.len() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {found} frames came")));
            }
            let size = (frame.width, frame.height);
            if self.size.replace(Some(size)).is_some_and(|before| before != size) {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "the size of the frames changes"));
            }
            each(self.before + found, &frame);
            found += 1;
        }
        Ok(found)
    }
}

/// Whether it is frame `i` that is shown at `time`.
fn shows(timeline: &Timeline, time: f64, i: usize) -> bool {
    /// More than twice a rounding to milliseconds.
    const SLACK: f64 = 2.5e-3;
    let distance = |i: usize| (time - timeline.time(i)).abs();
    distance(i) <= SLACK.min(distance(timeline.nearest(time)))
}

/// Cuts `wanted` into runs: where the way to the next frame is longer than the way from a key frame to it, a new process
/// begins there.
fn runs(timeline: &Timeline, wanted: &[usize]) -> Vec<Range<usize>> {
    /// To start a process takes as long as to decode about so many frames.
    const START: usize = 48;
    /// An expression of ffmpeg's, and the list of arguments, has an end.
    const GROUPS: usize = 64;
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut groups = 0;
    for (at, frame) in wanted.iter().enumerate() {
        let begins = match at.checked_sub(1).map(|before| wanted[before]) {
            None => true,
            Some(before) => timeline.key(*frame) > before + START || groups == GROUPS,
        };
        match runs.last_mut() {
            Some(run) if !begins => run.end = at + 1,
            _ => {
                runs.push(at..at + 1);
                groups = 0;
            }
        }
        groups += usize::from(at == 0 || at == 1 || wanted[at] - wanted[at - 1] != wanted[at - 1] - wanted[at - 2]);
    }
    runs
}

/// ffmpeg's expression for the frames `wanted`, where the first one that it sees is frame `first`.
fn selection(wanted: &[usize], first: usize) -> String {
    let mut text = String::new();
    let mut rest = wanted;
    while let [start, ..] = *rest {
        // As many as stand at equal distances.
        let step = rest.get(1).map_or(1, |next| next - start);
        let count = (1..rest.len()).take_while(|i| rest[*i] == start + i * step).count() + 1;
        let (from, to) = (start - first, rest[count - 1] - first);
        let plus = if text.is_empty() { "" } else { "+" };
        // Writing to a string cannot fail.
        let _ = match count {
            1 => write!(text, "{plus}eq(n,{from})"),
            _ => write!(text, "{plus}between(n,{from},{to})*not(mod(n-{from},{step}))"),
        };
        rest = &rest[count..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_at_equal_distances_are_one_term() {
        assert_eq!(selection(&[4, 8, 12], 4), "between(n,0,8)*not(mod(n-0,4))");
        assert_eq!(selection(&[1, 2, 9], 0), "between(n,1,2)*not(mod(n-1,1))+eq(n,9)");
    }

    #[test]
    fn a_process_begins_where_decoding_on_would_take_longer() {
        let times = |count: u32| (0..count).map(|i| f64::from(i) / 25.0).collect::<Vec<f64>>();
        let timeline = Timeline::new(times(1000), (0..10).map(|i| f64::from(i * 4)).collect(), 0.0);
        // A key frame every 100 frames up to frame 900.
        assert_eq!(runs(&timeline, &[0, 4, 8, 110, 120, 300, 304]), [0..3, 3..5, 5..7]);
        assert_eq!(runs(&timeline, &[60, 140, 190, 990]), [0..3, 3..4]);
        assert_eq!(runs(&timeline, &[7]), [0..1]);
        let scattered: Vec<usize> = (0..200).map(|i| i * i / 50 + i * 2).collect();
        assert!(runs(&timeline, &scattered).len() > 1);
        assert!(runs(&Timeline::even(1000, 25.0), &[0, 999]).len() == 1);
    }
}
