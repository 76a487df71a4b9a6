//! Fixed sine and cosine position embeddings, and their interpolation to other grids; on the host.

use crate::config::{ModelConfig, Positions};

/// An axis of a grid of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// From the first frames to the last.
    Time,
    /// From top to bottom.
    Row,
    /// From left to right.
    Column,
}

/// The table that `config` asks for, `[tokens, dim]`; none where positions are rotations.
pub fn table(config: &ModelConfig, dim: usize) -> Option<Vec<f32>> {
    let grid = config.grid();
    let axes = if config.frames > 1 { clip_axes(config.positions, dim) } else { picture_axes(config.positions, dim) };
    axes.map(|axes| sincos(dim, [grid.time, grid.side, grid.side], &axes))
}

/// Which axis a picture's channels encode, and how many each; none where positions are rotations.
///
/// Reference: the first half encodes the COLUMN in I-JEPA, and the ROW in V-JEPA's table of pictures.
pub fn picture_axes(positions: Positions, dim: usize) -> Option<Vec<(Axis, usize)>> {
    match positions {
        Positions::Ijepa => Some(vec![(Axis::Column, dim / 2), (Axis::Row, dim / 2)]),
        Positions::Vjepa | Positions::UniformPower => Some(vec![(Axis::Row, dim / 2), (Axis::Column, dim / 2)]),
        Positions::Rope => None,
    }
}

/// Which axis a clip's channels encode, and how many each, before all are cut to `dim`; none where positions are rotations.
pub fn clip_axes(positions: Positions, dim: usize) -> Option<Vec<(Axis, usize)>> {
    let [time, space] = match positions {
        Positions::Vjepa | Positions::Ijepa => [dim / 2, dim / 4],
        // Reference: an even number of channels an axis, rounded up.
        Positions::UniformPower => [2 * dim.div_ceil(6); 2],
        Positions::Rope => return None,
    };
    Some(vec![(Axis::Time, time), (Axis::Row, space), (Axis::Column, space)])
}

/// A table of sines and cosines, `[time * rows * columns, dim]`: of each token's place along each of `axes`, in their order,
/// cut to `dim` channels.
///
/// Angles are computed in f64 and rounded once.
pub fn sincos(dim: usize, [time, rows, columns]: [usize; 3], axes: &[(Axis, usize)]) -> Vec<f32> {
    let mut table = Vec::with_capacity(time * rows * columns * dim);
    for time in 0..time {
        for row in 0..rows {
            for column in 0..columns {
                let start = table.len();
                for (axis, channels) in axes {
                    let place = match axis {
                        Axis::Time => time,
                        Axis::Row => row,
                        Axis::Column => column,
                    };
                    sincos_1d(*channels, place as f64, &mut table);
                }
                table.truncate(start + dim);
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

/// How a table is resized; corners are not aligned, and nothing is antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Bicubic with a = -0.75, as Hugging Face's `interpolate_pos_encoding` and V-JEPA do with a picture's.
    Cubic,
    /// Linear along each axis, as V-JEPA does with a clip's.
    Linear,
}

/// Resizes a table from one grid (time, rows, columns) to another.
///
/// # Shapes
/// - `table`: `[product of from, dim]`
/// - output: `[product of to, dim]`
pub fn interpolate(table: &[f32], dim: usize, kernel: Kernel, from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let [times, rows, columns] = [0, 1, 2].map(|axis| taps(kernel, from[axis], to[axis]));
    let mut resized = Vec::with_capacity(to.iter().product::<usize>() * dim);
    for time in &times {
        for row in &rows {
            for column in &columns {
                let mut token = vec![0f64; dim];
                for (t, at_time) in time {
                    for (y, at_row) in row {
                        for (x, at_column) in column {
                            let source = &table[((t * from[1] + y) * from[2] + x) * dim..][..dim];
                            let weight = at_time * at_row * at_column;
                            token.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * f64::from(*value));
                        }
                    }
                }
                resized.extend(token.into_iter().map(|value| value as f32));
            }
        }
    }
    resized
}

/// For each of `to` places along an axis, the places of `from` it is made of, with their weights.
fn taps(kernel: Kernel, from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let scale = from as f64 / to as f64;
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * scale - 0.5;
        let t = centre - centre.floor();
        let at = |offset: f64| (centre.floor() + offset).clamp(0.0, from as f64 - 1.0) as usize;
        match kernel {
            Kernel::Cubic => {
                vec![(at(-1.0), far(t + 1.0)), (at(0.0), near(t)), (at(1.0), near(1.0 - t)), (at(2.0), far(2.0 - t))]
            }
            Kernel::Linear => vec![(at(0.0), 1.0 - t), (at(1.0), t)],
        }
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(positions: Positions, dim: usize, grid: usize) -> Vec<f32> {
        sincos(dim, [1, grid, grid], &picture_axes(positions, dim).unwrap())
    }

    #[test]
    fn the_first_half_of_the_channels_encodes_ijepas_column_and_vjepas_row() {
        let [ijepa, vjepa] = [Positions::Ijepa, Positions::Vjepa].map(|positions| square(positions, 8, 3));
        let token = |row: usize, column: usize| (row * 3 + column) * 8;
        for (row, column) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
            let (here, turned) = (&ijepa[token(row, column)..][..8], &vjepa[token(column, row)..][..8]);
            assert_eq!(here, turned);
            assert_eq!(here[..4], ijepa[token(0, column)..][..4]);
            assert_eq!(here[4..], ijepa[token(row, 0)..][4..8]);
        }
        assert_ne!(ijepa[token(0, 1)..][..4], ijepa[token(0, 2)..][..4]);
    }

    #[test]
    fn with_uniform_power_an_axis_has_a_third_of_the_channels_and_the_last_is_cut() {
        let axes = clip_axes(Positions::UniformPower, 20).unwrap();
        assert_eq!(axes, [(Axis::Time, 8), (Axis::Row, 8), (Axis::Column, 8)]);
        let table = sincos(20, [2, 2, 3], &axes);
        assert_eq!(table.len(), 12 * 20);
        let token = |time: usize, row: usize, column: usize| &table[((time * 2 + row) * 3 + column) * 20..][..20];
        assert_eq!(token(1, 0, 0)[8..], token(0, 0, 0)[8..]);
        assert_eq!(token(0, 1, 0)[..8], token(0, 0, 2)[..8]);
        assert_ne!(token(0, 0, 1)[16..], token(0, 0, 2)[16..]);
    }

    #[test]
    fn interpolation_to_the_same_grid_changes_nothing() {
        let table = square(Positions::Ijepa, 12, 5);
        for kernel in [Kernel::Cubic, Kernel::Linear] {
            assert_eq!(interpolate(&table, 12, kernel, [1, 5, 5], [1, 5, 5]), table);
        }
    }
}
