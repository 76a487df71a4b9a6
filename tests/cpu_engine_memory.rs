//! The CPU engine takes no memory after the first image, on any thread.

#[path = "cpu_engine/plans.rs"]
mod plans;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyjepa::compile::Plan;
use anyjepa::runtime::cpu::CpuEngine;
use plans::{Positions, Vit, draw, in_bf16, values, vit};

/// The system's allocator, which counts what every thread asks of it.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Images of each test.
const IMAGES: usize = 200;
/// Calls from outside that rayon's queue holds in one piece of its memory.
const QUEUE: usize = 63;

// One test: another thread's allocations would count as well.
#[test]
fn no_image_after_the_first_takes_memory() {
    for (frames, side, positions) in [(1, 24, Positions::Table), (4, 12, Positions::Rotation)] {
        let plan = vit(Vit { batch: 2, dim: 72, depth: 2, heads: 3, frames, side, tubelet: 1, patch: 2, positions });
        takes_no_memory(in_bf16(plan.clone()));
        takes_no_memory(plan);
    }
}

fn takes_no_memory(plan: Plan) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let images = draw(1, plan.buffer(plan.input().unwrap()).len());
    let mut engine = pool.install(|| CpuEngine::new(plan, &mut |buffer| Ok(values(buffer)))).unwrap();
    pool.install(|| {
        engine.run(&images).unwrap();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..IMAGES {
            engine.run(&images).unwrap();
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
    });

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..IMAGES {
        pool.install(|| engine.run(&images).map(|_| ()).unwrap());
    }
    // Calls from outside the pool pass through its queue, which is all that takes memory.
    let taken = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(taken <= IMAGES.div_ceil(QUEUE), "{taken} allocations");
}
