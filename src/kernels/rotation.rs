//! V-JEPA 2's positions: the channels of queries and keys are turned, pair by pair, by each token's time, row and column.
//!
//! `N` tokens, `K` head size.

/// The turns of the tokens of a grid (time, rows, columns) for heads of `size` channels, `[N, 2 K]`: the cosines of a
/// token's channels, then the sines with the sign of what they multiply.
///
/// Reference: each axis has `2 * ((K / 3) / 2)` channels in the order time, row, column, and what is left over is not
/// turned. The frequencies of an axis are tiled, `w0 w1 .. w0 w1 ..`, while neighbouring channels make the pairs.
pub fn table([time, rows, columns]: [usize; 3], size: usize) -> Vec<f32> {
    let channels = size / 3 / 2 * 2;
    let half = channels / 2;
    let frequency = |channel: usize| 10_000f64.powf(-((channel % half) as f64 / half as f64));
    // A pair (a, b) becomes (a cos - b sin, b cos + a sin).
    let sign = |channel: usize| if channel.is_multiple_of(2) { -1.0 } else { 1.0 };
    // All tokens of a time, a row or a column share its turns.
    let turns = |place: usize| -> [Vec<f32>; 2] {
        let angles = || (0..channels).map(|channel| place as f64 * frequency(channel));
        let sines = angles().enumerate().map(|(channel, angle)| (sign(channel) * angle.sin()) as f32);
        [angles().map(|angle| angle.cos() as f32).collect(), sines.collect()]
    };
    let turns: Vec<[Vec<f32>; 2]> = (0..time.max(rows).max(columns)).map(turns).collect();
    let mut table = Vec::with_capacity(time * rows * columns * 2 * size);
    for token in 0..time * rows * columns {
        let places = [token / (rows * columns), token / columns % rows, token % columns];
        for (part, of_nothing) in [1.0, 0.0].into_iter().enumerate() {
            places.iter().for_each(|place| table.extend_from_slice(&turns[*place][part]));
            table.resize(table.len() + size - 3 * channels, of_nothing);
        }
    }
    table
}

/// Turns the pairs of `values`, which stand in a row of heads from the column `first` on, by a token's row of the table.
#[inline(always)]
pub fn turn(values: &mut [f32], first: usize, row: &[f32]) {
    let (cosines, sines) = row.split_at(row.len() / 2);
    let mut channel = first % cosines.len();
    for [a, b] in values.as_chunks_mut::<2>().0 {
        let turned = [*a * cosines[channel] + *b * sines[channel], *b * cosines[channel + 1] + *a * sines[channel + 1]];
        [*a, *b] = turned;
        channel += 2;
        if channel >= cosines.len() {
            channel = 0;
        }
    }
}
