//! Preprocessing against Pillow and torchvision, on the u8 level.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{picture, repository, tensors};
use crate::chance::Sample;
use crate::data::crop::centre;
use crate::data::crop_statistics::CropStatistics;
use crate::data::{
    EvalTransform, Geometry, InputFormat, Interpolation, Picture, RandomCrop, Region, Resize, Scratch, TrainTransform,
};
use crate::random::{Purpose, Stream};

const REFERENCE: &str = "tests/fixtures/reference/preprocess";
const PILLOW: &str = "tests/fixtures/pillow";

/// A JPEG whose colour is stored at full resolution: two inverse transforms and two colour conversions round differently.
/// Measured: 2 at most, 0.013 on average.
const JPEG: (u8, f64) = (2, 0.02);
/// A JPEG whose colour is stored at half resolution. libjpeg's smooth upsampling rounds down and up in turn, zune-jpeg's
/// does not: Cb and Cr are 0.24 higher on average and up to 2.3 off, which blue shows times 1.77, while luma agrees.
/// Measured: 4 at most (at 2 of 271,728 values), 0.377 on average.
const JPEG_HALF_COLOUR: (u8, f64) = (4, 0.4);

fn read(folder: &str, file: &str) -> Picture {
    Picture::read(&repository(folder).join(file)).unwrap()
}

fn resized(picture: &Picture, source: Region, size: (usize, usize), interpolation: Interpolation) -> Picture {
    picture.resized(&Resize { source, size, window: Region::whole(size.0, size.1), interpolation }).unwrap()
}

/// Largest and mean difference of two pictures of the same size.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels));
    let differences = || a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences().map(f64::from).sum();
    (differences().max().unwrap(), sum / a.pixels.len() as f64)
}

/// Every `stride`-th pixel of every `stride`-th row, grey repeated as red, green and blue.
fn every(stride: usize, picture: &Picture) -> Vec<u8> {
    let rows = picture.pixels.chunks_exact(picture.width * picture.channels).step_by(stride);
    rows.flat_map(|row| row.chunks_exact(picture.channels).step_by(stride))
        .flat_map(|pixel| if let [grey] = *pixel { [grey; 3] } else { [pixel[0], pixel[1], pixel[2]] })
        .collect()
}

/// The reference's pictures, decoded by Pillow where decoders may differ.
fn reference() -> (Value, Vec<(&'static str, Picture)>) {
    let config = std::fs::read_to_string(repository(REFERENCE).join("config.json")).unwrap();
    let files = [
        ("edges", "edges.png"),
        ("smooth", "smooth.png"),
        ("photo", "photo.decoded_by_pil.png"),
        ("exact", "exact.png"),
    ];
    let pictures = files.map(|(name, file)| (name, read(REFERENCE, file)));
    (serde_json::from_str(&config).unwrap(), pictures.into())
}

fn imagenet(size: usize) -> InputFormat {
    InputFormat::new(size, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]).unwrap()
}

fn evaluation() -> EvalTransform {
    EvalTransform::new(imagenet(224), Geometry::CentreCrop { resize: 256, interpolation: Interpolation::Bicubic })
        .unwrap()
}

