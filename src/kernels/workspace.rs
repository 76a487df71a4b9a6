//! Memory that each thread has for itself while it works on a task.

use std::sync::{Mutex, PoisonError};

use super::aligned::Aligned;

/// One piece of memory a thread; what a piece holds is left from the task before.
#[derive(Debug)]
pub struct Workspace {
    pieces: Vec<Mutex<Aligned>>,
}

impl Workspace {
    /// `len` values for each thread of the current pool.
    pub fn new(len: usize) -> Self {
        Self { pieces: (0..Self::threads()).map(|_| Mutex::new(Aligned::zeros(len))).collect() }
    }

    /// Threads of the current pool.
    pub fn threads() -> usize {
        rayon::current_num_threads().max(1)
    }

    /// Gives the calling thread its piece. In a pool of more threads than this was made for, some share and wait.
    pub fn with<R>(&self, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let thread = rayon::current_thread_index().unwrap_or(0);
        // A task that panicked leaves values that nothing reads.
        let mut piece = self.pieces[thread % self.pieces.len()].lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut piece)
    }
}

/// Cuts memory into pieces of the given lengths.
#[inline(always)]
pub fn cut<const N: usize>(mut memory: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (piece, rest) = std::mem::take(&mut memory).split_at_mut(length);
        memory = rest;
        piece
    })
}
