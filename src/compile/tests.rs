use super::*;
use crate::config::{ModelConfig, PRESETS, Positions, Preset};

fn model(name: &str, depth: usize) -> ModelConfig {
    ModelConfig { depth, ..Preset::find(name).unwrap().config().model }
}

const POOLED: Outputs = Outputs { layers: 1, take: Take::Mean };

#[test]
fn what_is_recorded_becomes_seven_dispatches_a_block() {
    let recorded = import::capture(&model("ijepa-vit-tiny16", 1), 2, POOLED).unwrap();
    insta::assert_snapshot!("recorded", recorded);
    insta::assert_snapshot!("recognised", passes::run(&recorded));
}

#[test]
fn features_of_several_layers_are_written_where_they_are_joined() {
    let outputs = Outputs { layers: 3, take: Take::Tokens };
    insta::assert_snapshot!("layers", compile(&model("ijepa-vit-tiny16", 4), 2, outputs, Dtype::F16).unwrap());
}

#[test]
fn rotations_follow_the_product_that_makes_queries_and_keys() {
    let recorded = import::capture(&model("vjepa2-vit-tiny", 1), 2, POOLED).unwrap();
    insta::assert_snapshot!("recorded-rotation", recorded);
    insta::assert_snapshot!("recognised-rotation", passes::run(&recorded));
}

#[test]
fn the_tokens_that_a_mask_keeps_are_gathered_behind_their_positions() {
    let outputs = Outputs { layers: 1, take: Take::Kept(70) };
    insta::assert_snapshot!("kept", compile(&model("ijepa-vit-tiny16", 1), 2, outputs, Dtype::F16).unwrap());
    let refused = compile(&model("ijepa-vit-tiny16", 2), 2, Outputs { layers: 2, ..outputs }, Dtype::F32).unwrap_err();
    insta::assert_snapshot!(format!("{refused}; {}", refused.remedy().unwrap()), @"of an encoder that sees some tokens alone only the last block is read; read one layer");
}

#[test]
fn rotations_of_the_tokens_that_a_mask_keeps_are_gathered_once_for_all_blocks() {
    let outputs = Outputs { layers: 1, take: Take::Kept(70) };
    let compiled = |batch| compile(&model("vjepa2-vit-tiny", 2), batch, outputs, Dtype::F16).unwrap();
    insta::assert_snapshot!("kept-rotation", compiled(2));
    // Of one image nothing is repeated, and yet it is done alike.
    assert_eq!(compiled(1).dispatches.len(), compiled(2).dispatches.len());
}

#[test]
fn a_plan_has_one_table_of_rotations_and_none_where_nothing_turns() {
    for preset in PRESETS {
        let model = ModelConfig { depth: 2, ..preset.config().model };
        for (layers, take) in [(1, Take::Mean), (2, Take::Tokens), (1, Take::Kept(9))] {
            let plan = compile(&model, 2, Outputs { layers, take }, Dtype::F32).unwrap();
            let tables = plan.buffers.iter().filter(|buffer| matches!(buffer.role, Role::Angles { .. })).count();
            assert_eq!(tables, usize::from(model.positions == Positions::Rope), "{}: {take:?}", preset.name);
        }
    }
}

#[test]
fn an_encoder_of_one_head_has_as_few_dispatches() {
    for (name, dispatches) in [("ijepa-vit-tiny16", 7 + 4), ("vjepa2-vit-tiny", 7 + 4)] {
        let model = ModelConfig { heads: 1, dim: 64, mlp: 128, ..model(name, 1) };
        let plan = compile(&model, 2, POOLED, Dtype::F32).unwrap();
        assert_eq!(plan.dispatches.len(), dispatches, "{plan}");
    }
}

#[test]
fn what_has_no_kernel_is_named_with_what_runs_it() {
    let refused = |spoil: &dyn Fn(&mut Node)| {
        let mut recorded = import::capture(&model("vjepa2-vit-tiny", 1), 1, POOLED).unwrap();
        recorded.nodes.iter_mut().for_each(spoil);
        let error = schedule::schedule(&passes::run(&recorded), Dtype::F32).unwrap_err();
        format!("{error}; {}", error.remedy().unwrap())
    };
    let said = [
        refused(&|node| {
            if node.op == Op::Permute(vec![0, 2, 4, 6, 1, 3, 5, 7]) {
                node.op = Op::Permute(vec![0, 2, 4, 6, 3, 1, 5, 7]);
            }
        }),
        refused(&|node| {
            if let Op::Angles { .. } = node.op {
                node.op = Op::Parameter("angles".into());
            }
        }),
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    there is no kernel for %21, permute [0, 2, 4, 6, 3, 1, 5, 7] -> [1, 8, 16, 16, 3, 2, 16, 16]; run it with `--engine burn`
    there is no kernel for %25, slice axis 2, 0 to 384 -> [1, 2048, 384]; run it with `--engine burn`
    ");
}

#[test]
fn the_plan_of_every_preset_is_known() {
    for preset in PRESETS {
        let plan = compile(&preset.config().model, 1, POOLED, Dtype::F32).unwrap();
        assert_eq!(plan.dispatches.len(), 7 * preset.config().model.depth + 4, "{}", preset.name);
        insta::assert_snapshot!(format!("plan-{}", preset.name), plan);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan, "{}", preset.name);
    }
}

/// Of one block: each more adds the same nodes, and their plans are known whole.
#[test]
fn the_recognised_graph_of_every_preset_is_known() {
    for preset in PRESETS {
        let graph = |depth| graph_of(&model(preset.name, depth), 1, POOLED).unwrap();
        let one = graph(1);
        let [two, three] = [2, 3].map(|depth| graph(depth).nodes.len());
        assert_eq!(three - two, two - one.nodes.len(), "{}", preset.name);
        insta::assert_snapshot!(format!("graph-{}", preset.name), one);
    }
}

