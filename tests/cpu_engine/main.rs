//! The CPU engine runs plans as the kernels' plain twins do, whatever its memory held before, and refuses broken ones.

mod plans;

use anyjepa::compile::{BufferId, Dtype, Plan, Role};
use anyjepa::runtime::cpu::CpuEngine;
use anyjepa::runtime::twin::TwinEngine;
use plans::{Positions, Vit, draw, in_bf16, values, vit};

/// Both round in 32 bits, one dispatch at a time, in sums of at most 300 terms; over the largest value.
const TOLERANCE: f32 = 3e-6;

/// Head sizes and tokens that fill no vector and no tile; the third has two samples and one of each, the last two are clips.
const SHAPES: [Vit; 5] = [
    Vit {
        batch: 1,
        dim: 24,
        depth: 1,
        heads: 3,
        frames: 1,
        side: 20,
        tubelet: 1,
        patch: 4,
        positions: Positions::Table,
    },
    Vit {
        batch: 3,
        dim: 40,
        depth: 2,
        heads: 1,
        frames: 1,
        side: 6,
        tubelet: 1,
        patch: 2,
        positions: Positions::Table,
    },
    Vit {
        batch: 2,
        dim: 72,
        depth: 1,
        heads: 3,
        frames: 1,
        side: 9,
        tubelet: 1,
        patch: 9,
        positions: Positions::Table,
    },
    Vit {
        batch: 2,
        dim: 24,
        depth: 1,
        heads: 2,
        frames: 6,
        side: 10,
        tubelet: 3,
        patch: 5,
        positions: Positions::Table,
    },
    Vit {
        batch: 2,
        dim: 60,
        depth: 2,
        heads: 6,
        frames: 4,
        side: 12,
        tubelet: 2,
        patch: 4,
        positions: Positions::Rotation,
    },
];

fn engine(plan: Plan) -> CpuEngine {
    CpuEngine::new(plan, &mut |buffer| Ok(values(buffer))).unwrap()
}

fn images(plan: &Plan) -> Vec<f32> {
    draw(5, plan.buffer(plan.input().unwrap()).len())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The plan of each shape, in 32 bits and with weights of bfloat16.
fn plans() -> impl Iterator<Item = Plan> {
    SHAPES.into_iter().flat_map(|shape| [vit(shape), in_bf16(vit(shape))])
}

#[test]
fn every_dispatch_equals_its_twin() {
    for plan in plans() {
        let images = images(&plan);
        let mut mirror = TwinEngine::new(plan.clone(), &|buffer| Ok(values(buffer))).unwrap();
        for (i, buffer) in plan.buffers.iter().enumerate() {
            match buffer.role {
                Role::Input => mirror.set(BufferId(i), &images),
                Role::Weight { .. } | Role::Angles { .. } => {}
                Role::Output | Role::Kept | Role::Scratch { .. } => {
                    mirror.set(BufferId(i), &vec![f32::NAN; buffer.len()])
                }
            }
        }
        let mut seen = 0;
        let see = &mut |dispatch: &anyjepa::compile::Dispatch, found: &[f32]| {
            mirror.step(dispatch)?;
            let written = *dispatch.operands.last().unwrap();
            let wanted = mirror.values(written);
            let largest = wanted.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
            assert_eq!(found.len(), wanted.len(), "{}", dispatch.label);
            for (found, wanted) in found.iter().zip(wanted) {
                let near = (found - wanted).abs() <= TOLERANCE * largest;
                assert!(near, "{} of {:?}: {found}, expected {wanted}", dispatch.label, plan.dtype);
            }
            // What follows reads what the engine wrote, so that no dispatch answers for those before it.
            mirror.set(written, found);
            seen += 1;
            Ok(())
        };
        engine(plan.clone()).trace(&images, see).unwrap();
        assert_eq!(seen, plan.dispatches.len());
    }
}

#[test]
fn nothing_is_left_of_the_images_before() {
    for plan in plans() {
        let images = images(&plan);
        let fresh = bits(engine(plan.clone()).run(&images).unwrap());
        let mut used = engine(plan);
        let poisoned = used.run(&vec![f32::NAN; images.len()]).unwrap();
        assert!(poisoned.iter().all(|value| value.is_nan()));
        assert_eq!(bits(used.run(&images).unwrap()), fresh);
    }
}

#[test]
fn features_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize, stored: fn(Plan) -> Plan| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            // Large enough that a product is cut into bands.
            let plan = vit(Vit {
                batch: 2,
                dim: 72,
                depth: 1,
                heads: 3,
                frames: 1,
                side: 24,
                tubelet: 1,
                patch: 2,
                positions: Positions::Table,
            });
            let images = images(&plan);
            bits(engine(stored(plan)).run(&images).unwrap())
        })
    };
    for stored in [|plan| plan, in_bf16] {
        let one = run(1, stored);
        assert_eq!(one, run(2, stored));
        assert_eq!(one, run(3, stored));
    }
}

#[test]
fn images_of_another_size_are_refused() {
    let mut engine = engine(vit(SHAPES[0]));
    insta::assert_snapshot!(engine.run(&[0.0; 7]).unwrap_err(), @"images has 7 values, expected [1, 3, 20, 20]");
}

#[test]
fn weights_of_another_size_are_refused() {
    let error = CpuEngine::new(vit(SHAPES[0]), &mut |_| Ok(vec![0.0; 5])).unwrap_err();
    insta::assert_snapshot!(error, @"patch.w has 5 values, expected [48, 24]");
}

#[test]
fn plans_for_other_processors_are_refused() {
    let breaks: [fn(&mut Plan); 6] = [
        |plan| plan.buffers[3].dtype = Dtype::F16,
        // What a kernel writes, and a weight of no product.
        |plan| plan.buffers[3].dtype = Dtype::Bf16,
        |plan| {
            plan.buffers.iter_mut().filter(|buffer| buffer.label == "patch.b").for_each(|buffer| {
                buffer.dtype = Dtype::Bf16;
            })
        },
        // A bias that another dispatch might have computed.
        |plan| {
            plan.buffers.iter_mut().filter(|buffer| buffer.label == "patch.b").for_each(|buffer| {
                buffer.role = Role::Scratch { slot: 9 };
            })
        },
        // One matrix, read as rows of two lengths.
        |plan| {
            let position = |name: &str| plan.buffers.iter().position(|buffer| buffer.label == name).unwrap();
            plan.dispatches[8].operands[1] = BufferId(position("0.fc1.w"));
        },
        // A matrix that is packed elsewhere, in the place of a table.
        |plan| {
            *plan = vit(Vit { dim: 16, heads: 2, side: 16, patch: 4, ..SHAPES[0] });
            let matrix = plan.buffers.iter().position(|buffer| buffer.label == "0.proj.w").unwrap();
            plan.dispatches[1].operands[3] = BufferId(matrix);
        },
    ];
    let messages = breaks.map(|damage| {
        let mut plan = vit(SHAPES[0]);
        damage(&mut plan);
        CpuEngine::new(plan, &mut |buffer| Ok(values(buffer))).unwrap_err().to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
    the plan cannot be run: h: the processor knows no values of f16
    the plan cannot be run: h: only the weights of products can be of bf16
    the plan cannot be run: patch.b: only the weights of products can be of bf16
    the plan cannot be run: patch: patch.b cannot be its operand 2
    the plan cannot be run: fc2: 0.fc1.w cannot be its operand 1
    the plan cannot be run: proj: 0.proj.w cannot be its operand 1
    ");
}
