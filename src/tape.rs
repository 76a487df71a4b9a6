//! Tar archives whose headers cannot take the memory: a name or an attribute may say that it has gigabytes.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Most bytes that the headers of one entry may have, with its name and its attributes.
pub const MAX_NAME_BYTES: u64 = 1 << 20;

/// A reader that reads as much as its [`Ration`] allows; what is passed over by seeking counts nothing.
#[derive(Debug)]
pub struct Rationed<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
}

/// What a [`Rationed`] reader may still read.
#[derive(Debug)]
pub struct Ration(Rc<Cell<Option<u64>>>);

/// A reader over `inner`, and what decides how much it reads: [`MAX_NAME_BYTES`] to begin with.
pub fn rationed<R>(inner: R) -> (Rationed<R>, Ration) {
    let left = Rc::new(Cell::new(Some(MAX_NAME_BYTES)));
    (Rationed { inner, left: Rc::clone(&left) }, Ration(left))
}

impl Ration {
    /// Allows the headers of another entry.
    pub fn renew(&self) {
        self.0.set(Some(MAX_NAME_BYTES));
    }

    /// Allows all that there is.
    pub fn lift(&self) {
        self.0.set(None);
    }

    /// Whether nothing more is allowed.
    pub fn is_spent(&self) -> bool {
        self.0.get() == Some(0)
    }
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else { return self.inner.read(buffer) };
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!("the headers of an entry take more than {MAX_NAME_BYTES} bytes")));
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..most])?;
        self.left.set(Some(left - count as u64));
        Ok(count)
    }
}

impl<R: Seek> Seek for Rationed<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_read_and_no_more_until_it_is_renewed_or_lifted() {
        let length = 4 * MAX_NAME_BYTES;
        let (mut reader, ration) = rationed(io::repeat(7).take(length));
        let mut read = |most: u64| io::copy(&mut reader.by_ref().take(most), &mut io::sink());
        assert_eq!(read(MAX_NAME_BYTES).unwrap(), MAX_NAME_BYTES);
        assert!(ration.is_spent() && read(1).is_err());
        ration.renew();
        assert_eq!(read(5).unwrap(), 5);
        assert!(!ration.is_spent() && read(MAX_NAME_BYTES).is_err());
        ration.lift();
        assert_eq!(read(u64::MAX).unwrap(), length - 2 * MAX_NAME_BYTES);
    }
}