#[test]
fn the_evaluation_crop_equals_torchvision_on_pillow_to_the_level() {
    let (config, pictures) = reference();
    let expected = tensors(&format!("{REFERENCE}/expected.safetensors"));
    let mut compared = 0;
    for (name, picture) in &pictures {
        let square = evaluation().square(picture, &mut Scratch::default());
        for (key, stride) in [("u8_bicubic_hwc", 1), ("u8_bicubic_hwc_stride3", 3)] {
            if let Some((_, bytes)) = expected.get(&format!("{name}.{key}")) {
                assert!(every(stride, &square) == *bytes, "{name}.{key}");
                compared += 1;
            }
        }
        let sum: String = Sha256::digest(every(1, &square)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(config["images"][name]["u8_sha256"], sum.as_str(), "{name}");
    }
    assert_eq!(compared, 4, "each picture has one crop to compare with");
}

#[test]
fn the_normalised_input_equals_torchvision_bit_for_bit() {
    let expected = tensors(&format!("{REFERENCE}/expected.safetensors"));
    for (name, picture) in &reference().1 {
        let mut input = Vec::new();
        evaluation().append(picture, &mut Scratch::default(), &mut input);
        let rows = input.chunks_exact(224 * 224).flat_map(|plane| plane.chunks_exact(224).step_by(7));
        let bytes: Vec<u8> = rows.flat_map(|row| row.iter().step_by(7)).flat_map(|value| value.to_le_bytes()).collect();
        assert!(bytes == expected[&format!("{name}.f32_chw_stride7")].1, "{name}");
    }
}

#[test]
fn bilinear_resizes_equal_pillow_to_the_level() {
    let (config, pictures) = reference();
    let expected = tensors(&format!("{REFERENCE}/expected.safetensors"));
    for (name, picture) in &pictures {
        let size = config["images"][name]["resized_wh"].as_array().unwrap();
        let size = (size[0].as_u64().unwrap() as usize, size[1].as_u64().unwrap() as usize);
        let source = Region::whole(picture.width, picture.height);
        let window = centre(size.0, size.1, 224);
        let square = picture.resized(&Resize { source, size, window, interpolation: Interpolation::Bilinear }).unwrap();
        assert!(every(3, &square) == expected[&format!("{name}.u8_bilinear_hwc_stride3")].1, "{name}");
    }

    let edges = &pictures[0].1;
    let number = |key: &str| config["rrc"][key].as_u64().unwrap() as usize;
    let crop = Region { left: number("left"), top: number("top"), width: number("width"), height: number("height") };
    assert!(resized(edges, crop, (64, 64), Interpolation::Bilinear).pixels == expected["rrc_bilinear_64.u8_hwc"].1);

    let squash = EvalTransform::new(imagenet(64), Geometry::Squash { interpolation: Interpolation::Bilinear }).unwrap();
    let matches = pictures.iter().filter(|(_, picture)| {
        every(1, &squash.square(picture, &mut Scratch::default())) == expected["hf_squash_bilinear_64.u8_hwc"].1
    });
    assert_eq!(matches.map(|(name, _)| *name).collect::<Vec<_>>(), ["edges"]);
}

#[test]
fn noise_resized_to_any_size_equals_pillow_to_the_level() {
    let expected = tensors(&format!("{PILLOW}/expected.safetensors"));
    let noise = read(PILLOW, "noise.png");
    let mut cases = 0;
    for (key, tensor) in &expected {
        let parts: Vec<&str> = key.split('.').collect();
        let [kind, interpolation, size] = parts[..] else { continue };
        if kind == "decoded" {
            continue;
        }
        let interpolation = if interpolation == "bilinear" { Interpolation::Bilinear } else { Interpolation::Bicubic };
        let (width, height) = size.split_once('x').unwrap();
        let size = (width.parse().unwrap(), height.parse().unwrap());
        let whole = Region::whole(noise.width, noise.height);
        let found = match kind {
            "resized" => resized(&noise, whole, size, interpolation),
            "resized_grey" => resized(&grey(&noise), whole, size, interpolation),
            "tall" => resized(&noise, Region { left: 20, top: 0, width: 30, height: 61 }, size, interpolation),
            _ => resized(&noise, Region { left: 11, top: 5, width: 49, height: 45 }, size, interpolation),
        };
        assert!(found == picture(tensor), "{key}: {:?}", difference(&found, &picture(tensor)));
        cases += 1;
    }
    assert_eq!(cases, 38);
}

/// A picture as a network with one channel sees it, at its own size.
fn grey(picture: &Picture) -> Picture {
    let side = picture.width.max(picture.height);
    let mut square = Picture { width: side, height: side, channels: 3, pixels: vec![0; side * side * 3] };
    for (to, from) in square.pixels.chunks_exact_mut(side * 3).zip(picture.pixels.chunks_exact(picture.width * 3)) {
        to[..from.len()].copy_from_slice(from);
    }
    let input = InputFormat::new(side, &[0.5], &[0.5]).unwrap();
    let seen = EvalTransform::new(input, Geometry::Squash { interpolation: Interpolation::Bilinear })
        .unwrap()
        .square(&square, &mut Scratch::default());
    let rows = seen.pixels.chunks_exact(side).take(picture.height);
    let pixels = rows.flat_map(|row| row[..picture.width].to_vec()).collect();
    Picture { channels: 1, pixels, ..*picture }
}

#[test]
fn colour_becomes_grey_as_in_pillow() {
    let expected = tensors(&format!("{PILLOW}/expected.safetensors"));
    assert_eq!(grey(&read(PILLOW, "rgb.png")), picture(&expected["luma"]));
}

#[test]
fn every_mode_and_orientation_is_decoded_as_pillow_does() {
    let expected = tensors(&format!("{PILLOW}/expected.safetensors"));
    let mut cases = 0;
    for (key, tensor) in &expected {
        let Some(file) = key.strip_prefix("decoded.") else { continue };
        let (largest, mean) = difference(&read(PILLOW, file), &picture(tensor));
        let bound = if file.ends_with(".jpg") { JPEG } else { (0, 0.0) };
        assert!(largest <= bound.0 && mean <= bound.1, "{file}: {largest} at most, {mean} on average");
        cases += 1;
    }
    assert_eq!(cases, 25);
}

#[test]
fn a_photograph_is_decoded_within_a_few_levels_of_pillow() {
    let (largest, mean) = difference(&read(REFERENCE, "photo.jpg"), &read(REFERENCE, "photo.decoded_by_pil.png"));
    assert!(largest <= JPEG_HALF_COLOUR.0 && mean <= JPEG_HALF_COLOUR.1, "{largest} at most, {mean} on average");
}

#[test]
fn random_crops_have_torchvisions_statistics() {
    let path = repository("tests/fixtures/reference/misc/random_resized_crop_stats.json");
    let reference: CropStatistics = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let samples = reference.compare().unwrap();
    let problem = |sample: &Sample| Some(format!("{}: {}", sample.name, sample.problem()?));
    assert_eq!(samples.iter().filter_map(problem).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(samples.len(), 2 * 4 + 1);
}

#[test]
fn random_crops_reach_the_last_row_and_column() {
    let crop = RandomCrop { scale: [0.3, 1.0], aspect: [0.75, 4.0 / 3.0] };
    let draw = |sample| crop.draw(&mut Stream::new(0, 0, sample, Purpose::Augment), 500, 375);
    let crops: Vec<Region> = (0..20_000).map(draw).collect();
    assert_eq!(crops.iter().map(|crop| crop.left + crop.width).max(), Some(500));
    assert_eq!(crops.iter().map(|crop| crop.top + crop.height).max(), Some(375));
}

#[test]
fn a_flip_mirrors_the_same_crop() {
    let picture = read(PILLOW, "noise.png");
    let crop = RandomCrop { scale: [0.3, 1.0], aspect: [0.75, 4.0 / 3.0] };
    let input = |flip| {
        let mut out = Vec::new();
        let mut stream = Stream::new(1, 2, 3, Purpose::Augment);
        TrainTransform::new(imagenet(16), crop, flip).append(&picture, &mut stream, &mut Scratch::default(), &mut out);
        out
    };
    let mut flipped = input(1.0);
    flipped.chunks_exact_mut(16).for_each(<[f32]>::reverse);
    assert_ne!(input(0.0), input(1.0));
    assert_eq!(input(0.0), flipped);
}
