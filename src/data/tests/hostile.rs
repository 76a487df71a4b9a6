//! Files that lie, break off or are no files: each is skipped with its reason, and none does harm.

use std::collections::BTreeMap;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageBuffer, LumaA, Rgb32FImage, RgbaImage};

use super::{encoded, png, put, repository};
use crate::data::{Dataset, Picture};

/// A PNG file that begins as one of `width` x `height` would, with a correct check sum.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(header);
    bytes.extend(crc.sum().to_be_bytes());
    bytes.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    bytes
}

fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = encoded(&DynamicImage::new_rgb8(2, 2), "bmp");
    bytes[18..22].copy_from_slice(&width.to_le_bytes());
    bytes[22..26].copy_from_slice(&height.to_le_bytes());
    bytes
}

fn corrupted(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0xff;
    bytes
}

/// What each file of `folder` gives: its size, or why it was skipped.
fn outcomes(folder: &Path) -> BTreeMap<String, String> {
    let dataset = Dataset::open(folder).unwrap();
    let outcome = |i| match dataset.picture(i) {
        Ok(Picture { width, height, channels, pixels }) => {
            assert_eq!(pixels.len(), width * height * channels);
            format!("{width}x{height}x{channels}")
        }
        Err(skip) => {
            assert_eq!((skip.sample, &skip.name), (i as u64, &dataset.name(i)));
            format!("{}: {}", skip.reason, skip.detail)
        }
    };
    (0..dataset.len()).map(|i| (dataset.name(i), outcome(i))).collect()
}

#[test]
fn whatever_a_file_holds_it_is_a_picture_or_a_skip_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let jpeg = std::fs::read(repository("examples/data/photos/rocket.jpg")).unwrap();
    let photo = std::fs::read(repository("tests/fixtures/pillow/noise.png")).unwrap();
    let webp = std::fs::read(repository("tests/fixtures/pillow/lossless.webp")).unwrap();
    let tiff = std::fs::read(repository("tests/fixtures/pillow/deflate.tiff")).unwrap();
    let gif = std::fs::read(repository("tests/fixtures/pillow/frame.gif")).unwrap();
    for (name, content) in [
        ("zero_bytes.jpg", Vec::new()),
        ("html.jpg", b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>".to_vec()),
        ("text.png", b"not a picture".to_vec()),
        ("only_magic.jpg", vec![0xff, 0xd8, 0xff]),
        ("only_magic.png", b"\x89PNG\r\n\x1a\n".to_vec()),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("cut_at_the_very_end.jpg", jpeg[..jpeg.len() - 1].to_vec()),
        ("cut_in_the_header.jpg", jpeg[..100].to_vec()),
        ("cut.png", photo[..photo.len() / 2].to_vec()),
        ("cut.webp", webp[..webp.len() / 2].to_vec()),
        ("cut.tiff", tiff[..tiff.len() / 2].to_vec()),
        ("cut.gif", gif[..gif.len() / 2].to_vec()),
        ("cut.bmp", encoded(&DynamicImage::new_rgb8(9, 9), "bmp")[..120].to_vec()),
        ("wrong_sum.png", corrupted(photo.clone(), 5000)),
        ("wrong_header.png", corrupted(photo, 20)),
        ("huge_header.png", png_header(60_000, 60_000)),
        ("too_many_pixels.png", png_header(16_000, 16_000)),
        ("no_pixels.png", png_header(0, 10)),
        ("huge_header.bmp", bmp_header(2_000_000_000, 2)),
        ("huge_header.ppm", b"P6 4000000000 4000000000 255\n".to_vec()),
        ("float.tiff", encoded(&DynamicImage::ImageRgb32F(Rgb32FImage::new(2, 2)), "tiff")),
        ("icon.png", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0".to_vec()),
        ("one_pixel.png", png(1, 1, 9)),
        ("grey.png", encoded(&DynamicImage::ImageLuma8(GrayImage::new(4, 3)), "png")),
        ("alpha.png", encoded(&DynamicImage::ImageRgba8(RgbaImage::new(4, 3)), "png")),
        ("sixteen_bits.png", encoded(&DynamicImage::new_rgb16(4, 3), "png")),
        ("sixteen_bits_grey.png", encoded(&DynamicImage::new_luma16(4, 3), "png")),
        (
            "sixteen_bits_grey_alpha.png",
            encoded(&DynamicImage::ImageLumaA16(ImageBuffer::from_pixel(4, 3, LumaA([0, 0]))), "png"),
        ),
        ("wrong_ending.png", jpeg),
    ] {
        put(folder, name, content);
    }
    insta::assert_debug_snapshot!(outcomes(folder));
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_skipped_without_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    put(folder, "a.png", png(2, 2, 0));
    let status = std::process::Command::new("mkfifo").arg(folder.join("pipe.jpg")).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.png")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("device.png")).unwrap();
    std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("dangling.png")).unwrap();
    std::os::unix::fs::symlink(folder.join("a.png"), folder.join("link.png")).unwrap();
    std::fs::create_dir(folder.join("folder.png")).unwrap();
    insta::assert_debug_snapshot!(outcomes(folder), @r#"
    {
        "a.png": "2x2x3",
        "dangling.png": "unreadable: No such file or directory (os error 2)",
        "device.png": "not_a_file: the path names a pipe, a socket or a device, not a file",
        "link.png": "2x2x3",
        "pipe.jpg": "not_a_file: the path names a pipe, a socket or a device, not a file",
        "socket.png": "not_a_file: the path names a pipe, a socket or a device, not a file",
    }
    "#);
}

#[cfg(unix)]
#[test]
fn a_folder_inside_itself_is_walked_once() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "cats/a.png", png(2, 2, 0));
    std::os::unix::fs::symlink(folder.path(), folder.path().join("cats/again")).unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!((dataset.len(), dataset.name(0).as_str()), (1, "cats/a.png"));
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    for name in [b"\xff.png".as_slice(), b"\xfe.png", "é.png".as_bytes()] {
        std::fs::write(
            folder.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name)),
            png(2, 2, 0),
        )
        .unwrap();
    }
    let dataset = Dataset::open(folder.path()).unwrap();
    let names: Vec<String> = (0..3).map(|i| dataset.name(i)).collect();
    assert_eq!(names, ["é.png", "\\xfe.png", "\\xff.png"]);
    assert!((0..3).all(|i| dataset.picture(i).is_ok()));
}

#[test]
fn no_cut_and_no_wrong_byte_of_a_picture_ends_the_process() {
    for file in [
        "rgb.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "palette.png",
        "lossless.webp",
        "frame.gif",
        "deflate.tiff",
        "plain.bmp",
        "plain.ppm",
    ] {
        let bytes = std::fs::read(repository("tests/fixtures/pillow").join(file)).unwrap();
        let whole = Picture::decode(&bytes).unwrap();
        for at in 0..bytes.len() {
            // A cut may leave a picture whole (a comment at the end), but never give another size.
            if let Ok(cut) = Picture::decode(&bytes[..at]) {
                assert_eq!((cut.width, cut.height), (whole.width, whole.height), "{file} cut at {at}");
            }
            if let Ok(Picture { width, height, channels, pixels }) = Picture::decode(&corrupted(bytes.clone(), at)) {
                assert_eq!(pixels.len(), width * height * channels, "{file} wrong at {at}");
            }
        }
    }
}
