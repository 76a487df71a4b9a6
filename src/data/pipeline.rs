//! Numbered jobs on several threads, their results handed over in the order of their numbers.
//!
//! Job `j` is thread `j % threads`' work, and each thread has a short queue of its own. So results come in order without
//! a place to sort them, memory is bounded, and which thread is fast changes nothing.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{Error, Kind, Result};

/// Finished results that wait in each thread's queue.
const QUEUE: usize = 2;
/// How long a result is waited for before it is asked again whether it is wanted.
const MOMENT: Duration = Duration::from_millis(100);

/// What is to be done for each number.
pub(super) trait Work: Send + Sync + 'static {
    /// Memory that a thread uses for one job after the other.
    type Scratch: Default + Send;
    /// What a job gives.
    type Out: Send + 'static;
    /// Does job `number`. Where `stop` comes on, the result is thrown away, so there is no need to finish it.
    fn run(&self, number: u64, scratch: &mut Self::Scratch, stop: &AtomicBool) -> Self::Out;
}

/// The results of jobs, in order.
pub(super) struct Pipeline<W: Work> {
    next: u64,
    end: u64,
    first: u64,
    hands: Hands<W>,
    stop: Arc<AtomicBool>,
}

enum Hands<W: Work> {
    Caller { work: W, scratch: W::Scratch },
    Threads(Vec<Hand<W::Out>>),
}

/// A thread, until it has been waited for, and the queue in which its results wait.
struct Hand<Out> {
    queue: Receiver<Out>,
    thread: Option<JoinHandle<()>>,
}

impl<W: Work> Pipeline<W> {
    /// Starts `threads` threads on the jobs `first..end`; without threads the caller does each when it asks for it.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(work: W, threads: usize, first: u64, end: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        if threads == 0 {
            let hands = Hands::Caller { work, scratch: W::Scratch::default() };
            return Ok(Self { next: first, end, first, hands, stop });
        }
        // The pipeline stands before its threads start, so that its drop ends those that did if one does not.
        let mut pipeline = Self { next: first, end, first, hands: Hands::Threads(Vec::new()), stop };
        let work = Arc::new(work);
        for thread in 0..threads as u64 {
            let (sender, queue) = bounded(QUEUE);
            let (work, stop) = (Arc::clone(&work), Arc::clone(&pipeline.stop));
            let jobs = (first + thread..end).step_by(threads);
            let handle = thread::Builder::new()
                .name(format!("data-{thread}"))
                .spawn(move || produce(&*work, jobs, &sender, &stop))
                .map_err(|error| {
                    Error::new(Kind::Other, format!("cannot start thread {thread} of {threads} for the data: {error}"))
                        .with_remedy("lower train.workers")
                })?;
            if let Hands::Threads(hands) = &mut pipeline.hands {
                hands.push(Hand { queue, thread: Some(handle) });
            }
        }
        Ok(pipeline)
    }

    /// The next result, which is waited for until `is_over` says that nobody wants it any more; a caller who does the
    /// work itself is asked before it begins.
    pub fn next_unless(&mut self, mut is_over: impl FnMut() -> bool) -> Option<W::Out> {
        if self.next >= self.end || is_over() {
            return None;
        }
        let job = self.next;
        self.next += 1;
        match &mut self.hands {
            Hands::Caller { work, scratch } => Some(work.run(job, scratch, &self.stop)),
            Hands::Threads(hands) => {
                let turn = ((job - self.first) % hands.len() as u64) as usize;
                let Hand { queue, thread } = &mut hands[turn];
                loop {
                    match queue.recv_timeout(MOMENT) {
                        Ok(out) => return Some(out),
                        Err(RecvTimeoutError::Timeout) if is_over() => return None,
                        Err(RecvTimeoutError::Timeout) => {}
                        // A thread that ends before its last job has panicked; the panic goes on here, where it is seen.
                        Err(RecvTimeoutError::Disconnected) => match thread.take().map(JoinHandle::join) {
                            Some(Err(panic)) => resume_unwind(panic),
                            _ => return None,
                        },
                    }
                }
            }
        }
    }
}

fn produce<W: Work>(work: &W, jobs: impl Iterator<Item = u64>, queue: &Sender<W::Out>, stop: &AtomicBool) {
    let mut scratch = W::Scratch::default();
    for job in jobs {
        let out = work.run(job, &mut scratch, stop);
        // A queue without a receiver means that nobody wants the rest.
        if stop.load(Ordering::Relaxed) || queue.send(out).is_err() {
            return;
        }
    }
}

impl<W: Work> Iterator for Pipeline<W> {
    type Item = W::Out;

    fn next(&mut self) -> Option<W::Out> {
        self.next_unless(|| false)
    }
}

impl<W: Work> Drop for Pipeline<W> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Hands::Threads(hands) = &mut self.hands {
            // All receivers go before any thread is waited for: a thread may stand before a full queue.
            let threads: Vec<_> = hands.drain(..).filter_map(|hand| hand.thread).collect();
            for thread in threads {
                // A panic in a thread whose results nobody asked for any more concerns nobody.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    struct Uneven;

    impl Work for Uneven {
        type Scratch = u64;
        type Out = u64;

        fn run(&self, number: u64, done: &mut u64, stop: &AtomicBool) -> u64 {
            *done += 1;
            for _ in 0..(number * 7919 % 13) {
                if !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            number * number
        }
    }

    #[test]
    fn results_come_in_order_whoever_makes_them() {
        for threads in [0, 1, 3, 8] {
            let results: Vec<u64> = Pipeline::start(Uneven, threads, 5, 50).unwrap().collect();
            assert!(results.into_iter().eq((5..50).map(|number| number * number)), "{threads} threads");
        }
    }

    struct Stuck;

    impl Work for Stuck {
        type Scratch = ();
        type Out = u64;

        fn run(&self, number: u64, (): &mut (), stop: &AtomicBool) -> u64 {
            while number > 0 && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            number
        }
    }

    #[test]
    fn a_result_that_nobody_wants_any_more_is_not_waited_for() {
        let mut pipeline = Pipeline::start(Stuck, 2, 0, 10).unwrap();
        assert_eq!(pipeline.next_unless(|| false), Some(0));
        let mut asked = 0;
        let is_over = || {
            asked += 1;
            asked == 3
        };
        assert_eq!(pipeline.next_unless(is_over), None);
        assert_eq!(asked, 3);
    }

    #[test]
    fn dropping_a_pipeline_ends_its_threads() {
        /// Far less than the work that is left, far more than a slow machine needs to end four threads.
        const PROMPT: Duration = Duration::from_secs(5);
        let mut pipeline = Pipeline::start(Uneven, 4, 0, u64::MAX).unwrap();
        assert_eq!(pipeline.next(), Some(0));
        let start = Instant::now();
        drop(pipeline);
        assert!(start.elapsed() < PROMPT);
    }

    struct Panicking;

    impl Work for Panicking {
        type Scratch = ();
        type Out = u64;

        fn run(&self, number: u64, (): &mut (), _: &AtomicBool) -> u64 {
            assert!(number < 3, "job {number} fails");
            number
        }
    }

    #[test]
    #[should_panic(expected = "job 3 fails")]
    fn a_panic_in_a_thread_reaches_the_caller() {
        for _ in Pipeline::start(Panicking, 2, 0, 10).unwrap() {}
    }
}
