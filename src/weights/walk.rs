//! A walk along a pickle, operation by operation: how much it makes, and which code it names.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::globals;

/// Most values that the pickles of a file may make. A ViT-H with its optimizer takes ninety thousand.
const MAX_VALUES: usize = 500_000;
/// Most bytes that the pickles of a file may have.
const MAX_BYTES: u64 = 32 << 20;

/// What there is too much of, code that no checkpoint names, or why that cannot be told.
#[derive(Debug)]
pub(super) enum Excess {
    Of(String),
    Code(String),
    /// Two entries of an archive have this name.
    Twice(String),
    Io(io::Error),
}

impl From<io::Error> for Excess {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the pickles walked so far hold.
#[derive(Debug, Default)]
pub(super) struct Walk {
    values: usize,
    bytes: u64,
}

impl Walk {
    /// Walks one pickle to its end. Gives the names of the classes in it, each ended by a blank but for the last; nothing
    /// where the pickle does not end or has an operation that is none, which the parser refuses at the same place.
    pub(super) fn pickle(&mut self, reader: &mut impl BufRead) -> Result<Option<Vec<u8>>, Excess> {
        let mut class = Vec::new();
        let mut texts = Texts::default();
        loop {
            let Some([operation]) = number::<1>(reader)? else { return Ok(None) };
            self.values += 1;
            self.take(1)?;
            if self.values > MAX_VALUES {
                return Err(Excess::Of(format!("more than {MAX_VALUES} values")));
            }
            if !matches!(operation, b'p' | b'q' | b'r' | b'X' | b'g' | b'h' | b'j' | 0x80 | 0x8c | 0x8d | 0x93..=0x95) {
                texts.forget();
            }
            let skipped = match operation {
                b'.' => return Ok(Some(class)),
                b'I' | b'L' | b'F' | b'V' | b'P' | b'g' | b'p' => {
                    let Some(line) = self.line(reader)? else { return Ok(None) };
                    match operation {
                        b'g' => texts.get(slot(&line)?),
                        b'p' => texts.put(slot(&line)?),
                        _ => {}
                    }
                    0
                }
                // By its name, and by its name with arguments, as Python 1 wrote it.
                b'c' | b'i' => {
                    let (Some(module), Some(name)) = (self.line(reader)?, self.line(reader)?) else { return Ok(None) };
                    judge(&module, &name)?;
                    class.extend(if class.is_empty() { b"".as_slice() } else { b" " });
                    class.extend(name);
                    0
                }
                0x93 => {
                    let [Some(module), Some(name)] = &texts.last else {
                        return Err(Excess::Code("a name that is put together".into()));
                    };
                    judge(module, name)?;
                    class.extend(b" ");
                    texts.forget();
                    0
                }
                // By a number that only the Python that loads it can tell the meaning of.
                0x82..=0x84 => return Err(Excess::Code("one without a name".into())),
                0x94 => {
                    texts.put(texts.memo.len() as u64);
                    0
                }
                b'q' | b'h' | b'r' | b'j' => {
                    let slot = match operation {
                        b'q' | b'h' => self.length::<1>(reader)?,
                        _ => self.length::<4>(reader)?,
                    };
                    if matches!(operation, b'q' | b'r') {
                        texts.put(slot)
                    } else {
                        texts.get(slot)
                    }
                    0
                }
                b'X' | 0x8c | 0x8d => {
                    let length = match operation {
                        0x8c => self.length::<1>(reader)?,
                        b'X' => self.length::<4>(reader)?,
                        _ => self.length::<8>(reader)?,
                    };
                    self.take(length)?;
                    texts.push(reader, length)?;
                    0
                }
                b'K' | 0x80 => 1,
                b'M' => 2,
                b'J' => 4,
                b'G' | 0x95 => 8,
                b'U' | b'C' | 0x8a => self.length::<1>(reader)?,
                b'T' | b'B' | 0x8b => self.length::<4>(reader)?,
                0x8e | 0x96 => self.length::<8>(reader)?,
                b'('
                | b'0'
                | b'1'
                | b'2'
                | b'N'
                | b'Q'
                | b'R'
                | b'b'
                | b'd'
                | b'l'
                | b't'
                | b's'
                | b'a'
                | b')'
                | b']'
                | b'}'
                | b'e'
                | b'u'
                | 0x81
                | 0x85..=0x89
                | 0x8f..=0x92 => 0,
                _ => return Ok(None),
            };
            self.take(skipped)?;
            io::copy(&mut reader.by_ref().take(skipped), &mut io::sink())?;
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Excess> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > MAX_BYTES {
            true => Err(Excess::Of(format!("more than {} MiB beside tensors", MAX_BYTES >> 20))),
            false => Ok(()),
        }
    }

    /// A line without its end; nothing where it has none.
    fn line(&mut self, reader: &mut impl BufRead) -> Result<Option<Vec<u8>>, Excess> {
        let mut line = Vec::new();
        reader.by_ref().take(MAX_BYTES + 1).read_until(b'\n', &mut line)?;
        self.take(line.len() as u64)?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }

    /// A length in `N` bytes.
    fn length<const N: usize>(&mut self, reader: &mut impl Read) -> Result<u64, Excess> {
        let mut word = [0; 8];
        let Some(bytes) = number::<N>(reader)? else { return Ok(0) };
        word[..N].copy_from_slice(&bytes);
        self.take(N as u64)?;
        Ok(u64::from_le_bytes(word))
    }
}

/// Refuses code that no checkpoint names.
fn judge(module: &[u8], name: &[u8]) -> Result<(), Excess> {
    const SHOWN: usize = 80;
    if globals::allowed(module, name) {
        return Ok(());
    }
    let full = [module, b".", name].concat();
    Err(Excess::Code(String::from_utf8_lossy(&full[..full.len().min(SHOWN)]).escape_debug().to_string()))
}

/// The number of a place in the memo, written in decimals.
fn slot(line: &[u8]) -> Result<u64, Excess> {
    let number = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
    number.ok_or_else(|| Excess::Of("a value remembered under a name that is no number".into()))
}

/// The texts of a pickle as far as a name can be made of them: the last two values, and what is remembered.
#[derive(Debug, Default)]
struct Texts {
    /// None for a value that is no text, or that came about in another way than by being written down or remembered.
    last: [Option<Rc<[u8]>>; 2],
    memo: HashMap<u64, Option<Rc<[u8]>>>,
}

impl Texts {
    fn forget(&mut self) {
        self.last = [None, None];
    }

