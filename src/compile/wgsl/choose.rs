//! Which variant of a shader serves a kernel, with which constants, and how many workgroups of it.

use crate::compile::{Dtype, Epilogue, Kernel};
use crate::error::{Error, Result};

/// What a workgroup of a matrix product computes, rows by columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Tile {
    /// For the largest products: 8 x 8 sums a thread.
    #[serde(rename = "128x128")]
    T128x128,
    /// 8 x 4 sums a thread.
    #[serde(rename = "128x64")]
    T128x64,
    /// 4 x 4 sums a thread.
    #[serde(rename = "64x64")]
    T64x64,
    /// 4 x 4 sums of 64 threads, for small products.
    #[serde(rename = "32x32")]
    T32x32,
    /// 64 by 64, for a depth or columns that are no multiple of 4.
    #[serde(rename = "scalar")]
    Scalar,
    /// 128 by 128 of eight subgroups, by the GPU's matrix units; of values of f16 alone.
    #[serde(rename = "cooperative 128x128")]
    Cooperative128x128(Matrices),
    /// 64 by 64 of four subgroups, likewise.
    #[serde(rename = "cooperative 64x64")]
    Cooperative64x64(Matrices),
}

/// What a GPU's matrix units multiply: square matrices of f16 with sums of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Matrices {
    /// Rows and columns of a matrix.
    pub side: Side,
    /// Threads of a subgroup.
    pub subgroup: u32,
}

/// Rows and columns of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// 8
    Eight,
    /// 16
    Sixteen,
}

/// Tiles to choose from, where depth and columns are multiples of 4.
pub const MATMUL_TILES: [Tile; 4] = [Tile::T128x128, Tile::T128x64, Tile::T64x64, Tile::T32x32];

/// A tile, of a product or of queries, is taken where it makes so many workgroups: two for each of a large GPU's 128 or so processors.
const BUSY: usize = 256;
/// Most workgroups along one axis, by WebGPU's default limits.
const AXIS: usize = 65_535;
/// Most values of a buffer that a shader's 32-bit indices reach with room to spare.
const VALUES: usize = 1 << 31;

pub(super) struct Choice {
    pub permutation: String,
    pub constants: Vec<(&'static str, f64)>,
    pub workgroups: [u32; 3],
    pub threads: u32,
    pub workgroup_bytes: u32,
}

impl Tile {
    fn name(self) -> &'static str {
        match self {
            Self::T128x128 => "128x128",
            Self::T128x64 => "128x64",
            Self::T64x64 => "64x64",
            Self::T32x32 => "32x32",
            Self::Scalar => "scalar",
            Self::Cooperative128x128(Matrices { side: Side::Sixteen, .. }) => "by16_128x128",
            Self::Cooperative128x128(Matrices { side: Side::Eight, .. }) => "by8_128x128",
            Self::Cooperative64x64(Matrices { side: Side::Sixteen, .. }) => "by16_64x64",
            Self::Cooperative64x64(Matrices { side: Side::Eight, .. }) => "by8_64x64",
        }
    }

    /// The tiles of a GPU with such matrix units.
    pub fn cooperative(matrices: Matrices) -> [Self; 2] {
        [Self::Cooperative128x128(matrices), Self::Cooperative64x64(matrices)]
    }

    /// What its matrix units multiply, where it takes them.
    fn matrices(self) -> Option<Matrices> {
        match self {
            Self::Cooperative128x128(matrices) | Self::Cooperative64x64(matrices) => Some(matrices),
            _ => None,
        }
    }

    /// Memory of a workgroup.
    fn bytes(self) -> usize {
        let (rows, columns, threads) = self.size();
        let Some(Matrices { side, subgroup }) = self.matrices() else { return 16 * 4 * (rows + columns) };
        let side = if side == Side::Eight { 8 } else { 16 };
        // Slices of a depth of 32, their rows longer by 8, and a matrix of sums of each subgroup.
        2 * (rows * 40 + 32 * (columns + 8)) + 4 * (threads / subgroup) as usize * side * side
    }

