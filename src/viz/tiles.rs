//! Rows of small pictures: a gallery, and feature maps as pictures.

use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};

/// Pixels between two tiles.
const GAP: u32 = 4;
/// Pixels between two groups of tiles.
const WIDE_GAP: u32 = 16;

/// Pictures in rows, each scaled to `side` pixels without smoothing; a row's groups stand apart.
pub fn gallery(rows: &[Vec<Vec<RgbImage>>], side: u32) -> RgbImage {
    let across = |row: &Vec<Vec<RgbImage>>| {
        let groups = row.iter().map(|group| group.len() as u32 * (side + GAP));
        groups.sum::<u32>() + (row.len() as u32).saturating_sub(1) * WIDE_GAP
    };
    let width = rows.iter().map(across).max().unwrap_or(1);
    let mut picture = RgbImage::from_pixel(width.max(1), (rows.len() as u32 * (side + GAP)).max(1), Rgb([255; 3]));
    for (row, y) in rows.iter().zip((0..).step_by((side + GAP) as usize)) {
        let mut x = 0;
        for group in row {
            for tile in group {
                overlay(&mut picture, &resize(tile, side, side, FilterType::Nearest), x, y);
                x += i64::from(side + GAP);
            }
            x += i64::from(WIDE_GAP);
        }
    }
    picture
}

/// A picture of one pixel a token; colours are from 0 to 1, in raster order.
pub fn token_map(colours: &[[f32; 3]], columns: usize) -> RgbImage {
    let columns = columns.max(1);
    let rows = colours.len() / columns;
    RgbImage::from_fn(columns as u32, rows as u32, |x, y| {
        let [r, g, b] = colours[y as usize * columns + x as usize];
        Rgb([r, g, b].map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8))
    })
}
