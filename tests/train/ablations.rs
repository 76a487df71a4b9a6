//! The ablations of V-JEPA by configuration: pixels as targets, random tubes, one range of masks alone.

use std::fs;

use anyjepa::config::{Grid, RunConfig};
use anyjepa::masks::{MaskSampler, Masks};

use super::runs::{STEPS, Train};

const PIXELS: &str = "loss.target=pixels";

/// Trains with these keys; gives the losses.
fn losses(train: &Train, out: &str, sets: &[&str]) -> Vec<f64> {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let (code, said) = train.run(out, &sets);
    assert_eq!(code, 0, "{out}: {said}");
    let losses: Vec<f64> = train.metrics(out).iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    assert!(losses.len() == STEPS && losses.iter().all(|loss| loss.is_finite() && *loss > 0.0), "{out}: {losses:?}");
    losses
}

/// The grid of a run, and the masks of its first step, by the configuration that it has written down.
fn masks(train: &Train, out: &str) -> (Grid, Vec<Masks>) {
    let config = RunConfig::from_toml(&fs::read_to_string(train.at(out).join("config.toml")).unwrap()).unwrap();
    let sampler = MaskSampler::new(&config.mask, config.model.grid()).unwrap();
    (config.model.grid(), sampler.sample(config.train.seed, 0, &[0, 1, 2, 3]))
}

#[test]
fn every_ablation_trains_with_its_own_masks_and_on_a_loss_of_its_own() {
    let train = Train::of_clips();
    let runs = [
        ("default", &[][..]),
        ("pixels", &[PIXELS]),
        ("random", &["mask.mode=random"]),
        ("short", &["mask.long.num_blocks=0"]),
        ("long", &["mask.short.num_blocks=0"]),
    ];
    let found = runs.map(|(out, sets)| (losses(&train, out, sets), masks(&train, out).1));
    for ((out, _), (losses, passes)) in runs.iter().zip(&found) {
        // All networks begin alike, so that the first losses tell masks and targets apart.
        let alike = found.iter().filter(|(other, _)| other[0] == losses[0]).count();
        assert_eq!(alike, 1, "{out}: another run begins with the loss {}", losses[0]);
        let kept = |context: bool| -> usize {
            passes.iter().map(|pass| if context { pass.context[0].keep } else { pass.targets[0].keep }).sum()
        };
        let line = &train.metrics(out)[0];
        assert_eq!(
            (&line["context_tokens"], &line["target_tokens"]),
            (&kept(true).into(), &kept(false).into()),
            "{out}"
        );
    }
    let [(_, default), (_, pixels), (_, random), (_, short), (_, long)] = &found;
    let ranges = |passes: &[Masks]| passes.iter().map(|pass| pass.range).collect::<Vec<_>>();
    assert_eq!([default, random, short, long].map(|passes| ranges(passes)), [vec![0, 1], vec![0], vec![0], vec![1]]);
    // Other targets at the same places; the first of two ranges as it is beside the second.
    assert!(pixels == default && *short == default[..1]);
}

#[test]
fn random_tubes_of_a_run_are_scattered_places_that_last_as_long_as_the_clip() {
    let train = Train::of_clips();
    losses(&train, "random", &["mask.mode=random"]);
    let (grid, passes) = masks(&train, "random");
    let (context, target) = (&passes[0].context[0], &passes[0].targets[0]);
    // A tenth of 16 places is 1.6.
    assert_eq!((grid.time, grid.area(), context.keep, target.keep), (2, 16, 2 * 2, 2 * 14));
    let rows: Vec<&[u32]> = (0..4).map(|row| context.row(row)).collect();
    for (row, seen) in rows.iter().enumerate() {
        let [first, second] = [&seen[..2], &seen[2..]];
        assert!(first.iter().map(|place| place + 16).eq(second.iter().copied()), "{seen:?}");
        assert!(target.row(row).iter().all(|token| !seen.contains(token)));
    }
    assert!(rows.iter().any(|row| *row != rows[0]), "every clip shows the same places: {rows:?}");
}

#[test]
fn pixels_as_targets_know_nothing_of_the_target_encoder() {
    let train = Train::of_clips();
    // A target encoder that never moves, and one that is the encoder.
    let [still, moved] = ["optim.ema=[1.0, 1.0]", "optim.ema=[0.0, 0.0]"];
    let of = |name: &str, sets: &[&str]| {
        [still, moved].map(|ema| losses(&train, &format!("{name} {ema}"), &[sets, &[ema]].concat()))
    };
    let [still_pixels, moved_pixels] = of("pixels", &[PIXELS]);
    assert_eq!(still_pixels, moved_pixels);
    // Of features only the first loss is, before the encoder has learnt.
    let [still_features, moved_features] = of("features", &[]);
    assert_eq!(still_features[0], moved_features[0]);
    assert!(still_features[1..].iter().zip(&moved_features[1..]).all(|(still, moved)| still != moved));
}
