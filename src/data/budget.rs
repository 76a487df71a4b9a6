//! Memory that all threads share: whoever needs a part of it waits until there is enough.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of bytes that may be in use at once.
#[derive(Debug)]
pub(super) struct Budget {
    free: Mutex<u64>,
    given_back: Condvar,
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: &'static Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes`.
    pub const fn new(bytes: u64) -> Self {
        Self { free: Mutex::new(bytes), given_back: Condvar::new() }
    }

    /// Takes `bytes`, at most as many as the budget has, as soon as they are free.
    ///
    /// A thread that holds a share must not wait for another of the same budget: two such could wait for each other.
    pub fn take(&'static self, bytes: u64) -> Share {
        let mut free = self.lock();
        while *free < bytes {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Share { budget: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A number is whole whatever panicked beside it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: u64) {
        *self.lock() += bytes;
        self.given_back.notify_all();
    }
}

impl Share {
    /// Makes it a share of `bytes`, unless it is larger already; false, and nothing is changed, where so much is not free.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let mut free = self.budget.lock();
        let enough = *free >= more;
        if enough {
            *free -= more;
            self.bytes += more;
        }
        enough
    }

    /// Gives back all but `bytes`.
    pub fn keep(&mut self, bytes: u64) {
        let rest = self.bytes.saturating_sub(bytes);
        self.bytes -= rest;
        self.budget.give_back(rest);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_share_grows_by_what_is_free_and_gives_all_of_it_back() {
        static BUDGET: Budget = Budget::new(10);
        let (mut one, two) = (BUDGET.take(3), BUDGET.take(4));
        assert!(one.grow(6) && one.grow(2) && !one.grow(7));
        drop(two);
        assert!(one.grow(10));
        drop(one);
        assert_eq!(*BUDGET.lock(), 10);
    }

    #[test]
    fn threads_never_hold_more_than_the_budget_and_each_gets_its_share() {
        const WHOLE: u64 = 10;
        static BUDGET: Budget = Budget::new(WHOLE);
        static HELD: AtomicU64 = AtomicU64::new(0);
        static DONE: AtomicU64 = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for turn in 0..100 {
                        let bytes = (thread * 7 + turn * 3) % WHOLE + 1;
                        let mut share = BUDGET.take(bytes);
                        assert!(HELD.fetch_add(bytes, Ordering::SeqCst) + bytes <= WHOLE);
                        HELD.fetch_sub(bytes, Ordering::SeqCst);
                        share.keep(bytes / 2);
                        DONE.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((DONE.load(Ordering::SeqCst), *BUDGET.lock()), (800, WHOLE));
    }
}
