//! When each frame of a film is shown, and where decoding can begin.

/// The frames of a film in the order in which they are shown, with their times in seconds. A picture has one, at 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    times: Times,
    /// Frames at which decoding can begin, ascending.
    keys: Vec<u32>,
    /// The first timestamp of the film, sound included, from which a decoder counts what it is asked for.
    pub(super) origin: f64,
}

/// Most films are even, and of thousands of films the times are kept.
#[derive(Debug, Clone, PartialEq)]
enum Times {
    Even { first: f64, step: f64, len: usize },
    Listed(Vec<f64>),
}

/// So far from even may a time lie, in seconds: Matroska and WebM round to milliseconds.
const ROUNDING: f64 = 1.1e-3;

impl Timeline {
    /// Frames at `times`, in any order, of which those at `keys` can be decoded on their own.
    pub(super) fn new(mut times: Vec<f64>, mut keys: Vec<f64>, origin: f64) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        keys.sort_unstable_by(f64::total_cmp);
        keys.dedup();
        let place = |key: f64| times.partition_point(|time| *time < key) as u32;
        let keys = keys.into_iter().map(place).collect();
        let (first, len) = (times.first().copied().unwrap_or(0.0), times.len());
        let last = times.last().copied().unwrap_or(0.0);
        let step = if len > 1 { (last - first) / (len - 1) as f64 } else { 0.0 };
        // Frames that lie closer than the rounding are told from each other by their own times.
        let slack = ROUNDING.min(step / 4.0);
        let even = |(i, time): (usize, &f64)| (time - (first + i as f64 * step)).abs() <= slack;
        let times = match times.iter().enumerate().all(even) {
            true => Times::Even { first, step, len },
            false => Times::Listed(times),
        };
        Self { times, keys, origin }
    }

    /// `len` frames, `rate` a second, each of which stands on its own.
    pub(in crate::data) fn even(len: usize, rate: f64) -> Self {
        Self { times: Times::Even { first: 0.0, step: 1.0 / rate, len }, keys: Vec::new(), origin: 0.0 }
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        match &self.times {
            Times::Even { len, .. } => *len,
            Times::Listed(times) => times.len(),
        }
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When frame `i`, or the last one where there is no such frame, is shown.
    pub fn time(&self, i: usize) -> f64 {
        match &self.times {
            Times::Even { first, step, len } => first + step * i.min(len.saturating_sub(1)) as f64,
            Times::Listed(times) => times.get(i).or(times.last()).copied().unwrap_or(0.0),
        }
    }

    /// The frame that is seen at `time`: the last one that is not later, or the first.
    pub fn at(&self, time: f64) -> usize {
        let after = match &self.times {
            Times::Even { step, .. } if *step <= 0.0 => 1,
            // The cast cuts towards zero, and what is negative becomes 0.
            Times::Even { first, step, len } => (((time - first) / step + 1e-6) as usize + 1).min(*len),
            Times::Listed(times) => times.partition_point(|shown| *shown <= time + 1e-6),
        };
        after.saturating_sub(1)
    }

    /// The frame whose time is nearest to `time`.
    pub(super) fn nearest(&self, time: f64) -> usize {
        let before = self.at(time);
        let after = before + 1;
        if after < self.len() && self.time(after) - time < time - self.time(before) { after } else { before }
    }

    /// The last frame at or before frame `i` at which decoding can begin.
    pub(super) fn key(&self, i: usize) -> usize {
        let after = self.keys.partition_point(|key| *key as usize <= i);
        self.keys[..after].last().map_or(0, |key| *key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_films_are_kept_short_and_others_frame_by_frame() {
        let milliseconds: Vec<f64> = (0..100).map(|i| (f64::from(i) / 29.97 * 1e3).round() / 1e3).collect();
        let even = Timeline::new(milliseconds, vec![0.0], 0.0);
        assert!(matches!(even.times, Times::Even { len: 100, .. }), "{even:?}");
        let uneven = Timeline::new(vec![0.5, 0.0, 0.1], vec![0.1, 0.0], 0.0);
        assert_eq!(uneven.times, Times::Listed(vec![0.0, 0.1, 0.5]));
        assert_eq!((uneven.key(0), uneven.key(1), uneven.key(2)), (0, 1, 1));
        let close = Timeline::new(vec![0.0, 0.003, 0.004, 0.006], vec![0.0], 0.0);
        assert_eq!(close.times, Times::Listed(vec![0.0, 0.003, 0.004, 0.006]));
    }

    #[test]
    fn a_time_shows_the_last_frame_that_is_not_later() {
        for timeline in [Timeline::even(5, 10.0), Timeline::new(vec![0.0, 0.1, 0.2, 0.3, 0.4, 9.0], vec![], 0.0)] {
            let seen: Vec<usize> = [-1.0, 0.0, 0.05, 0.1, 0.3, 0.39].iter().map(|time| timeline.at(*time)).collect();
            assert_eq!(seen, [0, 0, 0, 1, 3, 3]);
            assert_eq!(timeline.at(1e9), timeline.len() - 1);
            assert!((0..timeline.len()).all(|i| timeline.at(timeline.time(i)) == i));
        }
        let still = Timeline::new(vec![3.0], vec![3.0], 3.0);
        assert_eq!((still.at(0.0), still.at(99.0), still.time(7), still.len()), (0, 0, 3.0, 1));
        assert_eq!((still.nearest(0.0), still.nearest(99.0)), (0, 0));
    }

    #[test]
    fn the_nearest_frame_may_be_shown_before_or_after() {
        for timeline in [Timeline::even(5, 10.0), Timeline::new(vec![0.0, 0.1, 0.2, 0.3, 0.4, 9.0], vec![], 0.0)] {
            let nearest = [-1.0, 0.04, 0.06, 0.1, 0.31, 0.36].map(|time| timeline.nearest(time));
            assert_eq!(nearest, [0, 0, 1, 1, 3, 4]);
            assert_eq!(timeline.nearest(1e9), timeline.len() - 1);
        }
    }
}
