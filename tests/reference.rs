//! Every reference case passes: the numbers of this crate are those of the original PyTorch code.

use std::path::Path;

use anyjepa::device::{self, Spec};
use anyjepa::verify::verify;

/// Runs a case, and gives its notes.
fn check(case: &str) -> Vec<String> {
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
    report.notes
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
fn a_training_step_over_clips_with_two_ranges_equals_the_reference() {
    check("vjepa");
}

#[test]
fn the_video_models_encoder_of_pictures_equals_the_reference() {
    check("vjepa_image");
}

#[test]
fn a_model_saved_by_transformers_gives_its_features_at_every_layer_and_resolution() {
    check("hf_ijepa");
}

#[test]
fn a_video_model_saved_by_transformers_encodes_and_predicts_with_turned_positions() {
    check("hf_vjepa2");
}

#[test]
fn the_published_attentive_probe_gives_its_scores_and_gradients_at_every_depth() {
    check("attentive");
}

#[test]
fn pickles_of_both_generations_give_every_tensor_to_the_bit() {
    check("pth_formats");
}

#[test]
fn a_model_of_ours_gives_transformers_the_features_that_it_gives_here() {
    check("hf_export");
}

#[test]
fn pictures_become_the_levels_and_inputs_of_torchvision_on_pillow() {
    check("preprocess");
}

#[test]
fn schedules_position_tables_gathering_and_draws_equal_the_reference() {
    let notes = check("misc");
    insta::assert_snapshot!(notes.join("\n"));
}

#[test]
fn an_unknown_kind_is_an_error_that_lists_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"kind": "sonata"}"#).unwrap();
    let device = device::open("cpu".parse::<Spec>().unwrap()).unwrap();
    let error = verify(folder.path(), &device).unwrap_err();
    assert!(error.to_string().ends_with("cases of the kind `sonata` are not known"), "{error}");
    let remedy = error.remedy().unwrap();
    assert_eq!(
        remedy,
        "the known kinds are ijepa, vjepa, vjepa_image, hf_ijepa, hf_vjepa2, attentive_classifier, preprocess, misc, pth_formats"
    );
}
