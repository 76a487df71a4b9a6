//! Whether a GPU's matrix units may be used: where its driver lists what our shaders ask for, and computes a small product
//! exactly.

use std::sync::Arc;

use wgpu::{AdapterInfo, CooperativeMatrixProperties, CooperativeScalarType, Features};

use super::adapter::Gpu;
use super::engine::GpuEngine;
use crate::compile::wgsl::{Matrices, Side, Tile};
use crate::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use crate::error::{Error, Result};

/// What a device must be asked for.
pub const FEATURES: Features =
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

/// Says `never` where matrix units are not to be used.
const VARIABLE: &str = "ANYJEPA_COOPERATIVE";

/// Whether the user leaves the choice to us.
///
/// # Errors
/// A usage error where the variable is neither `auto` nor `never`.
pub fn wanted() -> Result<bool> {
    match std::env::var(VARIABLE).ok().as_deref() {
        None | Some("" | "auto") => Ok(true),
        Some("never") => Ok(false),
        Some(other) => Err(Error::usage(format!("{VARIABLE} is `{other}`")).with_remedy("set it to auto or never")),
    }
}

/// The largest of the listed matrices that our shaders are written for, with subgroups that have one size only.
pub fn listed(features: Features, info: &AdapterInfo, properties: &[CooperativeMatrixProperties]) -> Option<Matrices> {
    if !features.contains(FEATURES) || info.subgroup_min_size != info.subgroup_max_size {
        return None;
    }
    let lists = |length: u32| {
        properties.iter().any(|matrices| {
            let types = [matrices.ab_type, matrices.cr_type];
            [matrices.m_size, matrices.n_size, matrices.k_size] == [length; 3]
                && types == [CooperativeScalarType::F16, CooperativeScalarType::F32]
        })
    };
    let side = [(16, Side::Sixteen), (8, Side::Eight)].into_iter().find(|(length, _)| lists(*length))?.1;
    Some(Matrices { side, subgroup: info.subgroup_max_size })
}

/// What the adapter lists, where it is right.
pub fn checked(gpu: &Arc<Gpu>) -> Option<Matrices> {
    let matrices = gpu.listed()?;
    match agrees(matrices, |tile| product(gpu, tile)) {
        Ok(()) => Some(matrices),
        Err(error) => {
            tracing::warn!("{} does without its matrix units: {error}", gpu.adapter().device);
            None
        }
    }
}

/// The product of the check: no size is a multiple of a tile's, a slice's or a matrix's.
const SIZES: [usize; 3] = [140, 76, 132];

/// Checks that both tiles give what a plain one gives; `product` computes by a tile.
fn agrees(matrices: Matrices, product: impl Fn(Tile) -> Result<Vec<f32>>) -> Result<()> {
    let expected = product(Tile::T32x32)?;
    for tile in Tile::cooperative(matrices) {
        let found = product(tile)?;
        // Of whole numbers, so that no order of sums rounds.
        if let Some(i) = (0..expected.len()).find(|i| found.get(*i) != expected.get(*i)) {
            let found = found.get(i).copied().unwrap_or(f32::NAN);
            return Err(Error::device(format!("{tile:?} computes {found} where {} is right", expected[i])));
        }
    }
    Ok(())
}