#[test]
fn what_each_dispatch_of_some_presets_costs_is_known() {
    for (name, dtype) in [
        ("animals28", Dtype::F32),
        ("ijepa-vit-b16", Dtype::F32),
        ("ijepa-vit-b16", Dtype::F16),
        ("vjepa-vit-h16-384", Dtype::F16),
        ("vjepa2-vit-l", Dtype::F16),
    ] {
        let plan = compile(&Preset::find(name).unwrap().config().model, 1, POOLED, dtype).unwrap();
        insta::assert_snapshot!(format!("costs-{name}-{dtype}"), costs(&plan));
    }
}

/// A line for each kind of dispatch: how often it runs, and of one its arithmetic, its traffic and its launch.
fn costs(plan: &Plan) -> String {
    let mut kinds: Vec<(usize, String)> = Vec::new();
    for dispatch in &plan.dispatches {
        let stored: Vec<Dtype> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
        let shader = wgsl::shader(&dispatch.kernel, &stored, None).unwrap();
        let kind = format!(
            "{:44} {:10.3} {:9.3} {:8} {:9} {:10}  {}",
            dispatch.kernel.to_string(),
            dispatch.kernel.flops() as f64 / 1e6,
            plan.traffic(dispatch) as f64 / f64::from(1 << 20),
            stored.len(),
            shader.workgroup_bytes,
            shader.workgroups.iter().product::<u32>(),
            shader.permutation,
        );
        match kinds.iter_mut().find(|(_, known)| *known == kind) {
            Some((times, _)) => *times += 1,
            None => kinds.push((1, kind)),
        }
    }
    let heads = ["kernel", "MFLOP", "MiB", "bindings", "wg bytes", "workgroups"];
    let [kernel, flops, bytes, bindings, memory, groups] = heads;
    let mut text = format!("times {kernel:44} {flops:>10} {bytes:>9} {bindings} {memory:>9} {groups:>10}  shader");
    kinds.iter().for_each(|(times, kind)| text += &format!("\n{times:5} {kind}"));
    let traffic: usize = plan.dispatches.iter().map(|dispatch| plan.traffic(dispatch)).sum();
    let (flops, bytes) = (plan.flops() as f64, traffic as f64);
    let totals = (plan.dispatches.len(), flops / 1e9, bytes / f64::from(1 << 20), flops / bytes);
    text + &format!(
        "\n{} dispatches, {:.2} GFLOP, {:.1} MiB, {:.0} FLOP a byte",
        totals.0, totals.1, totals.2, totals.3
    )
}

#[test]
fn a_batch_that_does_not_fit_is_halved_until_it_does() {
    let model = model("ijepa-vit-tiny16", 1);
    // An image's hidden values in f32.
    let image = 196 * 768 * 4;
    for (images, bound) in [(7, 7 * image), (4, 7 * image - 1), (4, 4 * image), (2, 3 * image), (1, image), (1, 0)] {
        let plan = compile(&model, 7, POOLED, Dtype::F32).unwrap().within(bound);
        assert_eq!(plan, compile(&model, images, POOLED, Dtype::F32).unwrap(), "{bound} bytes");
    }
}

#[test]
fn buffers_of_one_slot_are_never_alive_at_once() {
    for (name, layers, take) in [
        ("ijepa-vit-tiny16", 1, Take::Mean),
        ("ijepa-vit-tiny16", 4, Take::Tokens),
        ("animals28", 4, Take::Mean),
        ("vjepa2-vit-tiny", 4, Take::Tokens),
    ] {
        let plan =
            compile(&Preset::find(name).unwrap().config().model, 3, Outputs { layers, take }, Dtype::F32).unwrap();
        let mut holders: std::collections::HashMap<usize, BufferId> = Default::default();
        for dispatch in &plan.dispatches {
            let [reads @ .., write] = &dispatch.operands[..] else { panic!("{} writes nothing", dispatch.label) };
            for read in reads {
                if let Role::Scratch { slot } = plan.buffer(*read).role {
                    assert_eq!(holders.get(&slot), Some(read), "{} reads what is no longer there", dispatch.label);
                }
                let apart = match (&plan.buffer(*read).role, &plan.buffer(*write).role) {
                    (Role::Scratch { slot: a }, Role::Scratch { slot: b }) => a != b,
                    _ => read != write,
                };
                assert!(apart, "{} writes what it reads", dispatch.label);
            }
            if let Role::Scratch { slot } = plan.buffer(*write).role {
                holders.insert(slot, *write);
            }
        }
    }
}

#[test]
fn no_plan_stores_scores() {
    for preset in PRESETS {
        let model = ModelConfig { depth: 1, ..preset.config().model };
        let twice = ModelConfig { image_size: 2 * model.image_size, ..model.clone() };
        for take in [Take::Mean, Take::Tokens] {
            let plan = |model: &ModelConfig| compile(model, 1, Outputs { layers: 1, take }, Dtype::F32).unwrap();
            let (plan, larger) = (plan(&model), plan(&twice));
            assert_eq!(plan.buffers.len(), larger.buffers.len(), "{}", preset.name);
            // Four times the tokens take four times the memory; scores, a value for each two tokens, would take sixteen.
            for (buffer, larger) in plan.buffers.iter().zip(&larger.buffers) {
                assert!(larger.len() <= 4 * buffer.len(), "{}: {} {:?}", preset.name, buffer.label, larger.shape);
            }
        }
    }
}
