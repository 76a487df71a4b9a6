//! What a save asks of the operating system, in order: each file synced before it has its name.

use std::fs;
use std::process::Command;

use super::runs::Runs;

#[test]
fn a_save_asks_the_system_to_sync_every_file_before_it_has_its_name_and_removes_last() {
    let runs = Runs::new();
    let (library, log) = (runs.at("calls.so"), runs.at("calls"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reliability/calls.c");
    // What links Rust programs compiles this one file.
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

    let output = runs.command("run", "", &[]).env("LD_PRELOAD", &library).env("CALLS", &log).output().unwrap();
    let ended = runs.ended(output);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let calls = fs::read_to_string(log).unwrap().replace(runs.at("run").to_str().unwrap(), "RUN");
    let calls = calls.replace("RUN/checkpoints/step-00000008.partial", "ASIDE").replace('\t', " ");
    let calls: Vec<&str> = calls.lines().map(str::trim_end).collect();
    assert!(!calls.is_empty(), "no call went through {}: the program is not linked with glibc", library.display());
    // The last save, from the first file that it syncs.
    let start = calls.iter().position(|call| call.contains("ASIDE")).unwrap();
    let logs = calls[..start].iter().rposition(|call| !call.starts_with("sync RUN/")).unwrap();
    insta::with_settings!({filters => vec![(r"tfevents\.\S+", "tfevents.*")]}, {
        insta::assert_snapshot!(calls[logs + 1..].join("\n"), @r"
        sync RUN/metrics.jsonl
        sync RUN/events.out.tfevents.*
        sync RUN/skipped.jsonl
        sync ASIDE/encoder.safetensors
        sync ASIDE/predictor.safetensors
        sync ASIDE/target_encoder.safetensors
        sync ASIDE/optimizer.safetensors
        sync ASIDE/state.json.partial
        rename ASIDE/state.json.partial ASIDE/state.json
        sync ASIDE
        sync ASIDE/manifest.json.partial
        rename ASIDE/manifest.json.partial ASIDE/manifest.json
        sync ASIDE
        rename ASIDE RUN/checkpoints/step-00000008
        sync RUN/checkpoints
        sync RUN/latest.partial
        rename RUN/latest.partial RUN/latest
        sync RUN
        remove RUN/checkpoints/step-00000003/encoder.safetensors
        remove RUN/checkpoints/step-00000003/predictor.safetensors
        remove RUN/checkpoints/step-00000003/target_encoder.safetensors
        remove RUN/checkpoints/step-00000003/optimizer.safetensors
        remove RUN/checkpoints/step-00000003/state.json
        remove RUN/checkpoints/step-00000003/manifest.json
        ");
    });
}
