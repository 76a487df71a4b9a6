//! A case of the kind `preprocess`: pictures, and the levels and inputs that torchvision on Pillow makes of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Tolerance;
use super::case::Case;
use super::compare::Comparison;
use super::report::Report;
use super::tolerance::{DECODED_LEVELS, MEAN};
use crate::data::{EvalTransform, Geometry, InputFormat, Interpolation, MAX_SIDE, Picture, Region, Resize, Scratch};
use crate::error::{Error, Result};
use crate::weights::HostTensor;

#[derive(Deserialize)]
struct CaseConfig {
    /// In words, with the crop's size as `CenterCrop(224)`.
    transform: String,
    mean: Vec<f32>,
    std: Vec<f32>,
    #[serde(default)]
    rrc: Option<Crop>,
    images: BTreeMap<String, Image>,
}

/// A crop that is resized to a square.
#[derive(Deserialize)]
struct Crop {
    image: String,
    top: usize,
    left: usize,
    height: usize,
    width: usize,
    size: usize,
    interpolation: String,
}

#[derive(Deserialize)]
struct Image {
    file: String,
    /// Width and height after the resize.
    resized_wh: [usize; 2],
    /// Where the centre crop begins.
    crop_left_top: [usize; 2],
    #[serde(default)]
    f32_mean: Option<f64>,
    #[serde(default)]
    f32_abs_mean: Option<f64>,
    #[serde(default)]
    u8_sum: Option<u64>,
}

/// Runs the case; it needs no device.
///
/// # Errors
/// A data error where the case is incomplete or a picture of it cannot be read.
pub fn verify(case: &Case) -> Result<Report> {
    let config: CaseConfig = case.config()?;
    let side = config.transform.split_once("CenterCrop(").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
    let side: usize =
        side.ok_or_else(|| case.misfit(case.config_file, format!("`{}` names no CenterCrop(SIZE)", config.transform)))?;
    let fault = |error| case.fault(case.config_file, error);
    check(&config, side).map_err(fault)?;
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let mut pictures = BTreeMap::new();
    for (name, image) in &config.images {
        let file = read(case, &image.file)?;
        // Decoders differ on JPEGs: what Pillow decoded tests the rest to the level.
        let decoded = format!("{name}.decoded_by_pil.png");
        let picture = if case.path(&decoded).is_file() {
            decoding(&mut report, name, image, side, &file).map_err(fault)?;
            read(case, &decoded)?
        } else {
            file
        };
        evaluation(&mut report, name, image, side, &picture).map_err(fault)?;
        inputs(&mut report, &config, (name, image), side, &picture).map_err(fault)?;
        pictures.insert(name.as_str(), picture);
    }
    if let Some(crop) = &config.rrc {
        let picture = pictures.get(crop.image.as_str()).ok_or_else(|| {
            case.misfit(case.config_file, format!("the crop's picture `{}` is no picture of the case", crop.image))
        })?;
        squares(&mut report, crop, picture).map_err(fault)?;
    }
    report.note("the sums over whole crops stand for the pixels that a strided golden value leaves out".to_owned());
    Ok(report)
}

/// Refuses sizes for which no memory should be taken.
fn check(config: &CaseConfig, side: usize) -> Result<()> {
    let most = MAX_SIDE as usize;
    if !(1..=most).contains(&side) {
        return Err(Error::usage(format!("the side of the crop is {side}, expected 1 to {most}")));
    }
    for (name, image) in &config.images {
        let ([width, height], [left, top]) = (image.resized_wh, image.crop_left_top);
        let window = Region { left, top, width: side, height: side };
        if width.max(height) > most || !window.fits(width, height) {
            return Err(Error::usage(format!(
                "{name}: a crop of {side} at {left}, {top} does not fit a picture resized to {width}x{height}, whose sides \
                 are at most {most}"
            )));
        }
    }
    Ok(())
}

fn read(case: &Case, file: &str) -> Result<Picture> {
    let path = case.path(file);
    Picture::read(&path).map_err(|fault| Error::data(&path, fault.detail))
}

/// The centre crop of the resized picture, as levels.
fn crop(image: &Image, side: usize, interpolation: Interpolation, picture: &Picture) -> Result<Picture> {
    let ([width, height], [left, top]) = (image.resized_wh, image.crop_left_top);
    picture.resized(&Resize {
        source: Region::whole(picture.width, picture.height),
        size: (width, height),
        window: Region { left, top, width: side, height: side },
        interpolation,
    })
}

/// The transform that extraction uses.
fn transform(image: &Image, side: usize, mean: &[f32], std: &[f32]) -> Result<EvalTransform> {
    let resize = image.resized_wh[0].min(image.resized_wh[1]);
    EvalTransform::new(
        InputFormat::new(side, mean, std)?,
        Geometry::CentreCrop { resize, interpolation: Interpolation::Bicubic },
    )
}

