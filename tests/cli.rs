//! The command line's texts: help, exit codes, and what common mistakes are answered with.

use assert_cmd::Command;

fn anyjepa(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("anyjepa").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().env("NO_COLOR", "1").env("COLUMNS", "100");
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_explains_itself() {
    let (code, top, _) = anyjepa(&["--help"]);
    assert_eq!(code, 0);
    let mut texts = vec![top.clone()];
    let commands = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let (code, help, _) = anyjepa(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        texts.push(format!("$ anyjepa {command} --help\n{help}"));
    }
    for [command, below] in [["probe", "linear"], ["probe", "knn"], ["probe", "attentive"], ["demo", "video"]] {
        let (code, help, _) = anyjepa(&[command, below, "--help"]);
        assert_eq!(code, 0, "{command} {below}");
        texts.push(format!("$ anyjepa {command} {below} --help\n{help}"));
    }
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn mistakes_are_answered_with_cause_remedy_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let html = path("page.jpg", "<html>no picture</html>");
    let weights = path("weights.safetensors", "no weights");
    let pickle = path("weights.pth.tar", "no pickle");
    let toml = path("run.toml", "preset = \"animals28\"\n[optim]\nlearning_rate = 1.0\n");
    let broken = path("broken.toml", "[optim\n");
    let case = folder.path().join("case");
    std::fs::create_dir(&case).unwrap();
    std::fs::write(case.join("config.json"), "{\"kind\": ").unwrap();
    let case = case.to_str().unwrap().to_owned();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let data = "examples/data/animals28";
    let mistakes: &[&[&str]] = &[
        &["trian"],
        &["train"],
        &["train", "animals28", "--data", "nowhere", "--out", &out],
        &["train", "animals29", "--data", data, "--out", &out],
        &["train", "animals28", "--data", data, "--out", &out, "--set", "lr=1"],
        &["train", "animals28", "--data", data, "--out", &out, "--set", "optim.lr=fast"],
        &["train", "animals28", "--data", data, "--out", &out, "--set", "train.batch=0"],
        &["train", "animals28", "--data", data, "--out", &out, "--set", "train.batch=100000"],
        &["train", "animals28", "--data", data, "--out", &out, "--device", "gpu"],
        &["train", "animals28", "--data", data, "--out", &out, "--device", "cpu:1"],
        &["train", "animals28", "--data", &html, "--out", &out],
        &["train", "--config", &toml, "--data", data, "--out", &out],
        &["train", "--config", &broken, "--data", data, "--out", &out],
        &["verify"],
        &["verify", "nowhere"],
        &["verify", "examples"],
        &["verify", &case],
        &["plan"],
        &["plan", "ijepa-vit-h14", "--set", "mask.short.num_blocks=3"],
        &["plan", "ijepa-vit-h14", "--memory", "much"],
        &["plan", "ijepa-vit-h14", "--gpus", "0"],
        &["masks", "animals28", "--mode", "blocky", "--out", &out],
        &["masks", "animals28", "--data", &html, "--out", &out],
        &["inspect", "nowhere"],
        &["inspect", "animals28", "--verify"],
        &["inspect", "tests/fixtures/features/npy", "--model", "animals28"],
        &["inspect", &toml],
        &["inspect", &weights],
        &["inspect", &pickle],
        &["export", "nowhere", "--out", &out],
        &["extract", "nowhere", "--weights", &weights, "--out", &out],
        &["demo", "--data", "nowhere"],
        &["probe", "attentive", "--test", "nowhere"],
    ];
    let answers: Vec<String> = mistakes
        .iter()
        .map(|arguments| {
            let (code, stdout, stderr) = anyjepa(arguments);
            assert!(stdout.is_empty(), "{arguments:?} printed a result: {stdout}");
            assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
            // Of missing arguments clap says enough itself.
            let remedied = ["help: ", "tip: ", "Usage: "].iter().any(|mark| stderr.contains(mark));
            assert!(remedied, "{arguments:?} is answered without a remedy: {stderr}");
            format!("$ anyjepa {}\n{stderr}\nexit code {code}", arguments.join(" "))
        })
        .collect();
    let text = answers.join("\n\n").replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(text);
}

#[test]
fn the_masks_that_are_drawn_are_cut_as_those_of_the_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |mode: &str, batch: &str| {
        let out = folder.path().join(format!("{mode}-{batch}"));
        let (code, _, said) =
            anyjepa(&["masks", "ijepa-vit-b16", "--mode", mode, "--batch", batch, "--out", out.to_str().unwrap()]);
        assert_eq!(code, 0, "{said}");
        std::fs::read(out.join("masks.png")).unwrap()
    };
    // The published sampler cuts all masks of a batch to the smallest, the unbiased one does not.
    assert!(drawn("reference", "8") != drawn("reference", "512"));
    assert!(drawn("unbiased", "8") == drawn("unbiased", "512"));
}

#[test]
fn random_tubes_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("masks").display().to_string();
    let random = ["masks", "vjepa-vit-tiny16", "--batch", "2", "--set", "mask.mode=random", "--out", &out];
    let (code, table, said) = anyjepa(&random);
    assert!(code == 0 && table.contains("tokens of a mask, random tubes"), "{table}{said}");
    let (_, json, _) = anyjepa(&[&random[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["passes"].as_array().unwrap().len(), &json["passes"][0]["range"]), (1, &"random".into()));
}

#[test]
fn the_shell_gets_completions_and_a_manual_page() {
    let (code, completions, _) = anyjepa(&["completions", "bash"]);
    assert!(code == 0 && completions.contains("_anyjepa"));
    let (code, page, _) = anyjepa(&["man"]);
    assert!(code == 0 && page.contains(".TH anyjepa "));
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = anyjepa(&["man", "--out", folder.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let of_train = std::fs::read_to_string(folder.path().join("anyjepa-train.1")).unwrap();
    assert!(of_train.contains("\\-\\-data") && page.contains(&of_train), "{of_train}");
    assert!(folder.path().join("anyjepa-probe-linear.1").exists());
}
