//! Compiled encoders give the golden values of the original PyTorch code, on the CPU and on a Vulkan adapter.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::Path;

use anyjepa::device::Spec;
use anyjepa::verify::verify_compiled;

/// Cases of encoders of pictures and clips; heads of `ijepa_p14` and `hf_export` have 6 values, those of `vjepa` 10.
const CASES: [&str; 8] =
    ["ijepa_p16", "ijepa_eps", "hf_ijepa", "ijepa_p14", "hf_export", "vjepa", "vjepa_image", "hf_vjepa2"];

fn check(device: &str) -> String {
    let device: Spec = device.parse().unwrap();
    let mut said = Vec::new();
    for case in CASES {
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
    insta::assert_snapshot!(check("cpu"));
}

#[test]
fn the_forward_pass_on_a_vulkan_adapter_equals_the_reference() {
    if !gpu::wanted("no Vulkan adapter was compared with the reference") {
        return;
    }
    assert_eq!(check("vulkan"), check("cpu"));
}
