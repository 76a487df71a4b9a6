//! How long a signal waits for its checkpoint: from one look at the signals to the next, and for a save.

use std::time::{Duration, Instant};

use crate::stop::Stop;

/// Within what a signal should be answered; a queue that ends a job seldom gives much more.
const PROMPT: Duration = Duration::from_secs(30);

/// Looks for signals, and measures how long one would have waited.
pub(super) struct Answer<'a> {
    stop: &'a Stop,
    looked: Instant,
    between_looks: Duration,
    save: Duration,
    steps: usize,
    is_said: bool,
}

impl<'a> Answer<'a> {
    /// To what `stop` hears, from now on.
    pub(super) fn new(stop: &'a Stop) -> Self {
        let (between_looks, save) = (Duration::ZERO, Duration::ZERO);
        Self { stop, looked: Instant::now(), between_looks, save, steps: 0, is_said: false }
    }

    /// Whether there is a reason to stop.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        self.between_looks = self.between_looks.max(now.duration_since(self.looked));
        self.looked = now;
        self.stop.is_due()
    }

    /// A checkpoint was begun at `start` and stands now; one more is written after a signal.
    pub(super) fn saved(&mut self, start: Instant) {
        let took = start.elapsed();
        self.save = self.save.max(took);
        self.looked += took;
    }

    /// At the end of a step, and once: what to say where a signal would wait for too long.
    pub(super) fn is_late(&mut self) -> Option<String> {
        self.steps += 1;
        if self.steps == 1 {
            // A device compiles and allocates in its first step.
            self.between_looks = Duration::ZERO;
        }
        let late = late(self.between_looks, self.save).filter(|_| !self.is_said);
        self.is_said |= late.is_some();
        late
    }
}

fn late(between_looks: Duration, save: Duration) -> Option<String> {
    let seconds = |time: Duration| time.as_secs_f64().ceil();
    let sum = between_looks + save;
    (sum > PROMPT).then(|| {
        format!(
            "a signal may wait {} s for its checkpoint: {} s until a micro-batch is done, and {} s for a save; give \
             --stop-after and a queue's signal so much time, or set a smaller train.batch and a larger train.accumulate",
            seconds(sum),
            seconds(between_looks),
            seconds(save)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_more_than_thirty_seconds_is_said_with_its_parts() {
        let seconds = Duration::from_secs;
        assert_eq!(late(seconds(20), seconds(10)), None);
        insta::assert_snapshot!(late(Duration::from_millis(20_400), seconds(10)).unwrap(), @"a signal may wait 31 s for its checkpoint: 21 s until a micro-batch is done, and 10 s for a save; give --stop-after and a queue's signal so much time, or set a smaller train.batch and a larger train.accumulate");
    }

    #[test]
    fn the_first_step_is_not_judged_a_save_counts_once_and_it_is_said_once() {
        let stop = Stop::default();
        let mut answer = Answer::new(&stop);
        answer.looked -= 2 * PROMPT;
        assert!(!answer.is_due());
        assert_eq!(answer.is_late(), None);

        // A save is no part of what comes between two looks.
        answer.looked -= PROMPT;
        answer.saved(Instant::now() - PROMPT);
        assert!(!answer.is_due() && answer.between_looks < PROMPT / 2, "{:?}", answer.between_looks);
        answer.looked -= Duration::from_secs(1);
        assert!(!answer.is_due());
        assert!(answer.is_late().is_some());
        assert_eq!(answer.is_late(), None);
    }
}
