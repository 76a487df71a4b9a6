//! Films within tar files: the same frames as those of files of their own, and the same faults.

use super::{clip, film, numbered};
use crate::data::tests::{png, put, tar};
use crate::data::{Dataset, SkipReason};

#[test]
fn a_film_in_a_tar_shard_is_the_film_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let films = [
        ("a.mp4", &["-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p"][..]),
        ("b.webm", &["-c:v", "libvpx", "-g", "10", "-b:v", "1M"]),
        ("c.mkv", &["-c:v", "mpeg4", "-g", "10", "-q:v", "2"]),
        ("d.avi", &["-c:v", "mpeg4", "-g", "10", "-q:v", "2"]),
        ("e.gif", &["-pix_fmt", "gray"]),
    ];
    let paths = films.map(|(name, arguments)| film(folder, name, &numbered("32x24"), 90, arguments));
    let bytes = paths.each_ref().map(|path| std::fs::read(path).unwrap());
    let mut entries: Vec<(&str, &[u8])> =
        films.iter().zip(&bytes).map(|((name, _), bytes)| (*name, &bytes[..])).collect();
    let picture = png(4, 4, 9);
    entries.extend([("a.cls", &b"1"[..]), ("b.cls", b"0"), ("f.png", &picture)]);
    // What stands before the colon of an address could be taken for more of it.
    let shard = put(folder, "a,,:b c.tar", tar(&entries));

    let dataset = Dataset::open(&shard).unwrap();
    let labels: Vec<Option<u32>> = (0..6).map(|i| dataset.label(i)).collect();
    assert_eq!((dataset.len(), labels), (6, vec![Some(1), Some(0), None, None, None, None]));
    for (i, path) in paths.iter().enumerate() {
        let name = films[i].0;
        assert_eq!(dataset.name(i), format!("a,,:b c.tar/{name}"));
        let alone = Dataset::open(path).unwrap();
        assert_eq!(dataset.timeline(i).unwrap(), alone.timeline(0).unwrap(), "{name}");
        // Two places that lie so far apart that they are decoded apart.
        let wanted = [1, 2, 80, 81];
        assert!(dataset.clip(i, &wanted).unwrap() == clip(path, &wanted), "{name}");
        assert!(dataset.picture(i).unwrap() == alone.picture(0).unwrap(), "{name}");
    }
    assert_eq!((dataset.timeline(5).unwrap().len(), dataset.clip(5, &[0, 7]).unwrap().picture(1).pixels[0]), (1, 9));
}

#[test]
fn what_is_no_film_in_a_tar_shard_is_a_fault_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let outside = film(folder, "outside.mp4", &numbered("32x24"), 20, &["-c:v", "libx264"]);
    let whole = std::fs::read(&outside).unwrap();
    let list = format!("ffconcat version 1.0\nfile '{}'\n", outside.display());
    let entries: [(&str, &[u8]); 6] = [
        ("empty.mp4", b""),
        ("text.mkv", b"no film"),
        // What lies behind it is not its end.
        ("cut.mp4", &whole[..whole.len() / 2]),
        ("list.mkv", list.as_bytes()),
        ("whole.mp4", &whole),
        ("last.mp4", &whole),
    ];
    let shard = put(folder, "s.tar", tar(&entries));
    let dataset = Dataset::open(&shard).unwrap();
    let reason = |i: usize| dataset.clip(i, &[0, 3]).map(|clip| clip.frames).map_err(|skip| skip.reason);
    let corrupt = Err(SkipReason::Corrupt);
    assert_eq!([0, 1, 2, 3].map(reason), [Err(SkipReason::Empty), corrupt, corrupt, corrupt]);
    assert_eq!(reason(4), Ok(2));
    let skip = dataset.picture(1).unwrap_err();
    assert_eq!((skip.name.as_str(), skip.reason), ("s.tar/text.mkv", SkipReason::Corrupt));
    assert!(!skip.detail.contains("subfile"), "{}", skip.detail);

    let file = std::fs::OpenOptions::new().write(true).open(&shard).unwrap();
    file.set_len(file.metadata().unwrap().len() - 2048).unwrap();
    assert_eq!(reason(5), Err(SkipReason::Truncated));
    std::fs::remove_file(&shard).unwrap();
    assert_eq!(reason(5), Err(SkipReason::Unreadable));
}
