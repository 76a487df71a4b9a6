//! Fixed sine and cosine position embeddings, and their interpolation to other grids; on the host.

/// The 2-D sine and cosine table of I-JEPA, `[grid * grid, dim]`, `dim` a multiple of 4.
///
/// Reference: the first half of the channels encodes the COLUMN, the second half the row; in V-JEPA's own 2-D table it
/// is the other way round. Angles are computed in f64 and rounded once.
pub fn sincos_2d(dim: usize, grid: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(grid * grid * dim);
    for row in 0..grid {
        for column in 0..grid {
            for position in [column, row] {
                sincos_1d(dim / 2, position as f64, &mut table);
            }
        }
    }
    table
}

/// Appends `dim / 2` sines and `dim / 2` cosines of `position`, at wavelengths from 2 pi to 10,000 x 2 pi.
fn sincos_1d(dim: usize, position: f64, table: &mut Vec<f32>) {
    let half = dim / 2;
    let angle = |i: usize| position / 10_000f64.powf(i as f64 / half as f64);
    table.extend((0..half).map(|i| angle(i).sin() as f32));
    table.extend((0..half).map(|i| angle(i).cos() as f32));
}

/// Resizes a table from one grid (rows, columns) to another: bicubic with a = -0.75, corners not aligned, without
/// antialiasing, as Hugging Face's `interpolate_pos_encoding` does.
///
/// # Shapes
/// - `table`: `[from.0 * from.1, dim]`
/// - output: `[to.0 * to.1, dim]`
pub fn interpolate(table: &[f32], dim: usize, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let rows = taps(from.0, to.0);
    let columns = taps(from.1, to.1);
    let mut resized = Vec::with_capacity(to.0 * to.1 * dim);
    for row in &rows {
        for column in &columns {
            for channel in 0..dim {
                let across = |source: usize| -> f64 {
                    column.iter().map(|(x, w)| w * f64::from(table[(source * from.1 + x) * dim + channel])).sum()
                };
                resized.push(row.iter().map(|(y, w)| w * across(*y)).sum::<f64>() as f32);
            }
        }
    }
    resized
}

/// For each of `to` places along an axis, the four places of `from` it is made of, with their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let scale = from as f64 / to as f64;
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * scale - 0.5;
        let t = centre - centre.floor();
        let at = |offset: f64| (centre.floor() + offset).clamp(0.0, from as f64 - 1.0) as usize;
        [(at(-1.0), far(t + 1.0)), (at(0.0), near(t)), (at(1.0), near(1.0 - t)), (at(2.0), far(2.0 - t))]
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_half_of_the_channels_encodes_the_column() {
        let table = sincos_2d(8, 3);
        let token = |row: usize, column: usize| &table[(row * 3 + column) * 8..][..8];
        assert_eq!(token(0, 2)[..4], token(1, 2)[..4]);
        assert_eq!(token(2, 0)[4..], token(2, 1)[4..]);
        assert_ne!(token(0, 1)[..4], token(0, 2)[..4]);
    }

    #[test]
    fn interpolation_to_the_same_grid_changes_nothing() {
        let table = sincos_2d(12, 5);
        assert_eq!(interpolate(&table, 12, (5, 5), (5, 5)), table);
    }
}
