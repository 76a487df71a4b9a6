//! Hostile pictures, written by Pillow or here, and what each must become.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use anyjepa::data::Picture;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use safetensors::SafeTensors;

/// A JPEG whose colour is stored at full resolution, as in the tests against Pillow; CMYK is converted once more.
const JPEG: u8 = 3;
/// A JPEG whose colour is stored at half resolution, likewise.
const JPEG_HALF_COLOUR: u8 = 6;

/// What a file must become.
pub enum Expected {
    /// These pixels, each off by at most so many levels.
    Pixels(Picture, u8),
    /// A skip for this reason.
    Skipped(&'static str),
    /// A skip for any reason, or exactly these pixels: a cut may have spared all of them.
    SpoiltOr(Picture),
    /// A picture of this size, whatever its pixels are.
    Spoilt(usize, usize),
}

/// A file that may hurt.
pub struct Hostile {
    pub name: String,
    pub content: Vec<u8>,
    pub expected: Expected,
}

pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(root("tests/fixtures/hostile").join(name)).unwrap()
}

fn picture(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Picture {
    Picture { width, height, channels, pixels }
}

/// A picture without two equal neighbours.
fn speckled(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 37 + y * 91) as u8, (x * 11) as u8 ^ (y * 53) as u8, (x * y * 7) as u8])
    })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(content);
    [&(content.len() as u32).to_be_bytes(), kind.as_slice(), content, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of `width` x `height` pixels of 8 bits and `channels`, whose data are `zeros` zeros, deflated.
fn png_of_zeros(width: u32, height: u32, channels: u8, zeros: usize) -> Vec<u8> {
    let colour = if channels == 3 { 2 } else { 0 };
    let header = [&width.to_be_bytes(), height.to_be_bytes().as_slice(), &[8, colour, 0, 0, 0]].concat();
    let mut data = ZlibEncoder::new(Vec::new(), Compression::fast());
    let block = vec![0; 1 << 20];
    for at in (0..zeros).step_by(block.len()) {
        data.write_all(&block[..block.len().min(zeros - at)]).unwrap();
    }
    let data = data.finish().unwrap();
    [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header), &chunk(b"IDAT", &data), &chunk(b"IEND", b"")].concat()
}

/// A PNG with `extra` chunks behind its header.
fn png_with(png: &[u8], extra: &[u8]) -> Vec<u8> {
    const HEADER_END: usize = 33;
    [&png[..HEADER_END], extra, &png[HEADER_END..]].concat()
}

/// The pictures that Pillow wrote, with what it decodes them to.
fn from_pillow(found: &mut Vec<Hostile>) {
    let bytes = fixture("expected.safetensors");
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in expected.tensors() {
        let [height, width, channels] = *view.shape() else { panic!("{name}: three sides") };
        let levels = match name.rsplit('.').next().unwrap() {
            "jpg" if ["half_colour.jpg", "two.mpo.jpg"].contains(&name.as_str()) => JPEG_HALF_COLOUR,
            "jpg" => JPEG,
            _ => 0,
        };
        let pixels = picture(width, height, channels, view.data().to_vec());
        if name == "grey.jpg" {
            let name = "jpeg_called.png".to_owned();
            found.push(Hostile {
                content: fixture("grey.jpg"),
                name,
                expected: Expected::Pixels(pixels.clone(), levels),
            });
        }
        found.push(Hostile { content: fixture(&name), name, expected: Expected::Pixels(pixels, levels) });
    }
    for (name, reason) in [
        ("arithmetic.jpg", "corrupt"),
        ("lossless.jpg", "corrupt"),
        ("twelve_bits.jpg", "corrupt"),
        ("no_components.jpg", "corrupt"),
        ("wide.jpg", "too_large"),
    ] {
        found.push(Hostile { name: name.into(), content: fixture(name), expected: Expected::Skipped(reason) });
    }
}

/// Pictures that break off, every 37 bytes.
fn cut(found: &mut Vec<Hostile>) {
    const STEP: usize = 37;
    let jpeg = fixture("exif_1.jpg");
    for length in (STEP..jpeg.len()).step_by(STEP) {
        let (name, content) = (format!("cut_{length:04}.jpg"), jpeg[..length].to_vec());
        found.push(Hostile { name, content, expected: Expected::Skipped("truncated") });
    }
    let (image, format) = (speckled(24, 20), ImageFormat::Png);
    let whole = picture(24, 20, 3, image.as_raw().clone());
    let png = encoded(&image.into(), format);
    for length in (STEP..png.len()).step_by(STEP) {
        let (name, content) = (format!("cut_{length:04}.png"), png[..length].to_vec());
        found.push(Hostile { name, content, expected: Expected::SpoiltOr(whole.clone()) });
    }
}

