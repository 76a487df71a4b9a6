//! Matrix products `[M, K] x [K, N]` by all threads, and what is done to the sums before they leave the first cache.
//!
//! A thread packs a band of rows of the left operand into tiles and takes it through the panels of the right one, which
//! the second cache holds one at a time. The order of every sum depends on `K` alone.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gelu;
use super::panels::{Kept, PANEL, Packed, Panels};
use super::rotation::turn;
use super::terms::Terms;
use super::workspace::Workspace;

/// The most terms that are summed in registers, for the sake of rounding.
const STRETCH: usize = 384;
/// Rows of one band, at most: the second cache holds them and a panel.
const BAND: usize = 112;
/// Multiply-adds below which one thread does all.
const SMALL: usize = 1 << 18;

/// An operand: value `(i, j)` stands at `i * strides[0] + j * strides[1]`, and one of the strides is 1.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// All values.
    pub values: &'a [f32],
    /// Of rows and columns.
    pub strides: [usize; 2],
}

/// What is done to `x W + b` before it is stored.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// Nothing more.
    Bias,
    /// GELU.
    Gelu,
    /// It is added to what stands in the result.
    Residual,
    /// A table `[T, N]` is added, row after row, again and again.
    Position(&'a [f32]),
    /// Queries and keys, the first two thirds of the columns, are turned by a table of [`super::rotation`].
    Rotation {
        /// `[T, 2 K]`, row after row, again and again.
        table: &'a [f32],
        /// K, the channels of a head: an even number.
        size: usize,
    },
}

/// A matrix product but for its result: `left`, `[M, K]`, times `right`, `[K, N]`, and `bias`, `[N]`, on every row.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// The left operand.
    pub left: Matrix<'a>,
    /// The right operand.
    pub right: &'a Panels,
    /// Added to every row.
    pub bias: Option<&'a [f32]>,
    /// What follows.
    pub epilogue: Epilogue<'a>,
}

/// Values that a thread's workspace needs for a product of depth `k`.
pub fn workspace(k: usize) -> usize {
    // An odd depth is filled up to whole pairs.
    BAND * k.next_multiple_of(2)
}

/// Writes the product to `out`, `[M, N]`.
pub fn matmul(product: Product, arch: Arch, workspace: &Workspace, out: &mut [f32]) {
    match &product.right.kept {
        Kept::Whole(terms, panels) => bands(*terms, panels, product, arch, workspace, out),
        Kept::Unpacked(terms, panels) => bands(*terms, panels, product, arch, workspace, out),
        #[cfg(target_arch = "x86_64")]
        Kept::Dots(terms, panels) => bands(*terms, panels, product, arch, workspace, out),
    }
}

fn bands<T: Terms>(
    terms: T,
    panels: &Packed<T::Right>,
    product: Product,
    arch: Arch,
    workspace: &Workspace,
    out: &mut [f32],
) {
    let (columns, depth) = (product.right.columns(), product.right.depth());
    if out.is_empty() {
        return;
    }
    let rows = out.len() / columns;
    let rows_of_band = band_rows(rows, rows * depth * columns, arch);
    let task = |(i, out): (usize, &mut [f32])| {
        let first = i * rows_of_band;
        workspace.with(|packed| arch.dispatch(Band { terms, panels, product, first, packed, out }));
    };
    out.par_chunks_mut(rows_of_band * columns).enumerate().for_each(task);
}

/// The rows of a band: as many bands as make the threads equally busy.
fn band_rows(rows: usize, work: usize, arch: Arch) -> usize {
    let threads = if work < SMALL { 1 } else { rayon::current_num_threads() };
    let bands = rows.div_ceil(BAND).next_multiple_of(threads);
    rows.div_ceil(bands).next_multiple_of(arch.dispatch(Tallest)).min(BAND)
}

/// The rows of a full tile.
struct Tallest;

impl WithSimd for Tallest {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tallest::<S>()
    }
}

/// Two vectors of columns leave room for this many rows of sums in the registers.
#[inline(always)]
fn tallest<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 14 } else { 6 }
}

/// A band of rows of the result.
struct Band<'a, 'b, T: Terms> {
    terms: T,
    panels: &'a Packed<T::Right>,
    product: Product<'a>,
    first: usize,
    packed: &'b mut [f32],
    out: &'b mut [f32],
}

impl<T: Terms> WithSimd for Band<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { terms, panels, product, first, packed, out } = self;
        let columns = product.right.columns();
        let rows = out.len() / columns;
        let values = rows * product.right.depth().div_ceil(T::VALUES) * size_of::<T::Left>() / size_of::<f32>();
        let packed: &mut [T::Left] = bytemuck::cast_slice_mut(&mut packed[..values]);
        // Loops, not closures: a closure would be compiled for any processor.
        for (row, height) in tiles(rows, tallest::<S>()) {
            match height {
                14 => pack::<T, 14>(product, first, row, packed),
                8 => pack::<T, 8>(product, first, row, packed),
                6 => pack::<T, 6>(product, first, row, packed),
                4 => pack::<T, 4>(product, first, row, packed),
                2 => pack::<T, 2>(product, first, row, packed),
                _ => pack::<T, 1>(product, first, row, packed),
            }
        }
        let packed = &*packed;
        for (i, panel) in panels.iter().enumerate() {
            for (row, height) in tiles(rows, tallest::<S>()) {
                let place = Place { first, row, column: i * PANEL, columns };
                match height {
                    14 => tile::<T, S, 14>(terms, simd, product, place, packed, panel, out),
                    8 => tile::<T, S, 8>(terms, simd, product, place, packed, panel, out),
                    6 => tile::<T, S, 6>(terms, simd, product, place, packed, panel, out),
                    4 => tile::<T, S, 4>(terms, simd, product, place, packed, panel, out),
                    2 => tile::<T, S, 2>(terms, simd, product, place, packed, panel, out),
                    _ => tile::<T, S, 1>(terms, simd, product, place, packed, panel, out),
                }
            }
        }
    }
}

