//! The matrix units of an adapter that has some compute what the twins compute.

use std::sync::Arc;

use anyjepa::compile::wgsl::{MATMUL_TILES, Matrices, Tile};
use anyjepa::compile::{Epilogue, Kernel};
use anyjepa::parity::distance;
use anyjepa::runtime::Engine as _;
use anyjepa::runtime::gpu::{Bounds, Checks, Gpu, GpuEngine, candidates, fastest};
use anyjepa::runtime::twin::TwinEngine;

use crate::compute::{begins, check_on, products, turned};
use crate::device::dtypes;
use crate::encoder::{HALF_FEATURES, encoder, images, weights};

/// The first Vulkan adapter and its matrix units.
fn gpu() -> Option<(Arc<Gpu>, Matrices)> {
    if !crate::gpu::wanted("no shader was run") {
        return None;
    }
    let gpu = Arc::new(Gpu::open("vulkan".parse().unwrap(), Bounds::Adapter, Checks::On).unwrap());
    let matrices = gpu.cooperative();
    assert_eq!(gpu.listed(), matrices, "the adapter's matrix units compute something else");
    let name = &gpu.adapter().name;
    match matrices {
        Some(matrices) => crate::gpu::say(&format!("{name}: {matrices:?}")),
        None => {
            crate::gpu::say(&format!("SKIPPED: {name} lists no matrix units (the software adapter of Mesa 26 does)"));
        }
    }
    matrices.map(|matrices| (gpu, matrices))
}

#[test]
fn products_by_matrix_units_equal_their_twins() {
    let Some((gpu, matrices)) = gpu() else { return };
    let mut operations = products(&[(1, 4, 4), (197, 68, 132), (64, 64, 64), (300, 200, 260)], true);
    operations.extend([
        begins(1, 4, 4),
        begins(197, 68, 132),
        turned(197, 68, 2, 88, true),
        turned(70, 16, 3, 20, true),
    ]);
    for tile in Tile::cooperative(matrices) {
        check_on(&gpu, &operations, Some(tile));
    }
}

#[test]
fn a_plan_by_matrix_units_gives_the_features_that_its_twins_give() {
    let Some((gpu, matrices)) = gpu() else { return };
    let expected = TwinEngine::new(encoder(true), &weights).unwrap().run(&images()).unwrap();
    for tile in Tile::cooperative(matrices) {
        let mut engine = GpuEngine::new(gpu.clone(), encoder(true), &weights, &|_, _| Some(tile)).unwrap();
        let distance = distance(&expected, &engine.run(&images()).unwrap());
        assert!(distance < HALF_FEATURES, "{tile:?} is off by {distance:e}");
    }
}

#[test]
fn they_are_measured_beside_the_other_tiles() {
    let Some((gpu, matrices)) = gpu() else { return };
    let kernel = Kernel::Matmul { m: 64, k: 64, n: 64, epilogue: Epilogue::Gelu, table: 0 };
    let stored = dtypes(&kernel, true);
    let tiles = candidates(&gpu, &kernel, &stored);
    assert!(MATMUL_TILES.iter().any(|tile| tiles.contains(tile)), "{tiles:?}");
    assert!(Tile::cooperative(matrices).iter().any(|tile| tiles.contains(tile)), "{tiles:?}");
    assert!(tiles.contains(&fastest(&gpu, &kernel, &stored).unwrap()));
}