/// Pictures that this test can write itself.
fn generated(found: &mut Vec<Hostile>) {
    let mut put = |name: &str, content: Vec<u8>, expected: Expected| {
        found.push(Hostile { name: name.into(), content, expected });
    };
    let pixels = |image: RgbImage| {
        Expected::Pixels(picture(image.width() as usize, image.height() as usize, 3, image.into_raw()), 0)
    };
    let small = speckled(5, 4);
    let png = encoded(&small.clone().into(), ImageFormat::Png);
    put("zero_bytes.jpg", Vec::new(), Expected::Skipped("empty"));
    put("zero_bytes.png", Vec::new(), Expected::Skipped("empty"));
    put("page.jpg", b"<!DOCTYPE html><title>404</title>".to_vec(), Expected::Skipped("not_an_image"));
    put("text.webp", b"not a picture".to_vec(), Expected::Skipped("not_an_image"));
    put("vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), Expected::Skipped("not_an_image"));
    put("program.jpg", b"\x7fELF\x02\x01\x01\0".repeat(20), Expected::Skipped("not_an_image"));
    put("only_magic.jpg", vec![0xff, 0xd8, 0xff], Expected::Skipped("truncated"));
    put("only_magic.gif", b"GIF89a".to_vec(), Expected::Skipped("truncated"));
    put("only_magic.webp", b"RIFF\x04\0\0\0WEBP".to_vec(), Expected::Skipped("truncated"));
    put("png_called.jpg", png.clone(), pixels(small.clone()));
    let texts = chunk(b"tEXt", b"a\0b").repeat(3_200_000);
    put("millions_of_texts.png", png_with(&png, &texts), Expected::Skipped("too_large"));
    put("behind_the_end.png", [png.clone(), vec![7; 5000]].concat(), pixels(small.clone()));
    put("one_pixel.png", encoded(&speckled(1, 1).into(), ImageFormat::Png), pixels(speckled(1, 1)));
    put("one_column.png", encoded(&speckled(1, 500).into(), ImageFormat::Png), pixels(speckled(1, 500)));
    put("one_row.png", encoded(&speckled(9000, 1).into(), ImageFormat::Png), pixels(speckled(9000, 1)));
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_fn(6, 5, |x, y| Rgb([x as u16 * 9000, y as u16 * 9001, 258]));
    let upper = deep.as_raw().iter().map(|value| (value >> 8) as u8).collect();
    put("sixteen_bits.png", encoded(&deep.into(), ImageFormat::Png), Expected::Pixels(picture(6, 5, 3, upper), 0));
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(6, 5, |x, y| Luma([x as u16 * 9000 + y as u16]));
    let upper = deep.as_raw().iter().map(|value| (value >> 8) as u8).collect();
    put("sixteen_bits_grey.png", encoded(&deep.into(), ImageFormat::Png), Expected::Pixels(picture(6, 5, 1, upper), 0));
    put("a_side_of_65535.png", png_of_zeros(65_535, 1, 3, 3 * 65_535 + 1), Expected::Skipped("too_large"));
    put("60000_by_60000.png", png_of_zeros(60_000, 60_000, 3, 50 << 20), Expected::Skipped("too_large"));
    put("16000_by_16000.png", png_of_zeros(16_000, 16_000, 3, 1 << 20), Expected::Skipped("too_large"));
    put("claims_more_than_it_holds.png", png_of_zeros(8000, 7000, 3, 1 << 20), Expected::Skipped("corrupt"));
    let (width, height) = (16_000, 3800);
    put(
        "large.png",
        png_of_zeros(width, height, 3, (3 * width as usize + 1) * height as usize),
        Expected::Pixels(picture(16_000, 3800, 3, vec![0; 3 * 16_000 * 3800]), 0),
    );
    put("no_pixels.png", png_of_zeros(0, 10, 3, 10), Expected::Skipped("corrupt"));
    let mut bomb = ZlibEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&vec![0; 64 << 20]).unwrap();
    let profile = chunk(b"iCCP", &[b"bomb\0\0".as_slice(), &bomb.finish().unwrap()].concat());
    put("a_bomb_for_a_profile.png", png_with(&png, &profile), Expected::Spoilt(5, 4));
    let mut wrong_sum = png.clone();
    wrong_sum[45] ^= 0xff;
    put("wrong_sum.png", wrong_sum, Expected::Skipped("corrupt"));
    let mut wrong_header = png.clone();
    wrong_header[20] ^= 0xff;
    put("wrong_header.png", wrong_header, Expected::Skipped("corrupt"));
    put("icon.png", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0".to_vec(), Expected::Skipped("unsupported"));
    put("huge.ppm", b"P6 4000000000 4000000000 255\n".to_vec(), Expected::Skipped("unsupported"));
    put("huge_grey.pgm", b"P5 16000 16000 255\n".to_vec(), Expected::Skipped("too_large"));
    let mut bmp = encoded(&small.into(), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&2_000_000_000i32.to_le_bytes());
    put("huge.bmp", bmp, Expected::Skipped("corrupt"));
    // Coefficients of a progressive picture are all kept until its end.
    for (name, side, expected) in
        [("p_large.jpg", 4000, Expected::Spoilt(4000, 4000)), ("p_too_large.jpg", 8000, Expected::Skipped("too_large"))]
    {
        put(name, jpeg_of_side(&fixture("progressive.jpg"), 0xc2, side), expected);
    }
    put("large.jpg", jpeg_of_side(&fixture("exif_1.jpg"), 0xc0, 7000), Expected::Spoilt(7000, 7000));
    put("a_list_of_millions.tif", tiff_of_strips(8 << 20), Expected::Skipped("too_large"));
    put("strips_of_one_row.tif", tiff_of_strips(1000), Expected::Spoilt(1, 1000));
    put("run_lengths.bmp", bmp_of_runs(16_000, 3600), Expected::Spoilt(16_000, 3600));
    let mut canvas = fixture("animated.gif");
    canvas[6..10].copy_from_slice(&[0x70, 0x17, 0x10, 0x07]);
    put("canvas.gif", canvas, Expected::Spoilt(6000, 1808));
}

/// A grey TIFF of one column, whose strips of a row each are all the same two bytes, and whose offsets are their sizes too.
fn tiff_of_strips(rows: u32) -> Vec<u8> {
    const START: u32 = 8;
    let list = START.to_le_bytes().repeat(rows as usize);
    let tag = |number: u16, kind: u16, count: u32, value: u32| {
        [&number.to_le_bytes(), &kind.to_le_bytes(), count.to_le_bytes().as_slice(), &value.to_le_bytes()].concat()
    };
    let tags = [
        tag(256, 4, 1, 1),
        tag(257, 4, 1, rows),
        tag(258, 3, 1, 8),
        tag(259, 3, 1, 1),
        tag(262, 3, 1, 1),
        tag(273, 4, rows, START),
        tag(277, 3, 1, 1),
        tag(278, 4, 1, 1),
        tag(279, 4, rows, START),
    ];
    let directory = START + list.len() as u32;
    [b"II*\0", directory.to_le_bytes().as_slice(), &list, &(tags.len() as u16).to_le_bytes(), &tags.concat(), &[0; 4]]
        .concat()
}

/// A BMP with a palette whose runs end before the first pixel: all of it is black.
fn bmp_of_runs(width: u32, height: u32) -> Vec<u8> {
    const HEAD: u32 = 62;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let (planes_and_bits, run_lengths, colours) = (8 << 16 | 1, 1, 2);
    let file = [b"BM".to_vec(), words(&[HEAD + 2, 0, HEAD])].concat();
    let info = words(&[40, width, height, planes_and_bits, run_lengths, 2, 0, 0, colours, 0, 0, 0x00ff_ffff]);
    [file, info, vec![0, 1]].concat()
}

/// `jpeg` with another width and height in its frame.
fn jpeg_of_side(jpeg: &[u8], frame: u8, side: u16) -> Vec<u8> {
    let at = jpeg.windows(2).position(|pair| pair == [0xff, frame]).unwrap();
    [&jpeg[..at + 5], side.to_be_bytes().as_slice(), &side.to_be_bytes(), &jpeg[at + 9..]].concat()
}

/// All of them.
pub fn hostile() -> Vec<Hostile> {
    let mut found = Vec::new();
    from_pillow(&mut found);
    cut(&mut found);
    generated(&mut found);
    found
}
