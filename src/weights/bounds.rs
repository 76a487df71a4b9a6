//! What a PyTorch file may ask for, of memory and of code: its pickles are walked, operation by operation, before any is
//! parsed.
//!
//! A deflated pickle of a hundred kilobytes can hold a hundred million values, and each takes a hundred bytes once it is
//! parsed. Lengths that contradict the file are left to the parser, which knows them all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::walk::{Excess, Walk, number};
use crate::error::{Error, IoContext as _, Result};
use crate::tape;

/// A file in PyTorch's form before 1.6 begins with so many pickles: magic number, version, system, content, keys.
const PICKLES: usize = 5;
/// The four files of PyTorch's archive before 0.1.10.
const TAR_PARTS: [&str; 4] = ["sys_info", "pickle", "tensors", "storages"];
const TAR_MAGIC_AT: usize = 257;

/// Refuses the PyTorch file at `path` where parsing it would take more memory than a checkpoint needs, or where it names
/// code that no checkpoint needs, wherever in it and whatever becomes of it.
///
/// # Errors
/// A data error that says what there is too much of, or which code is named.
pub(super) fn check(path: &Path) -> Result<()> {
    let excess = |excess: Excess| match excess {
        Excess::Of(what) => Error::data(path, format!("the pickle asks for too much: {what}"))
            .with_remedy("save the model's state_dict() alone with torch.save, or as safetensors"),
        Excess::Code(name) => {
            Error::data(path, format!("the pickle names the code `{name}`, which no checkpoint needs; nothing was run"))
                .with_remedy(
                    "do not load this file in Python if you do not trust it; ask whoever made it for the model's \
                     state_dict() alone, or for a safetensors file",
                )
        }
        Excess::Twice(name) => Error::data(
            path,
            format!("two entries of the archive are called {name}, and each reader takes the one it likes"),
        )
        .with_remedy("save the model's state_dict() again with torch.save, or as safetensors"),
        Excess::Io(error) => Error::io("read", path, error),
    };
    let mut start = Vec::new();
    let file = File::open(path).at("open", path)?;
    file.take(512).read_to_end(&mut start).at("read", path)?;
    let file = BufReader::new(File::open(path).at("open", path)?);
    let mut walk = Walk::default();
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        zip(file, &mut walk).map_err(excess)
    } else if start.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        tar(file, &mut walk).map_err(excess)
    } else {
        let mut file = file;
        (0..PICKLES).try_for_each(|_| walk.pickle(&mut file).map(drop)).map_err(excess)
    }
}

/// The pickles of an archive; one that cannot be opened is for the parser to judge.
fn zip(file: BufReader<File>, walk: &mut Walk) -> Result<(), Excess> {
    let Ok(archive) = zip::ZipArchive::new(file) else { return Ok(()) };
    let start = archive.central_directory_start();
    let mut file = archive.into_inner();
    file.seek(SeekFrom::Start(start))?;
    require_names_once(&mut file)?;
    let Ok(mut archive) = zip::ZipArchive::new(file) else { return Ok(()) };
    let pickles = archive.file_names_raw().enumerate().filter(|(_, name)| name.ends_with(b"data.pkl"));
    for number in pickles.map(|(number, _)| number).collect::<Vec<_>>() {
        if let Ok(entry) = archive.by_index(number) {
            walk.pickle(&mut BufReader::new(entry))?;
        }
    }
    Ok(())
}

/// Refuses an archive with two entries of one name, of which each reader takes the one that it likes; `file` stands at the
/// begin of the list of entries.
fn require_names_once(file: &mut impl BufRead) -> Result<(), Excess> {
    const ENTRY: &[u8; 4] = b"PK\x01\x02";
    /// Lengths of the name, of more fields and of a remark.
    const LENGTHS: [usize; 3] = [28, 30, 32];
    let mut names = HashSet::new();
    let mut head = [0; 46];
    // What is cut off is for the parser to judge.
    while file.read_exact(&mut head).is_ok() && head.starts_with(ENTRY) {
        let [name, more, remark] = LENGTHS.map(|at| u64::from(u16::from_le_bytes([head[at], head[at + 1]])));
        let mut text = Vec::new();
        file.take(name).read_to_end(&mut text)?;
        io::copy(&mut file.take(more + remark), &mut io::sink())?;
        if let Some(twice) = names.replace(text) {
            return Err(Excess::Twice(String::from_utf8_lossy(&twice).into_owned()));
        }
    }
    Ok(())
}

