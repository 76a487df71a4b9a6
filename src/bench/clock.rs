//! Timing of work that is done again and again on a device.

use std::time::Instant;

use burn::tensor::Device;
use serde::Serialize;

use crate::error::{Error, Result};

/// How often something is done.
#[derive(Debug, Clone, Copy)]
pub struct Repetitions {
    /// Times that are not counted: first allocations, and kernels that are compiled and tuned.
    pub warm_up: usize,
    /// Times that are counted, at least 1.
    pub counted: usize,
    /// Times that each dispatch of a compiled encoder is timed by itself, after all others.
    pub by_dispatch: usize,
}

/// Seconds of one repetition.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// The median.
    pub median_s: f64,
    /// The shortest.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
    /// The first of all, with what has to be done only once.
    pub first_s: f64,
    /// Median seconds of all threads of this process, in steps of a hundredth, where the system counts them.
    pub cpu_median_s: Option<f64>,
    /// Repetitions that were counted.
    pub repetitions: usize,
}

/// Does `work` again and again on what it left before, `state` at first; gives what it left last. The device has ended
/// all work before the clock is read.
pub fn repeat<S>(
    device: &Device,
    repetitions: Repetitions,
    mut state: S,
    mut work: impl FnMut(S) -> Result<S>,
) -> Result<(S, Timing)> {
    let counted = repetitions.counted.max(1);
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    let mut first_s = f64::NAN;
    sync(device)?;
    for i in 0..repetitions.warm_up + counted {
        let (begin, begin_processor) = (Instant::now(), processor_seconds());
        state = work(state)?;
        sync(device)?;
        let seconds = begin.elapsed().as_secs_f64();
        if i == 0 {
            first_s = seconds;
        }
        if i >= repetitions.warm_up {
            wall.push(seconds);
            processor.extend(processor_seconds().zip(begin_processor).map(|(end, begin)| end - begin));
        }
    }
    wall.sort_unstable_by(f64::total_cmp);
    processor.sort_unstable_by(f64::total_cmp);
    let timing = Timing {
        median_s: median(&wall).unwrap_or(f64::NAN),
        min_s: wall.first().copied().unwrap_or(f64::NAN),
        max_s: wall.last().copied().unwrap_or(f64::NAN),
        first_s,
        cpu_median_s: median(&processor),
        repetitions: counted,
    };
    Ok((state, timing))
}

/// Waits until the device has done everything it was given.
fn sync(device: &Device) -> Result<()> {
    device.sync().map_err(|error| {
        Error::device(format!("the device failed: {error}"))
            .with_remedy("if it ran out of memory, lower the batch (--batch)")
    })
}

/// The middle of sorted values, or the mean of the two in the middle.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let high = sorted.get(sorted.len() / 2)?;
    let low = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((low + high) / 2.0)
}

/// User and system seconds of all threads of this process so far; only Linux says.
fn processor_seconds() -> Option<f64> {
    /// Linux counts in these for every program, whatever its kernel's own rate.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything; user time is the 14th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }

    #[test]
    fn work_is_done_once_for_each_repetition_and_warm_up() {
        let repetitions = Repetitions { warm_up: 2, counted: 3, by_dispatch: 0 };
        let (count, timing) = repeat(&Device::flex(), repetitions, 0, |count| Ok(count + 1)).unwrap();
        assert_eq!((count, timing.repetitions), (5, 3));
        assert!(timing.min_s <= timing.median_s && timing.median_s <= timing.max_s);
    }
}
