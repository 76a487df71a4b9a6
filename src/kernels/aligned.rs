//! Memory that begins where a line of the caches begins, so that no vector lies in two lines.

/// Bytes of a line; the widest vectors have as many.
const LINE: usize = 64;

/// Values that begin a line.
#[derive(Debug, Default)]
pub struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let values = vec![0.0f32; len + LINE / size_of::<f32>()];
        // Where the place cannot be known, any will do.
        let start = values.as_ptr().align_offset(LINE).min(values.len() - len);
        Self { values, start, len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_a_line() {
        for len in [0, 1, 15, 1000, 100_000] {
            let values = Aligned::zeros(len);
            assert_eq!((values.len(), values.iter().filter(|value| **value == 0.0).count()), (len, len));
            assert_eq!(values.as_ptr() as usize % LINE, 0);
        }
    }
}
