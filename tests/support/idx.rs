//! Pictures of two classes in IDX files, as a data set with a training and a test part.

use std::fs;
use std::path::Path;

const SIDE: usize = 28;
const CLASSES: usize = 2;

/// Writes so many pictures of each part into the new folder `folder`; classes take turns.
pub fn write(folder: &Path, counts: [usize; 2]) {
    fs::create_dir(folder).unwrap();
    for (part, count) in ["train", "t10k"].into_iter().zip(counts) {
        let sizes = |magic: u32, sizes: &[usize]| -> Vec<u8> {
            let words = [magic].into_iter().chain(sizes.iter().map(|size| *size as u32));
            words.flat_map(u32::to_be_bytes).collect()
        };
        let mut pictures = sizes(0x0803, &[count, SIDE, SIDE]);
        pictures
            .extend((0..count * SIDE * SIDE).map(|i| ((i * 7919 + (i / (SIDE * SIDE)) % CLASSES * 31) % 251) as u8));
        let mut labels = sizes(0x0801, &[count]);
        labels.extend((0..count).map(|i| (i % CLASSES) as u8));
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), pictures).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}
