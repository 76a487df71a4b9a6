//! Memory that begins where a line of the caches begins, so that no vector lies in two lines.

use bytemuck::Zeroable;

/// Bytes of a line; the widest vectors have as many.
const LINE: usize = 64;

/// Values that begin a line.
#[derive(Debug, Default)]
pub struct Aligned<T = f32> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Zeroable + Clone> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let values = vec![T::zeroed(); len + LINE / size_of::<T>()];
        // Where the place cannot be known, any will do.
        let start = values.as_ptr().align_offset(LINE).min(values.len() - len);
        Self { values, start, len }
    }
}

impl<T> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_a_line() {
        for len in [0, 1, 15, 1000, 100_000] {
            let values: Aligned = Aligned::zeros(len);
            assert_eq!((values.len(), values.iter().filter(|value| **value == 0.0).count()), (len, len));
            assert_eq!(values.as_ptr() as usize % LINE, 0);
        }
    }
}