/// Compares the crops with the golden values `NAME.u8_FILTER_hwc`, whole or strided.
fn evaluation(report: &mut Report, name: &str, image: &Image, side: usize, picture: &Picture) -> Result<()> {
    let square = transform(image, side, &[0.5; 3], &[0.5; 3])?.square(picture, &mut Scratch::default());
    let bilinear = crop(image, side, Interpolation::Bilinear, picture)?;
    for (kind, found) in [("u8_bicubic_hwc", &square), ("u8_bilinear_hwc", &bilinear)] {
        for (golden, stride) in strided(report, &format!("{name}.{kind}")) {
            report.host(&golden, &levels(found, stride), Tolerance::Exact);
        }
    }
    if let Some(sum) = image.u8_sum {
        let found: u64 = levels(&square, 1).values.iter().map(|level| *level as u64).sum();
        let label = format!("{name}.u8_sum");
        report.add(match found == sum {
            true => Comparison::identical(&label, &[]),
            false => Comparison::failed(&label, &[], format!("it is {found} instead of {sum}")),
        });
    }
    Ok(())
}

/// Compares the normalised input with `NAME.f32_chw_strideK`, and its means.
fn inputs(
    report: &mut Report,
    config: &CaseConfig,
    (name, image): (&str, &Image),
    side: usize,
    picture: &Picture,
) -> Result<()> {
    let mut input = Vec::new();
    transform(image, side, &config.mean, &config.std)?.append(picture, &mut Scratch::default(), &mut input);
    for (golden, stride) in strided(report, &format!("{name}.f32_chw")) {
        let rows = input.chunks_exact(side * side).flat_map(|plane| plane.chunks_exact(side).step_by(stride));
        let values = rows.flat_map(|row| row.iter().step_by(stride).copied()).collect();
        let kept = side.div_ceil(stride);
        report.host(&golden, &HostTensor { shape: vec![config.mean.len(), kept, kept], values }, Tolerance::Exact);
    }
    let mean = |value: fn(f64) -> f64| input.iter().map(|v| value(f64::from(*v))).sum::<f64>() / input.len() as f64;
    for (key, found, golden) in
        [("f32_mean", mean(|v| v), image.f32_mean), ("f32_abs_mean", mean(f64::abs), image.f32_abs_mean)]
    {
        if let Some(golden) = golden {
            report.value(&format!("{name}.{key}"), found, golden, MEAN);
        }
    }
    Ok(())
}

/// Compares what comes of the file itself, decoded here, with what comes of Pillow's decoding.
fn decoding(report: &mut Report, name: &str, image: &Image, side: usize, picture: &Picture) -> Result<()> {
    let square = transform(image, side, &[0.5; 3], &[0.5; 3])?.square(picture, &mut Scratch::default());
    for (golden, stride) in strided(report, &format!("{name}.u8_bicubic_hwc")) {
        if let Some(expected) = report.golden(&golden).cloned() {
            let label = format!("{golden} ({} decoded here)", image.file);
            report.against(&label, &levels(&square, stride), &expected, DECODED_LEVELS);
        }
    }
    Ok(())
}

/// Compares the training crop with `rrc_FILTER_SIZE`, and the whole picture as a square with `hf_squash_FILTER_SIZE`.
fn squares(report: &mut Report, crop: &Crop, picture: &Picture) -> Result<()> {
    let interpolation = if crop.interpolation == "bicubic" { Interpolation::Bicubic } else { Interpolation::Bilinear };
    let source = Region { left: crop.left, top: crop.top, width: crop.width, height: crop.height };
    let (size, window) = ((crop.size, crop.size), Region::whole(crop.size, crop.size));
    let found = picture.resized(&Resize { source, size, window, interpolation })?;
    report.host(&format!("rrc_{}_{}.u8_hwc", crop.interpolation, crop.size), &levels(&found, 1), Tolerance::Exact);

    for name in report.names() {
        let size = name.strip_prefix("hf_squash_bilinear_").and_then(|rest| rest.strip_suffix(".u8_hwc")?.parse().ok());
        let size = size.filter(|size| report.golden(&name).is_some_and(|golden| golden.shape == [*size, *size, 3]));
        let Some(size) = size else { continue };
        let squash = EvalTransform::new(
            InputFormat::new(size, &[0.5; 3], &[0.5; 3])?,
            Geometry::Squash { interpolation: Interpolation::Bilinear },
        )?;
        let found = squash.square(picture, &mut Scratch::default());
        report.host(&name, &levels(&found, 1), Tolerance::Exact);
    }
    Ok(())
}

/// The golden values called `prefix` or `prefix_strideK`, each with its stride.
fn strided(report: &Report, prefix: &str) -> Vec<(String, usize)> {
    let stride = |name: &str| match name.strip_prefix(prefix)? {
        "" => Some(1),
        rest => rest.strip_prefix("_stride")?.parse().ok().filter(|stride| *stride > 0),
    };
    report.names().into_iter().filter_map(|name| stride(&name).map(|stride| (name, stride))).collect()
}

/// Every `stride`-th pixel of every `stride`-th row, `[H, W, 3]`, grey repeated as red, green and blue.
fn levels(picture: &Picture, stride: usize) -> HostTensor {
    let rows = picture.pixels.chunks_exact(picture.width * picture.channels).step_by(stride);
    let pixels = rows.flat_map(|row| row.chunks_exact(picture.channels).step_by(stride));
    let values = pixels
        .flat_map(|pixel| if let [grey] = *pixel { [grey; 3] } else { [pixel[0], pixel[1], pixel[2]] })
        .map(f32::from)
        .collect();
    HostTensor { shape: vec![picture.height.div_ceil(stride), picture.width.div_ceil(stride), 3], values }
}
