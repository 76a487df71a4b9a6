//! What is said of an extraction: skips, results and mistakes.

use std::fs;

use anyjepa::extract::{FeatureSet, INDEX_FILE};
use assert_cmd::Command;

use super::{command, extracted, photos, root, run, weights_folder};

#[test]
fn what_cannot_be_read_is_skipped_with_its_reason_and_too_much_of_it_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("features");
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "not a picture").unwrap();
    let bad = bad.display().to_string();
    let output = command(&out, &["astronaut.png", &bad, "rocket.jpg", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["inputs"], &json["rows"], &json["skipped"]), (&3.into(), &2.into(), &1.into()));
    let said = String::from_utf8(output.stderr).unwrap().replace(&folder.path().display().to_string(), "T");
    insta::assert_snapshot!(said, @"
    error: 1 of 3 inputs could not be read, more than 1 %
      help: T/features/skipped.jsonl says why; --max-bad permits a larger share
    ");
    let skipped = fs::read_to_string(out.join("skipped.jsonl")).unwrap();
    insta::assert_snapshot!(skipped.replace(&folder.path().display().to_string(), "T"), @r#"{"sample":1,"name":"T/bad.png","reason":"not_an_image","detail":"the first bytes are of no known picture format"}"#);
    assert_eq!(FeatureSet::open(&out).unwrap().inputs, [0, 2]);
    let permitted = ["astronaut.png", &bad, "rocket.jpg", "--resume", "--max-bad", "0.4"];
    assert_eq!(extracted(&out, &permitted).inputs, [0, 2]);
    let (code, _) = run(&folder.path().join("nothing"), &[&bad, "--max-bad", "0.99"]);
    assert_eq!(code, 3);
}

#[test]
fn a_bad_picture_that_is_listed_often_counts_as_often() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "not a picture").unwrap();
    let list = [vec![bad.display().to_string(); 6], vec!["rocket.jpg".to_owned(); 5]].concat().join("\n");
    for (share, expected) in [("0.5", 3), ("0.6", 0)] {
        let mut command = command(&folder.path().join(share), &["-", "--max-bad", share, "--json"]);
        let output = command.write_stdin(list.clone()).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{share}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["inputs"], &json["rows"], &json["skipped"]), (&11.into(), &5.into(), &6.into()));
    }
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_not_utf_8_is_told_in_json() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(std::ffi::OsStr::from_bytes(b"f\xffatures"));
    let output = command(&out, &["rocket.jpg", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["out"].as_str().unwrap().ends_with("/f\u{fffd}atures"));
}

#[test]
fn quiet_leaves_results_and_errors_and_verbose_adds_to_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = |flag: &[&str]| {
        let mut command = Command::cargo_bin("anyjepa").unwrap();
        command.current_dir(photos()).env_remove("ANYJEPA_LOG").args(["extract", "rocket.jpg", "--weights"]);
        let out = folder.path().join(format!("out{}", flag.concat()));
        let output = command.arg(weights_folder()).arg("--out").arg(&out).args(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let result = String::from_utf8(output.stdout).unwrap().replace(&out.display().to_string(), "OUT");
        assert!(result.starts_with("OUT: 1 rows of 1 x 24 values in 1 shards of safetensors; "), "{flag:?}: {result}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(&["-q"]), "");
    let usual = said(&[]);
    assert!(usual.contains("1 picture, on cpu") && !usual.contains("are on disk"), "{usual}");
    let verbose = said(&["-v"]);
    assert!(verbose.contains("1 picture, on cpu") && verbose.contains("rows 0 to 1 are on disk"), "{verbose}");
    let mut quiet = command(&folder.path().join("missing"), &["nowhere"]);
    let output = quiet.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: nowhere does not exist\n  help: "));
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (done, other) = (path("done"), path("other"));
    extracted(&done, &["."]);
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "").unwrap();
    let inputs = |arguments: &'static [&'static str]| arguments;
    let cases = [
        (&done, inputs(&["."])),
        (&done, inputs(&["astronaut.png", "--resume"])),
        (&done, inputs(&[".", "--resume", "--layers", "-2.."])),
        (&done, inputs(&[".", "--resume", "--format", "npy"])),
        (&done, inputs(&[".", "--resume", "--precision", "bf16"])),
        (&other, inputs(&["."])),
        (&other, inputs(&[".", "--resume"])),
        (&path("new"), inputs(&["nowhere"])),
        (&path("new"), inputs(&["*.nothing"])),
        (&path("new"), inputs(&["-"])),
        (&path("new"), inputs(&["-", "rocket.jpg"])),
        (&path("new"), inputs(&[".", "--layers", "-3.."])),
        (&path("new"), inputs(&[".", "--layers", "4"])),
        (&path("new"), inputs(&[".", "--batch", "0"])),
        (&path("new"), inputs(&[".", "--precision", "f16"])),
        (&path("new"), inputs(&[".", "--precision", "bf16", "--device", "vulkan"])),
        (&path("new"), inputs(&[".", "--precision", "bf16", "--engine", "burn"])),
        (&path("new"), inputs(&[".", "--precision", "f16", "--device", "cuda"])),
        (&path("new"), inputs(&[".", "--max-bad", "2"])),
        (&path("new"), inputs(&[".", "--model", "ijepa-vit-h14"])),
        (&path("new"), inputs(&[".", "--format", "parquet", "--dtype", "f16"])),
    ];
    let mut said = String::new();
    for (out, arguments) in cases {
        let (code, error) = run(out, arguments);
        let error = error.replace(&folder.path().display().to_string(), "T");
        let error = error.replace(&root().display().to_string(), ".");
        let error = error.split("\n\nFor more").next().unwrap();
        said += &format!("{}\n{code}: {}\n\n", arguments.join(" "), error.trim_end());
    }
    insta::assert_snapshot!(said);
    assert!(!path("new").join(INDEX_FILE).exists());
}
