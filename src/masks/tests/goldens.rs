//! The published code's masks, bit for bit, and its search for a context that keeps enough.

use super::super::draft::Draft;
use super::super::goldens::{Goldens, published};
use super::super::grid::{Draws, Size, Sizes, TokenSet};
use super::super::{BlockConfig, reference};
use super::{differences, fixture};

/// Gives the draws of a list, in turn.
struct Script(std::vec::IntoIter<usize>);

impl Draws for Script {
    fn below(&mut self, n: usize) -> usize {
        let draw = self.0.next().expect("the script has a draw left");
        assert!(draw < n);
        draw
    }
}

#[test]
fn draws_block_sizes_and_whole_masks_equal_the_published_codes() {
    let goldens: Goldens = fixture("rng_goldens.json");
    let samples = goldens.compare().unwrap();
    assert_eq!(
        samples.len(),
        3 + 3 * 2 + 2 + 2 * 2,
        "draws, sizes, the masks of three batches, and those of two ranges"
    );
    assert_eq!(differences(&samples), "");
}

#[test]
fn after_twenty_failures_the_last_target_may_overlap_the_context() {
    let config = BlockConfig { targets: 2, min_keep: 3, ..published() };
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
    let config = BlockConfig { targets: 3, min_keep: 1000, ..published() };
    let all = Size { h: 2, w: 2 };
    // Two draws a target and two a try: 20 tries for each target, then one more.
    let mut script = Script(vec![0; 3 * 2 + 3 * 20 * 2 + 2].into_iter());
    let mut draft = Draft::new(1, 3);
    let mut set = TokenSet::new(3);
    reference::place(&config, Sizes { target: all, context: all }, &mut script, &mut set, &mut draft);
    assert_eq!(script.0.len(), 0);
    assert_eq!(draft.finish().context[0].row(0), [0, 1, 3, 4]);
}
