//! Compiled encoders give the golden values of the original PyTorch code, on the CPU and on a Vulkan adapter.

use std::path::Path;

use anyjepa::device::Spec;
use anyjepa::verify::verify_compiled;

/// Cases of encoders that every engine takes.
const CASES: [&str; 3] = ["ijepa_p16", "ijepa_eps", "hf_ijepa"];
/// Cases whose heads have 6 values: no shader takes them.
const NARROW: [&str; 2] = ["ijepa_p14", "hf_export"];

fn check(device: &str, cases: &[&str]) -> String {
    let device: Spec = device.parse().unwrap();
    let mut said = Vec::new();
    for case in cases {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(case);
        let report = verify_compiled(&folder, device).unwrap();
        for tensor in &report.tensors {
            assert!(
                tensor.passed,
                "{case} on {device}: {}: max abs {:.2e}, {:?}",
                tensor.name, tensor.max_abs, tensor.problem
            );
        }
        let names: Vec<&str> = report.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        said.push(format!("{case}: {}", names.join(", ")));
    }
    said.join("\n")
}

#[test]
fn the_forward_pass_on_the_cpu_equals_the_reference() {
    insta::assert_snapshot!(format!("{}\n{}", check("cpu", &CASES), check("cpu", &NARROW)));
}

#[test]
fn the_forward_pass_on_a_vulkan_adapter_equals_the_reference() {
    if std::env::var("ANYJEPA_TEST_GPU").as_deref() == Ok("skip") {
        eprintln!("SKIPPED: ANYJEPA_TEST_GPU=skip, so no Vulkan adapter was compared with the reference");
        return;
    }
    assert_eq!(check("vulkan", &CASES), check("cpu", &CASES));
    for case in NARROW {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(case);
        let error = verify_compiled(&folder, "vulkan".parse().unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("heads are of a multiple of 8, up to 128"), "{case}: {error}");
    }
}