    fn value(&mut self, value: Option<Rc<[u8]>>) {
        self.last = [self.last[1].take(), value];
    }

    /// The next `length` bytes; none of the allowed names is as long as what is left out.
    fn push(&mut self, reader: &mut impl BufRead, length: u64) -> io::Result<()> {
        const LONGEST: u64 = 256;
        let mut text = Vec::new();
        reader.by_ref().take(length.min(LONGEST)).read_to_end(&mut text)?;
        io::copy(&mut reader.by_ref().take(length.saturating_sub(LONGEST)), &mut io::sink())?;
        self.value(Some(text.into()));
        Ok(())
    }

    fn put(&mut self, slot: u64) {
        self.memo.insert(slot, self.last[1].clone());
    }

    fn get(&mut self, slot: u64) {
        let value = self.memo.get(&slot).cloned().flatten();
        self.value(value);
    }
}

/// The next `N` bytes, little end first where they are a number; nothing where fewer are left.
pub(super) fn number<const N: usize>(reader: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn walked(pickle: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Walk::default().pickle(&mut Cursor::new(pickle)).map_err(|excess| match excess {
            Excess::Of(what) | Excess::Code(what) => what,
            Excess::Twice(name) => name,
            Excess::Io(error) => error.to_string(),
        })
    }

    #[test]
    fn a_pickle_is_walked_to_its_end_and_no_further() {
        assert_eq!(walked(b"\x80\x02}X\x03\0\0\0a.bK.s.rest"), Ok(Some(Vec::new())));
        assert_eq!(walked(b"ctorch\nFloatStorage\n."), Ok(Some(b"FloatStorage".to_vec())));
        assert_eq!(walked(b"ctorch\nSize\n0ctorch\nint\n."), Ok(Some(b"Size int".to_vec())));
        for unfinished in [b"".as_slice(), b"]", b"X\xff\xff", b"\xff.", b"cposix\nsystem"] {
            assert_eq!(walked(unfinished), Ok(None), "{unfinished:?}");
        }
    }

    #[test]
    fn names_are_judged_however_they_are_put_together() {
        // `torch` is remembered, and so is `Size`, which Python's pickler does with every text.
        let twice = b"\x80\x04\x8c\x05torch\x94\x8c\x04Size\x94\x93\x940h\0h\x01\x93.";
        assert_eq!(walked(twice), Ok(Some(b"  ".to_vec())));
        assert_eq!(walked(b"\x8c\x02os\x8c\x06system\x93.").unwrap_err(), "os.system");
        assert_eq!(walked(b"\x8c\x05torch\x8c\x0bSize.mro.im\x93.").unwrap_err(), "torch.Size.mro.im");
        // What stands on the stack is another value than the last one that was written down.
        for hidden in [
            b"\x8c\x02os\x8c\x06system\x8c\x04Size0\x93.".as_slice(),
            b"\x8c\x05torch]0\x8c\x04Size\x93.",
            b"\x8c\x05torch2\x93.",
            b"\x8c\x05torchVSize\n\x93.",
            b"\x8c\x05torchh\x07\x93.",
        ] {
            assert_eq!(walked(hidden).unwrap_err(), "a name that is put together", "{hidden:?}");
        }
        assert_eq!(walked(b"(X\x01\0\0\0xios\nsystem\n.").unwrap_err(), "os.system");
        assert_eq!(walked(b"\x82\x01.").unwrap_err(), "one without a name");
    }

    #[test]
    fn more_values_or_bytes_than_a_checkpoint_needs_are_refused() {
        assert_eq!(walked(&vec![b']'; MAX_VALUES + 1]).unwrap_err(), "more than 500000 values");
        for long in [b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(), b"X\xff\xff\xff\xff", b"\x8b\xff\xff\xff\xff"]
        {
            assert_eq!(walked(long).unwrap_err(), "more than 32 MiB beside tensors");
        }
        assert_eq!(walked(&[b'V'; (MAX_BYTES + 2) as usize]).unwrap_err(), "more than 32 MiB beside tensors");
    }
}