    /// Rows, columns and threads.
    fn size(self) -> (usize, usize, u32) {
        match self {
            Self::T128x128 => (128, 128, 256),
            Self::T128x64 => (128, 64, 256),
            Self::T64x64 | Self::Scalar => (64, 64, 256),
            Self::T32x32 => (32, 32, 64),
            Self::Cooperative128x128(Matrices { subgroup, .. }) => (128, 128, 8 * subgroup),
            Self::Cooperative64x64(Matrices { subgroup, .. }) => (64, 64, 4 * subgroup),
        }
    }

    /// The largest tile that keeps a large GPU busy, or else the smallest.
    pub fn fit(m: usize, k: usize, n: usize, epilogue: Epilogue) -> Self {
        // Groups of four columns belong to one head.
        let head = if let Epilogue::Rotation { size } = epilogue { size } else { 0 };
        if [k, n, head].into_iter().any(|size| !size.is_multiple_of(4)) {
            return Self::Scalar;
        }
        let workgroups = |tile: Self| m.div_ceil(tile.size().0) * n.div_ceil(tile.size().1);
        MATMUL_TILES.into_iter().find(|tile| workgroups(*tile) >= BUSY).unwrap_or(Self::T32x32)
    }
}

/// A variant of attention: for heads up to some size, of which so many parts pass through a workgroup's memory.
struct HeadsTo {
    name: &'static str,
    size: usize,
    parts: usize,
    /// Sizes are a multiple of this.
    step: usize,
}

impl HeadsTo {
    const ALL: [Self; 6] = [
        Self { name: "to32", size: 32, parts: 1, step: 4 },
        Self { name: "to64", size: 64, parts: 1, step: 4 },
        Self { name: "to128", size: 128, parts: 2, step: 8 },
        Self { name: "to64_scalar", size: 64, parts: 1, step: 1 },
        Self { name: "to128_scalar", size: 128, parts: 2, step: 1 },
        Self { name: "to256_scalar", size: 256, parts: 4, step: 1 },
    ];

    /// The variant for heads of `size`.
    fn fit(size: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|to| size <= to.size && size.is_multiple_of(to.step))
    }

    /// Values of a part of a head, in whole groups of four.
    fn part(&self, size: usize) -> usize {
        4 * size.div_ceil(4).div_ceil(self.parts)
    }
}

