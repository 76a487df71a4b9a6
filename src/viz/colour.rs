//! The colour map of heat maps.

use image::Rgb;

/// The colour of `share`, from 0 (dark violet) over teal to 1 (yellow); values outside are clamped, NaN is 0.
///
/// Its lightness in OKLab (Björn Ottosson, 2020) is linear in `share`, so that equal steps look equal, also in grey.
pub fn heat(share: f64) -> Rgb<u8> {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let lightness = 0.2 + 0.72 * share;
    let hue = (300.0 - 200.0 * share).to_radians();
    // As much chroma as sRGB can show along this path: little in teal, more in yellow.
    let chroma = 0.09 + 0.08 * share.powi(4);
    let [red, green, blue] = linear_rgb(lightness, chroma * hue.cos(), chroma * hue.sin());
    Rgb([encode(red), encode(green), encode(blue)])
}

/// Linear sRGB of an OKLab colour.
fn linear_rgb(lightness: f64, a: f64, b: f64) -> [f64; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
}

/// sRGB's transfer function, to 8 bits.
fn encode(linear: f64) -> u8 {
    let value = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_share_is_lighter() {
        let luminance = |Rgb([red, green, blue]): Rgb<u8>| {
            let linear = |value: u8| (f64::from(value) / 255.0).powf(2.2);
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        };
        let steps: Vec<f64> = (0..=50).map(|step| luminance(heat(f64::from(step) / 50.0))).collect();
        assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    }

    #[test]
    fn the_map_runs_from_violet_over_teal_to_yellow() {
        let colours = [0.0, 0.25, 0.5, 0.75, 1.0, f64::NAN, 7.0].map(|share| heat(share).0);
        insta::assert_compact_debug_snapshot!(colours, @"[[29, 6, 56], [21, 68, 112], [1, 133, 138], [114, 191, 132], [255, 230, 72], [29, 6, 56], [255, 230, 72]]");
    }
}
