//! The published code's masks, bit for bit, from the Mersenne twister that PyTorch uses.

use rand_mt::Mt;

use super::super::draft::Draft;
use super::super::grid::{Draws, Size, Sizes, TokenSet};
use super::super::{IndexMask, MaskConfig, reference};
use super::{fixture, published};

impl Draws for Mt {
    fn below(&mut self, n: usize) -> usize {
        self.next_u32() as usize % n
    }
}

/// Gives the draws of a list, in turn.
struct Script(std::vec::IntoIter<usize>);

impl Draws for Script {
    fn below(&mut self, n: usize) -> usize {
        let draw = self.0.next().expect("the script has a draw left");
        assert!(draw < n);
        draw
    }
}

fn rows(masks: &[IndexMask]) -> Vec<Vec<Vec<u32>>> {
    masks.iter().map(|mask| (0..mask.batch).map(|row| mask.row(row).to_vec()).collect()).collect()
}

#[test]
fn block_sizes_equal_the_published_codes_for_each_iteration() {
    let goldens = fixture("rng_goldens.json");
    let goldens = goldens["block_sizes"].as_array().expect("a list of sizes");
    assert!(!goldens.is_empty());
    for golden in goldens {
        let size = |key: &str| {
            let [h, w]: [usize; 2] = serde_json::from_value(golden[key].clone()).expect("height and width");
            Size { h, w }
        };
        let step = golden["seed"].as_u64().expect("a seed");
        let expected = Sizes { target: size("ijepa14_pred_hw"), context: size("ijepa14_enc_hw") };
        assert_eq!(reference::sizes(&published(), 14, step), expected, "step {step}");
    }
}

#[test]
fn whole_masks_equal_the_published_codes_from_one_global_generator() {
    let goldens = fixture("rng_goldens.json");
    let goldens = &goldens["ijepa_full"];
    let number = |key: &str| goldens[key].as_u64().expect("a number");
    let config = published();
    let mut global = Mt::new(number("global_seed") as u32);
    let mut set = TokenSet::new(number("grid") as usize);
    let calls = goldens["calls"].as_array().expect("a list of batches");
    assert!(!calls.is_empty());
    for (step, call) in calls.iter().enumerate() {
        let sizes = reference::sizes(&config, set.grid(), step as u64);
        let mut draft = Draft::new(config.contexts, config.targets);
        for _ in 0..number("batch_size") {
            reference::place(&config, sizes, &mut global, &mut set, &mut draft);
        }
        let masks = draft.finish();
        let expected =
            |key: &str| serde_json::from_value::<Vec<Vec<Vec<u32>>>>(call[key].clone()).expect("lists of masks");
        assert_eq!(rows(&masks.targets), expected("masks_pred"), "targets of step {step}");
        assert_eq!(rows(&masks.context), expected("masks_enc"), "context of step {step}");
    }
}

#[test]
fn after_twenty_failures_the_last_target_may_overlap_the_context() {
    let config = MaskConfig { targets: 2, min_keep: 3, ..published() };
    let square = Size { h: 2, w: 2 };
    let (first, second) = ([0, 0], [2, 2]);
    // The context falls on the second target 20 times, then on the first, then again on the second.
    let mut script = vec![first, second];
    script.extend([second; 20]);
    script.extend([first, second]);
    let mut script = Script(script.concat().into_iter());
    let mut set = TokenSet::new(5);
    let mut draft = Draft::new(1, 2);
    reference::place(&config, Sizes { target: square, context: square }, &mut script, &mut set, &mut draft);
    assert_eq!(script.0.len(), 0, "every draw was asked for");
    assert_eq!(draft.finish().context[0].row(0), [12, 13, 17, 18]);
}

#[test]
fn a_context_that_is_hidden_for_ever_ends_with_all_targets_released() {
    let config = MaskConfig { targets: 3, min_keep: 1000, ..published() };
    let all = Size { h: 2, w: 2 };
    // Two draws a target and two a try: 20 tries for each target, then one more.
    let mut script = Script(vec![0; 3 * 2 + 3 * 20 * 2 + 2].into_iter());
    let mut draft = Draft::new(1, 3);
    let mut set = TokenSet::new(3);
    reference::place(&config, Sizes { target: all, context: all }, &mut script, &mut set, &mut draft);
    assert_eq!(script.0.len(), 0);
    assert_eq!(draft.finish().context[0].row(0), [0, 1, 3, 4]);
}