/// The pickles of an archive of the oldest form, in which two of the four files mix them with numbers.
fn tar(file: BufReader<File>, walk: &mut Walk) -> Result<(), Excess> {
    let length = file.get_ref().metadata()?.len();
    let (file, ration) = tape::rationed(file);
    let mut archive = tar::Archive::new(file);
    let Ok(mut entries) = archive.entries_with_seek() else { return Ok(()) };
    let entries = std::iter::from_fn(|| {
        ration.renew();
        let entry = entries.next()?;
        if ration.is_spent() {
            return Some(Err(Excess::Of(format!("a name of more than {} MiB", tape::MAX_NAME_BYTES >> 20))));
        }
        ration.lift();
        // What is damaged is for the parser to judge.
        entry.ok().map(Ok)
    });
    for entry in entries {
        let entry = entry?;
        let name = entry.path().map(|path| path.to_string_lossy().trim_start_matches("./").to_owned());
        let Some(part) = name.ok().and_then(|name| TAR_PARTS.iter().find(|part| **part == name).copied()) else {
            continue;
        };
        // A sparse file of a few bytes can claim to be of any size; PyTorch never wrote one.
        if entry.size() > length || entry.header().entry_type().is_gnu_sparse() {
            return Err(Excess::Of(format!("the part {part} claims {} bytes of a file of {length}", entry.size())));
        }
        let mut entry = BufReader::new(entry);
        match part {
            "tensors" => interleaved(&mut entry, walk, |entry, _| {
                let Some(rank) = number::<4>(entry)? else { return Ok(None) };
                // The rank again as padding, sizes and strides, and the offset.
                Ok(Some(4 + 16 * u64::from(u32::from_le_bytes(rank)) + 8))
            })?,
            "storages" => interleaved(&mut entry, walk, |entry, class| {
                let Some(count) = number::<8>(entry)? else { return Ok(None) };
                // The list of views that ends them names no class.
                if class.is_empty() {
                    return Ok(None);
                }
                let Some(bytes) = element_bytes(class) else {
                    let class = String::from_utf8_lossy(class);
                    return Err(Excess::Of(format!("a storage of the unknown class `{}`", class.escape_debug())));
                };
                Ok(Some(u64::from_le_bytes(count).saturating_mul(bytes)))
            })?,
            _ => drop(walk.pickle(&mut entry)?),
        }
    }
    Ok(())
}

/// A pickle, then as many pairs of a pickle and numbers as there are. `after` says how many bytes behind what it reads
/// belong to them, or nothing where that is the end.
fn interleaved<R: BufRead>(
    reader: &mut R,
    walk: &mut Walk,
    after: impl Fn(&mut R, &[u8]) -> Result<Option<u64>, Excess>,
) -> Result<(), Excess> {
    walk.pickle(reader)?;
    while let Some(class) = walk.pickle(reader)? {
        let Some(bytes) = after(reader, &class)? else { return Ok(()) };
        io::copy(&mut reader.by_ref().take(bytes), &mut io::sink())?;
    }
    Ok(())
}

/// Bytes of an element of a storage's class, such as `FloatStorage`.
fn element_bytes(class: &[u8]) -> Option<u64> {
    Some(match class.strip_suffix(b"Storage")? {
        b"Double" | b"Long" => 8,
        b"Float" | b"Int" => 4,
        b"Half" | b"Short" | b"BFloat16" => 2,
        b"Char" | b"Byte" | b"Bool" => 1,
        _ => return None,
    })
}