pub(super) fn choose(kernel: &Kernel, operands: &[Dtype], tile: Option<Tile>) -> Result<Choice> {
    let unserved = |why: &str| {
        Error::usage(format!("no shader serves {kernel:?} with operands {operands:?}: {why}"))
            .with_remedy("run its weights with `--engine burn`")
    };
    let too_large = |why: &str| {
        unserved(why).with_remedy(
            "take a smaller batch (`--batch`; of a package, that of `compile`), or run its weights with `--engine burn`",
        )
    };
    if let Kernel::Matmul { n, epilogue, table, .. } = *kernel
        && (epilogue.row(n) > 0) != (table > 0)
    {
        return Err(unserved("a table belongs to the epilogues of position and rotation, and to no other"));
    }
    if kernel.lengths().into_iter().any(|values| !(1..=VALUES).contains(&values)) {
        return Err(too_large("a buffer is empty, or larger than 32-bit indices reach"));
    }
    let (groups, mut choice) = match *kernel {
        Kernel::Matmul { m, k, n, epilogue, table } => {
            let tile = match (tile, Tile::fit(m, k, n, epilogue)) {
                (_, fit @ Tile::Scalar) | (None, fit) => fit,
                (Some(tile), fit) if tile.matrices().is_some() && operands.first() != Some(&Dtype::F16) => fit,
                (Some(tile), _) => tile,
            };
            let half = matmul_stored(epilogue, operands).ok_or_else(|| unserved("they are stored in another way"))?;
            let (rows, columns, threads) = tile.size();
            let mut choice = Choice {
                permutation: format!("matmul_{}_{}_{half}", tile.name(), epilogue_name(epilogue)),
                constants: vec![("M", m as f64), ("K", k as f64), ("N", n as f64)],
                workgroups: [0; 3],
                threads,
                workgroup_bytes: tile.bytes() as u32,
            };
            if let Some(Matrices { subgroup, .. }) = tile.matrices() {
                choice.constants.push(("SUBGROUP", f64::from(subgroup)));
            }
            if table > 0 {
                choice.constants.push(("T", table as f64));
            }
            if let Epilogue::Rotation { size } = epilogue {
                choice.constants.push(("SIZE", size as f64));
            }
            ([n.div_ceil(columns), m.div_ceil(rows), 1], choice)
        }
        Kernel::Attention { batch, tokens, heads, size, scale } => {
            let Some(heads_to) = HeadsTo::fit(size) else { return Err(unserved("heads are of at most 256")) };
            let half = match operands {
                [Dtype::F32, Dtype::F32] => "f32",
                [Dtype::F16, Dtype::F16] => "f16",
                _ => return Err(unserved("both are stored alike, in f32 or f16")),
            };
            let workgroups = tokens.div_ceil(64).saturating_mul(heads).saturating_mul(batch);
            let queries = if workgroups >= BUSY { 64 } else { 32 };
            let constants = [tokens, heads, size, queries].map(|value| value as f64);
            let mut constants: Vec<_> = ["TOKENS", "HEADS", "SIZE", "QUERIES"].into_iter().zip(constants).collect();
            constants.push(("SCALE", f64::from(scale)));
            let choice = Choice {
                permutation: format!("attention_{}_{half}", heads_to.name),
                constants,
                workgroups: [0; 3],
                threads: 2 * queries as u32,
                workgroup_bytes: (4 * 32 * (heads_to.part(size) + queries)) as u32,
            };
            ([tokens.div_ceil(queries), heads, batch], choice)
        }
        Kernel::Norm { rows, dim, eps, stride, column } => {
            if column + dim > stride {
                return Err(unserved("the columns end beyond the row"));
            }
            let half = match operands {
                [Dtype::F32, Dtype::F32, Dtype::F32, result] => half(*result),
                _ => None,
            };
            let half = half.ok_or_else(|| unserved("all but the result are of f32"))?;
            let sizes = [rows, dim, stride, column].map(|value| value as f64);
            let mut constants: Vec<_> = ["ROWS", "DIM", "STRIDE", "COLUMN"].into_iter().zip(sizes).collect();
            constants.push(("EPS", f64::from(eps)));
            let permutation = format!("norm_{half}");
            let choice = Choice { permutation, constants, workgroups: [0; 3], threads: 256, workgroup_bytes: 1024 };
            (spread(rows.div_ceil(4)), choice)
        }
        Kernel::Patchify { batch, channels, frames, height, width, tubelet, patch } => {
            let half = match operands {
                [Dtype::F32, result] => half(*result),
                _ => None,
            };
            let half = half.ok_or_else(|| unserved("images are of f32"))?;
            let sizes = [batch, channels, frames, height, width, tubelet, patch].map(|value| value as f64);
            let names = ["BATCH", "CHANNELS", "FRAMES", "HEIGHT", "WIDTH", "TUBELET", "PATCH"];
            let constants = names.into_iter().zip(sizes).collect();
            let permutation = format!("patchify_{half}");
            let choice = Choice { permutation, constants, workgroups: [0; 3], threads: 256, workgroup_bytes: 0 };
            let values = kernel.lengths()[1];
            (spread(values.div_ceil(256)), choice)
        }
        Kernel::Gather { from, rows, dim } => {
            if operands != [Dtype::F32, Dtype::U32, Dtype::F32] {
                return Err(unserved("rows are of f32, and their numbers of u32"));
            }
            let sizes = [from, rows, dim].map(|value| value as f64);
            let constants = ["FROM", "ROWS", "DIM"].into_iter().zip(sizes).collect();
            let permutation = "gather_f32".to_owned();
            let choice = Choice { permutation, constants, workgroups: [0; 3], threads: 256, workgroup_bytes: 0 };
            (spread((rows * dim).div_ceil(256)), choice)
        }
        Kernel::Pool { batch, tokens, dim } => {
            if operands != [Dtype::F32, Dtype::F32] {
                return Err(unserved("both are of f32"));
            }
            let constants = vec![("TOKENS", tokens as f64), ("DIM", dim as f64)];
            let permutation = "pool_f32".to_owned();
            let choice = Choice { permutation, constants, workgroups: [0; 3], threads: 256, workgroup_bytes: 1024 };
            ([dim.div_ceil(64), batch, 1], choice)
        }
    };
    if groups.iter().any(|axis| !(1..=AXIS).contains(axis)) {
        return Err(too_large(&format!("it takes {groups:?} workgroups, of at most {AXIS} along an axis")));
    }
    choice.workgroups = groups.map(|axis| axis as u32);
    Ok(choice)
}