/// A product of small whole numbers, added to others.
fn product(gpu: &Arc<Gpu>, tile: Tile) -> Result<Vec<f32>> {
    let [m, k, n] = SIZES;
    let kernel = Kernel::Matmul { m, k, n, epilogue: Epilogue::Residual, table: 0 };
    let buffer = |label: &str, role, len, dtype| Buffer { label: label.into(), role, shape: vec![len], dtype };
    let weight = |label: &str| Role::Weight { parameter: label.into(), transposed: false };
    let buffers = vec![
        buffer("images", Role::Input, 1, Dtype::F32),
        buffer("x", weight("x"), m * k, Dtype::F16),
        buffer("w", weight("w"), k * n, Dtype::F16),
        buffer("b", weight("b"), n, Dtype::F32),
        buffer("y", Role::Output, m * n, Dtype::F32),
    ];
    let operands = (1..5).map(BufferId).collect();
    let dispatches = vec![Dispatch { label: "check".into(), kernel, operands }];
    let mut plan = Plan { batch: 1, dtype: Dtype::F16, buffers, dispatches };
    plan.buffers[4].shape.insert(0, 1);
    let whole = |buffer: &Buffer| {
        let step = buffer.label.len() + buffer.len();
        Ok((0..buffer.len()).map(|i| ((i * (step | 1) + i / 7) % 17) as f32 - 8.0).collect())
    };
    let mut engine = GpuEngine::new(gpu.clone(), plan, &whole, &|_, _| Some(tile))?;
    engine.write(BufferId(4), &(0..m * n).map(|i| (i % 5) as f32).collect::<Vec<_>>())?;
    engine.run(&[0.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::{Backend, DeviceType};

    fn info(subgroup: [u32; 2]) -> AdapterInfo {
        let [subgroup_min_size, subgroup_max_size] = subgroup;
        AdapterInfo {
            subgroup_min_size,
            subgroup_max_size,
            ..AdapterInfo::new(DeviceType::DiscreteGpu, Backend::Vulkan)
        }
    }

    fn configuration(sizes: [u32; 3], types: [CooperativeScalarType; 2]) -> CooperativeMatrixProperties {
        let ([m_size, n_size, k_size], [ab_type, cr_type]) = (sizes, types);
        CooperativeMatrixProperties { m_size, n_size, k_size, ab_type, cr_type, saturating_accumulation: false }
    }

    #[test]
    fn the_largest_listed_matrices_of_f16_with_sums_of_f32_are_taken() {
        use CooperativeScalarType::{F16, F32};
        let all = [
            configuration([8; 3], [F16, F32]),
            configuration([16; 3], [F16, F16]),
            configuration([16; 3], [F32, F32]),
            configuration([16, 16, 8], [F16, F32]),
            configuration([16; 3], [F16, F32]),
        ];
        let found = |features, subgroup, properties: &[_]| listed(features, &info(subgroup), properties);
        let matrices = |side| Some(Matrices { side, subgroup: 32 });
        assert_eq!(found(FEATURES, [32, 32], &all), matrices(Side::Sixteen));
        assert_eq!(found(FEATURES, [32, 32], &all[..4]), matrices(Side::Eight));
        assert_eq!(found(FEATURES, [32, 32], &all[1..4]), None);
        assert_eq!(found(FEATURES, [32, 64], &all), None);
        assert_eq!(found(FEATURES - Features::SHADER_F16, [32, 32], &all), None);
        assert_eq!(found(FEATURES - Features::EXPERIMENTAL_COOPERATIVE_MATRIX, [32, 32], &all), None);
    }

    #[test]
    fn matrix_units_that_are_wrong_or_fail_are_not_used() {
        let matrices = Matrices { side: Side::Sixteen, subgroup: 32 };
        let says = |wrong: fn(Tile) -> Result<Vec<f32>>| agrees(matrices, wrong).map_err(|error| error.to_string());
        assert_eq!(says(|_| Ok(vec![1.0, 2.0])), Ok(()));
        let said = [
            says(|tile| Ok(if let Tile::Cooperative64x64(_) = tile { vec![1.0, 2.5] } else { vec![1.0, 2.0] })),
            says(|tile| Ok(if let Tile::Cooperative128x128(_) = tile { vec![1.0] } else { vec![1.0, 2.0] })),
            says(|tile| if tile == Tile::T32x32 { Ok(vec![1.0]) } else { Err(Error::device("refused")) }),
        ];
        insta::assert_snapshot!(said.map(Result::unwrap_err).join("\n"), @"
        Cooperative64x64(Matrices { side: Sixteen, subgroup: 32 }) computes 2.5 where 2 is right
        Cooperative128x128(Matrices { side: Sixteen, subgroup: 32 }) computes NaN where 2 is right
        refused
        ");
    }
}
