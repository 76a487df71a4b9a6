//! Every reference case passes: the numbers of this crate are those of the original PyTorch code.

use std::path::Path;

use anyjepa::device::{self, Spec};
use anyjepa::verify::verify;

fn check(case: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(case);
    let device = device::open("cpu".parse::<Spec>().unwrap()).unwrap();
    let report = verify(&folder, &device).unwrap();
    let failed: Vec<String> = report
        .tensors
        .iter()
        .filter(|tensor| !tensor.passed)
        .map(|t| format!("{}: max abs {:.2e}, {}, {:?}", t.name, t.max_abs, t.tolerance, t.problem))
        .collect();
    assert!(report.passed(), "{case}: {} of {} fail\n{}", failed.len(), report.tensors.len(), failed.join("\n"));
}

#[test]
fn a_training_step_with_two_context_masks_equals_the_reference() {
    check("ijepa_p16");
}

#[test]
fn a_training_step_with_another_patch_and_mlp_equals_the_reference() {
    check("ijepa_p14");
}

#[test]
fn small_variances_and_stored_position_embeddings_equal_the_reference() {
    check("ijepa_eps");
}

#[test]
fn a_model_saved_by_transformers_gives_its_features_at_every_layer_and_resolution() {
    check("hf_ijepa");
}

#[test]
fn pickles_of_both_generations_give_every_tensor_to_the_bit() {
    check("pth_formats");
}

#[test]
fn a_model_of_ours_gives_transformers_the_features_that_it_gives_here() {
    check("hf_export");
}