/// The variant's name for how x, W and y are stored; the bias and the table are always of 32 bits, and so is a result
/// that belongs to the residual stream, be it its first.
fn matmul_stored(epilogue: Epilogue, operands: &[Dtype]) -> Option<&'static str> {
    let [x, w, rest @ .., y] = operands else { return None };
    let stream = matches!(epilogue, Epilogue::Residual | Epilogue::Position);
    // The bias, and a table where there is one.
    let count = if epilogue.row(1) > 0 { 2 } else { 1 };
    let plain = rest.len() == count && rest.iter().all(|operand| *operand == Dtype::F32);
    match (plain, x, w, y) {
        (true, Dtype::F32, Dtype::F32, Dtype::F32) => Some("f32"),
        (true, Dtype::F16, Dtype::F16, Dtype::F32) if stream => Some("f16"),
        (true, Dtype::F16, Dtype::F16, Dtype::F16) if !stream => Some("f16"),
        (true, Dtype::F16, Dtype::F16, Dtype::F32) if epilogue == Epilogue::Bias => Some("f16_f32"),
        _ => None,
    }
}

fn half(result: Dtype) -> Option<&'static str> {
    match result {
        Dtype::F32 => Some("f32"),
        Dtype::F16 => Some("f16"),
        Dtype::Bf16 | Dtype::U32 => None,
    }
}

fn epilogue_name(epilogue: Epilogue) -> &'static str {
    match epilogue {
        Epilogue::Bias => "bias",
        Epilogue::Gelu => "gelu",
        Epilogue::Residual => "residual",
        Epilogue::Position => "position",
        Epilogue::Rotation { .. } => "rotation",
    }
}

/// So many workgroups, along two axes where one is too short; the last ones may have nothing to do.
fn spread(count: usize) -> [usize; 3] {
    let rows = count.div_ceil(AXIS).max(1);
    [count.div_ceil(rows), rows, 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dtype::{F16, F32};

    #[test]
    fn larger_products_take_larger_tiles() {
        let cases =
            [(196, 768, 768), (196, 768, 3072), (1568, 768, 768), (1568, 768, 3072), (6272, 768, 3072), (49, 49, 96)];
        let table: Vec<String> = cases
            .iter()
            .map(|(m, k, n)| format!("{m} x {k} x {n}: {}", Tile::fit(*m, *k, *n, Epilogue::Bias).name()))
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn what_no_shader_serves_is_named_with_the_reason() {
        let attention = |size| Kernel::Attention { batch: 1, tokens: 4, heads: 2, size, scale: 0.5 };
        let matmul = |m, epilogue, table| Kernel::Matmul { m, k: 4, n: 4, epilogue, table };
        let cases: [(Kernel, &[Dtype]); 6] = [
            (attention(0), &[F32, F32]),
            (attention(257), &[F32, F32]),
            (attention(64), &[F32, F16]),
            (matmul(8, Epilogue::Bias, 0), &[F16, F32, F32, F32]),
            (matmul(8, Epilogue::Residual, 3), &[F32, F32, F32, F32]),
            (matmul(1 << 28, Epilogue::Bias, 0), &[F32, F32, F32, F32]),
        ];
        let said: Vec<String> =
            cases.iter().map(|(kernel, stored)| choose(kernel, stored, None).err().unwrap().to_string()).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn many_rows_spread_over_two_axes() {
        assert_eq!([spread(1), spread(65_535), spread(65_536)], [[1, 1, 1], [65_535, 1, 1], [32_768, 2, 1]]);
    }
}
