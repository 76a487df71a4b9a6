//! When a run or an extraction saves and ends early: at a signal, or when its time is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::error::{Error, Kind};

/// What can end it early.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    deadline: Option<Instant>,
    /// The first reason that was seen: what comes while it saves does not change how it ends.
    first: Arc<OnceLock<Kind>>,
}

impl Stop {
    /// Stands in place of a signal's number where whoever sends it, such as a queue, says that the time is over.
    pub const TIME_IS_OVER: usize = usize::MAX;

    /// Where `signal` becomes a signal's number, or [`Stop::TIME_IS_OVER`], or at `deadline`.
    pub fn new(signal: Arc<AtomicUsize>, deadline: Option<Instant>) -> Self {
        Self { signal, deadline, first: Arc::default() }
    }

    /// Whether there is a reason to stop.
    pub fn is_due(&self) -> bool {
        self.kind().is_some()
    }

    /// Whether SIGINT or SIGTERM is the reason, whose second one ends the process.
    pub fn is_by_signal(&self) -> bool {
        matches!(self.kind(), Some(Kind::Interrupted(_)))
    }

    /// The error with which it ends once it has saved, where there is a reason; `what` says how far it has come, and
    /// `remedy` how it goes on.
    pub fn error(&self, what: &str, remedy: &str) -> Option<Error> {
        let message = match self.kind()? {
            Kind::Interrupted(signal) => format!("stopped by {} after {what}", name(signal)),
            _ => format!("the time is over after {what}"),
        };
        Some(Error::new(self.kind()?, message).with_remedy(remedy))
    }

    fn kind(&self) -> Option<Kind> {
        let reason = match self.signal.load(Ordering::Relaxed) {
            0 => self.deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Kind::TimeLimit),
            Self::TIME_IS_OVER => Some(Kind::TimeLimit),
            signal => Some(Kind::Interrupted(signal)),
        };
        reason.map(|reason| *self.first.get_or_init(|| reason))
    }
}

/// A signal's name, or its number where it is none that ends runs.
fn name(signal: usize) -> String {
    match signal {
        2 => "SIGINT".into(),
        15 => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}
