//! `anyjepa bench` as other tools call it: its JSON and its mistakes.

#[path = "support/gpu.rs"]
mod gpu;

use assert_cmd::Command;
use serde_json::Value;

fn anyjepa(words: &str) -> Command {
    let mut command = Command::cargo_bin("anyjepa").unwrap();
    command.args(words.split(' ')).env("NO_COLOR", "1").env_remove("ANYJEPA_DEVICE");
    command
}

fn measured(words: &str) -> Value {
    let output = anyjepa(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number > 0.0, "{number}");
    number
}

#[test]
fn the_numbers_at_the_head_are_those_of_a_single_case() {
    let result = measured("bench extract --quick --batch 2 --reps 1 --json");
    let [case] = result["cases"].as_array().unwrap().as_slice() else { panic!("one case: {result}") };
    for key in ["images_per_second", "gflops", "share_of_peak", "median_s"] {
        let (head, own) = (positive(&result[key]), positive(&case[key]));
        assert!((head / own - 1.0).abs() < 1e-9, "{key}: {head} and {own}");
    }
    assert_eq!(result["cpu_median_s"], case["cpu_median_s"]);
    assert_eq!(positive(&result["peak_gflops"]), positive(&result["peak"]["gflops"]));
    assert_eq!(result["peak"]["product"], Value::Null, "fused multiply-adds alone");
    assert_eq!(
        (&case["work"], &case["model"], &case["batch"]),
        (&"extract".into(), &"ijepa-vit-tiny16".into(), &2.into())
    );
    let rate = positive(&case["images_per_second"]) * positive(&case["gflop_per_image"]);
    assert!((rate / positive(&case["gflops"]) - 1.0).abs() < 1e-9);
    // 12 blocks of width 192 over 196 tokens: 2 * 196 * (768 * 192 + 12 * (12 * 192^2 + 2 * 196 * 192)).
    assert!((positive(&case["gflop_per_image"]) - 2.492_743_68).abs() < 1e-6, "{case}");
}

#[test]
fn without_a_word_both_are_measured_and_the_head_is_one_pass_through_all() {
    let result = measured("bench --quick --reps 1 --warm-up 0 --json");
    let cases = result["cases"].as_array().unwrap();
    let works: Vec<_> =
        cases.iter().map(|case| (case["work"].as_str().unwrap(), case["batch"].as_u64().unwrap())).collect();
    assert_eq!(works, [("extract", 1), ("extract", 4), ("train", 2)]);
    let engines: Vec<_> = cases.iter().map(|case| case["engine"].as_str().unwrap()).collect();
    assert_eq!(engines, ["compiled", "compiled", "burn"]);
    let seconds: f64 = cases.iter().map(|case| positive(&case["median_s"])).sum();
    assert!((positive(&result["images_per_second"]) - 7.0 / seconds).abs() < 1e-6);
    assert!(positive(&cases[2]["context_tokens"]) > positive(&cases[2]["target_tokens"]));
}

#[test]
fn the_engine_can_be_chosen_and_ours_knows_bf16_on_the_processor() {
    let case = |words: &str| {
        let result = measured(&format!("bench extract --quick --batch 1 --reps 1 --warm-up 0 --json {words}"));
        let said = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let peak = &result["peak"]["product"];
        [&result["cases"][0]["engine"], &result["cases"][0]["precision"], &peak["engine"]].map(said)
    };
    assert_eq!(case("--engine burn"), ["burn", "f32", "none"]);
    assert_eq!(case("--precision bf16"), ["compiled", "bf16", "compiled"]);
    assert_eq!(case("--precision bf16 --engine burn"), ["burn", "bf16", "compiled"]);
}

#[test]
fn f16_is_measured_on_a_vulkan_adapter_beside_a_product_of_f16() {
    if !gpu::wanted("no Vulkan adapter was measured") {
        return;
    }
    let result = measured(
        "bench extract --quick --model animals28 --batch 2 --reps 1 --warm-up 0 --precision f16 --device vulkan --kernels \
         --json",
    );
    let (case, peak) = (&result["cases"][0], &result["peak"]);
    assert_eq!((&case["engine"], &peak["product"]["engine"]), (&"compiled_f16".into(), &"compiled_f16".into()));
    assert_eq!((&case["precision"], &peak["precision"]), (&"f16".into(), &"f16".into()));
    assert!(positive(&peak["product"]["side"]) >= 512.0);
    assert_eq!(positive(&result["peak_gflops"]), positive(&peak["gflops"]));
    positive(&case["images_per_second"]);
    kernels(case, 32, "matmul_");
}

/// Checks the times of each kind of dispatch, of which a plan has `dispatches`; names of the products' shaders begin with
/// `shader`, or there are none.
fn kernels(case: &Value, dispatches: usize, shader: &str) {
    let kinds = case["kernels"].as_array().unwrap();
    let sum: f64 = kinds.iter().map(|kind| positive(&kind["dispatches"])).sum();
    assert_eq!(sum, dispatches as f64, "{kinds:?}");
    let products: Vec<&Value> = kinds.iter().filter(|kind| kind["kernel"].to_string().contains("matmul")).collect();
    assert_eq!(products.len(), 5, "{kinds:?}");
    for product in products {
        assert!(product["shader"].as_str().unwrap_or_default().starts_with(shader), "{product}");
        assert_eq!(product["shader"].is_null(), shader.is_empty(), "{product}");
        ["seconds", "gflops", "gigabytes_per_second"].iter().for_each(|key| assert!(positive(&product[*key]) > 0.0));
    }
}

#[test]
fn each_kind_of_dispatch_is_timed_where_it_is_asked_for() {
    let words = "bench extract --quick --model animals28 --batch 2 --reps 2 --warm-up 0 --json";
    let plain = measured(words);
    assert!(plain["cases"][0]["kernels"].is_null());
    assert!(positive(&plain["cases"][0]["cold_start_s"]) > positive(&plain["cases"][0]["first_s"]));
    kernels(&measured(&format!("{words} --kernels"))["cases"][0], 32, "");
}

#[test]
fn clips_are_measured_compiled() {
    let result = measured("bench extract --quick --model vjepa-vit-tiny16 --batch 1 --reps 1 --warm-up 0 --json");
    let case = &result["cases"][0];
    assert_eq!((&case["engine"], &case["tokens"]), (&"compiled".into(), &1568.into()));
    assert!(positive(&case["images_per_second"]) > 0.0);
}

#[test]
fn mistakes_end_with_a_remedy_and_the_exit_code_of_usage() {
    let said = |words: &str| {
        let output = anyjepa(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("bench extract --model ijepa-vit-b61").contains("did you mean `ijepa-vit-b16`?"));
    assert!(said("bench extract --batch 0").contains("0 is not in 1.."));
    assert!(said("bench train --engine compiled").contains("leave out --engine"));
    assert!(said("bench train --precision f16 --device vulkan").contains("bench extract --precision f16"));
    assert!(said("bench extract --precision f16").contains("--device vulkan"));
    assert!(said("bench extract --engine compiled --precision bf16 --device vulkan").contains("--engine burn"));
}