/// Cuts `rows` into tiles: the first row and the height of each.
#[inline(always)]
fn tiles(rows: usize, tallest: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = 0;
    std::iter::from_fn(move || {
        let height = [14, 8, 6, 4, 2, 1].into_iter().find(|height| *height <= tallest.min(rows - row))?;
        row += height;
        Some((row - height, height))
    })
}

/// Where a tile of the result stands.
#[derive(Clone, Copy)]
struct Place {
    /// The band's first row in the whole.
    first: usize,
    /// The tile's first row in the band.
    row: usize,
    /// The panel's first column.
    column: usize,
    /// Columns of the whole.
    columns: usize,
}

/// Copies `R` rows of the left operand to `[K', R]` terms.
#[inline(always)]
fn pack<T: Terms, const R: usize>(product: Product, first: usize, row: usize, packed: &mut [T::Left]) {
    let depth = product.right.depth();
    let terms = depth.div_ceil(T::VALUES);
    let [down, across] = product.left.strides;
    let to = packed[row * terms..(row + R) * terms].as_chunks_mut::<R>().0;
    let values = &product.left.values[(first + row) * down..];
    if across == 1 {
        let mut rows = [values; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &values[r * down..][..depth];
        }
        T::pack(rows, to);
    } else {
        let zeros = [0.0; R];
        for (k, to) in to.iter_mut().enumerate() {
            let first = k * T::VALUES;
            let mut columns = [&zeros; 2];
            for (i, column) in columns.iter_mut().enumerate().take(T::VALUES.min(depth - first)) {
                *column = &values[(first + i) * across..][..R].as_chunks().0[0];
            }
            for (r, to) in to.iter_mut().enumerate() {
                *to = T::left(|i| columns[i][r]);
            }
        }
    }
}

/// `R` rows by one panel.
#[inline(always)]
fn tile<T: Terms, S: Simd, const R: usize>(
    terms: T,
    simd: S,
    product: Product,
    place: Place,
    packed: &[T::Left],
    panel: &[[T::Right; PANEL]],
    out: &mut [f32],
) {
    let depth = panel.len();
    let left = packed[place.row * depth..(place.row + R) * depth].as_chunks::<R>().0;
    let width = 2 * S::F32_LANES;
    let stretch = depth.div_ceil(depth.div_ceil(STRETCH).max(1)).max(1);
    for strip in (0..PANEL).step_by(width) {
        let column = place.column + strip;
        if column >= place.columns {
            break;
        }
        let columns = column..(column + width).min(place.columns);
        let start = match product.bias {
            Some(bias) => load(simd, &bias[columns.clone()]),
            None => [simd.splat_f32s(0.0); 2],
        };
        let mut sums = [start; R];
        for (left, panel) in left.chunks(stretch).zip(panel.chunks(stretch)) {
            let part = terms.sum::<S, R>(simd, left, panel, strip);
            for r in 0..R {
                sums[r] = add(simd, sums[r], part[r]);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let row = place.row + r;
            let out = &mut out[row * place.columns..][columns.clone()];
            let sums = match product.epilogue {
                Epilogue::Bias | Epilogue::Gelu | Epilogue::Rotation { .. } => sums,
                Epilogue::Residual => add(simd, load(simd, out), sums),
                Epilogue::Position(table) => {
                    let row = (place.first + row) % (table.len() / place.columns);
                    add(simd, load(simd, &table[row * place.columns..][columns.clone()]), sums)
                }
            };
            store(simd, out, sums);
            match product.epilogue {
                Epilogue::Gelu => {
                    for x in out {
                        *x = gelu::value(*x);
                    }
                }
                Epilogue::Rotation { table, size } => {
                    let row = (place.first + row) % (table.len() / (2 * size));
                    let turned = (place.columns / 3 * 2).saturating_sub(column).min(out.len());
                    turn(&mut out[..turned], column, &table[row * 2 * size..][..2 * size]);
                }
                Epilogue::Bias | Epilogue::Residual | Epilogue::Position(_) => {}
            }
        }
    }
}

#[inline(always)]
fn add<S: Simd>(simd: S, [a, b]: [S::f32s; 2], [c, d]: [S::f32s; 2]) -> [S::f32s; 2] {
    [simd.add_f32s(a, c), simd.add_f32s(b, d)]
}

/// Up to two vectors; what is missing is 0.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> [S::f32s; 2] {
    let (whole, rest) = S::as_simd_f32s(values);
    match *whole {
        [first, second] => [first, second],
        [first] => [first, simd.partial_load_f32s(rest)],
        _ => [simd.partial_load_f32s(rest), simd.splat_f32s(0.0)],
    }
}

/// As many of the values as `out` takes.
#[inline(always)]
fn store<S: Simd>(simd: S, out: &mut [f32], values: [S::f32s; 2]) {
    match S::as_mut_simd_f32s(out) {
        ([first, second], _) => [*first, *second] = values,
        ([first], rest) => {
            *first = values[0];
            simd.partial_store_f32s(rest, values[1]);
        }
        (_, rest) => simd.partial_store_f32s(rest, values[0]),
    }
}
