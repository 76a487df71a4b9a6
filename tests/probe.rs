//! `anyjepa probe` over extracted features and over pictures, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use image::{Rgb, RgbImage};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn weights() -> String {
    root().join("tests/fixtures/reference/hf_ijepa").display().to_string()
}

/// Exit code, standard output and standard error.
fn anyjepa(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("anyjepa").unwrap().arg("-q").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &[&str]) -> Value {
    let (code, out, said) = anyjepa(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&out).unwrap()
}

fn probe(arguments: &[&str]) -> Value {
    json(&[&["probe"], arguments].concat())
}

fn extract(input: &Path, out: &Path, arguments: &[&str]) -> String {
    let (input, out) = (input.display().to_string(), out.display().to_string());
    let weights = weights();
    let all = [&["extract", &input, "--weights", &weights, "--out", &out], arguments].concat();
    let (code, _, said) = anyjepa(&all);
    assert_eq!(code, 0, "{said}");
    out
}

/// Pictures of one colour a class, in folders of the classes' names.
fn colours(folder: &Path, classes: &[&str], count: u8) -> PathBuf {
    for class in classes {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..count {
            let (full, rest) = (200 + i, 3 * i);
            let colour = match *class {
                "ant" => [full, rest, rest],
                "bee" => [rest, full, rest],
                _ => [rest, rest, full],
            };
            RgbImage::from_pixel(64, 64, Rgb(colour)).save(folder.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    folder.to_owned()
}

#[test]
fn features_and_pictures_with_weights_give_the_same_accuracies() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28");
    let train = extract(&animals, &folder.path().join("train"), &["--split", "train"]);
    let test = extract(&animals, &folder.path().join("test"), &["--split", "test"]);
    let (animals, weights) = (animals.display().to_string(), weights());
    for kind in ["linear", "knn"] {
        let few = ["--labels-per-class", "20", "--seeds", "2"];
        let features = probe(&[&[kind, "--train", &train, "--test", &test], &few[..]].concat());
        let pictures =
            probe(&[&[kind, "--train", &animals, "--test", &animals, "--weights", &weights], &few[..]].concat());
        assert_eq!(features, pictures, "{kind}");
        let keys: Vec<_> = features.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["probe", "labels_per_class", "results", "mean"]);
        assert_eq!((&features["probe"], &features["labels_per_class"]), (&kind.into(), &20.into()));
        let results = features["results"].as_array().unwrap();
        let accuracies: Vec<f64> = results.iter().map(|result| result["accuracy"].as_f64().unwrap()).collect();
        assert_eq!(results.iter().map(|result| result["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
        assert_ne!(accuracies[0], accuracies[1], "{kind}: another choice of labels finds something else");
        let mean = (accuracies[0] + accuracies[1]) / 2.0;
        assert!((features["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{}", features["mean"]);
        // Even an untrained encoder's mean colour tells more than chance, 1 in 10.
        assert!(accuracies.iter().all(|accuracy| *accuracy > 0.15), "{kind}: {accuracies:?}");
    }
}

#[test]
fn classes_are_matched_by_name_where_the_test_part_lacks_one() {
    let folder = tempfile::tempdir().unwrap();
    let train = colours(&folder.path().join("pictures/train"), &["ant", "bee", "cat"], 12);
    let test = colours(&folder.path().join("pictures/test"), &["bee", "cat"], 5);
    let features = [
        extract(&train, &folder.path().join("train"), &["--shard-rows", "10"]),
        extract(&test, &folder.path().join("test"), &["--format", "safetensors"]),
    ];
    let (train, test) = (train.display().to_string(), test.display().to_string());
    for (train, test, more) in [(&features[0], &features[1], vec![]), (&train, &test, vec!["--weights"])] {
        let weights = weights();
        let more: Vec<&str> = more.into_iter().flat_map(|flag| [flag, weights.as_str()]).collect();
        for kind in [&["linear"][..], &["knn", "--k", "3"], &["knn", "--k", "1", "--metric", "euclidean"]] {
            let outcome = probe(&[kind, &["--train", train, "--test", test, "--seeds", "3"], &more].concat());
            assert_eq!(outcome["mean"], 1.0, "{kind:?}");
            assert_eq!(outcome["results"].as_array().unwrap().len(), 3);
            assert_eq!(outcome["labels_per_class"], Value::Null);
        }
    }
    let (code, table, _) = anyjepa(&["probe", "linear", "--train", &features[0], "--test", &features[1]]);
    assert_eq!(code, 0);
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    probe   labels  seed  accuracy
    linear  all     0     100.00 %
    linear  all     mean  100.00 %
    ");
}

#[test]
fn labels_come_from_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    colours(&at("pictures"), &["ant", "bee"], 8);
    let [train, test] = [("train.txt", 0..6), ("test.txt", 6..8)].map(|(name, numbers)| {
        // Other names than those of the folders, which say nothing here.
        let line = |(class, label): (&str, &str), i: i32| format!("pictures/{class}/{i}.png {label}\n");
        let lines = numbers.flat_map(|i| [("ant", "red"), ("bee", "green")].map(|class| line(class, i)));
        fs::write(at(name), lines.collect::<String>()).unwrap();
        at(name).display().to_string()
    });
    let weights = weights();
    let sets = ["--train", &train, "--test", &test, "--weights", &weights];
    assert_eq!(probe(&[&["knn", "--k", "3"], &sets[..]].concat())["mean"], 1.0);
    let swapped =
        fs::read_to_string(&test).unwrap().replace("red", "blue").replace("green", "red").replace("blue", "green");
    fs::write(&test, swapped).unwrap();
    assert_eq!(probe(&[&["knn", "--k", "3"], &sets[..]].concat())["mean"], 0.0);
    fs::write(&test, "pictures/ant/6.png\n").unwrap();
    let (code, _, said) = anyjepa(&[&["probe", "knn"], &sets[..]].concat());
    assert!(code == 4 && said.contains("pictures/ant/6.png has no label"), "{code}: {said}");
}

#[test]
fn a_shard_without_its_index_still_names_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let train = colours(&folder.path().join("pictures/train"), &["ant", "bee", "cat"], 12);
    let test = colours(&folder.path().join("pictures/test"), &["bee", "cat"], 5);
    let train = extract(&train, &folder.path().join("train"), &[]);
    for (format, files) in [("safetensors", &["safetensors"][..]), ("npy", &["npy", "json"])] {
        let (whole, alone) = (folder.path().join(format), folder.path().join(format!("{format}-alone")));
        extract(&test, &whole, &["--format", format]);
        fs::create_dir(&alone).unwrap();
        let shard = |folder: &Path, ending: &str| folder.join(format!("features-00000.{ending}"));
        for ending in files {
            fs::copy(shard(&whole, ending), shard(&alone, ending)).unwrap();
        }
        let test = shard(&alone, format).display().to_string();
        assert_eq!(probe(&["knn", "--train", &train, "--test", &test, "--k", "3"])["mean"], 1.0, "{format}");
    }

    // As shards were before they named their classes.
    let sidecar = folder.path().join("npy-alone/features-00000.json");
    let mut fields: Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
    assert_eq!(fields.as_object_mut().unwrap().remove("classes"), Some(serde_json::json!(["bee", "cat"])));
    fs::write(&sidecar, fields.to_string()).unwrap();
    let unnamed = sidecar.with_extension("npy").display().to_string();
    for (train, test) in [(&train, &unnamed), (&unnamed, &train)] {
        let (code, _, said) = anyjepa(&["probe", "knn", "--train", train, "--test", test]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("do not name their classes") && said.contains("help: "), "{said}");
    }
}

#[test]
fn attentive_probes_learn_are_kept_and_are_tested_again() {
    let folder = tempfile::tempdir().unwrap();
    let train = colours(&folder.path().join("pictures/train"), &["ant", "bee", "cat"], 12);
    let test = colours(&folder.path().join("pictures/test"), &["bee", "cat"], 5);
    let features = [
        extract(&train, &folder.path().join("train"), &["--tokens", "patch"]),
        extract(&test, &folder.path().join("test"), &["--tokens", "patch", "--dtype", "f16", "--format", "npy"]),
    ];
    let (train, test, weights) = (train.display().to_string(), test.display().to_string(), weights());
    let file = folder.path().join("probes/best.safetensors").display().to_string();
    let rates = "--lr 1e-2,1e-3 --weight-decay 0.01,0.4 --epochs 30 --probe-batch 8 --heads 2";
    let rates: Vec<&str> = rates.split(' ').collect();
    let encoder = ["--weights", &weights];

    let pictures = ["attentive", "--train", &train, "--test", &test, "--out", &file];
    let swept = probe(&[&pictures[..], &encoder, &rates].concat());
    let keys: Vec<_> = swept.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["probe", "heads", "depth", "labels_per_class", "probes", "chosen", "chosen_on_test"]);
    let rates_of = |probe: &Value| (probe["lr"].as_f64().unwrap(), probe["weight_decay"].as_f64().unwrap());
    let probes = swept["probes"].as_array().unwrap();
    assert_eq!(probes.iter().map(rates_of).collect::<Vec<_>>(), [(1e-2, 0.01), (1e-2, 0.4), (1e-3, 0.01), (1e-3, 0.4)]);
    let chosen = probes.iter().find(|probe| rates_of(probe) == rates_of(&swept["chosen"])).unwrap();
    assert_eq!(chosen["accuracy"], swept["chosen"]["accuracy"]);
    let best = |field: &str| probes.iter().map(|probe| probe[field].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(chosen["held_out_accuracy"], best("held_out_accuracy"));
    assert_eq!(swept["chosen_on_test"]["accuracy"], best("accuracy"));
    assert_eq!(swept["chosen"]["accuracy"], 1.0, "{swept}");

    // The same features from disk, of which the test's are of 16 bits, are taken by the probe that was kept.
    let on_disk = ["attentive", "--probe", &file, "--test", &features[1]];
    for arguments in [&on_disk[..], &[&["attentive", "--probe", &file, "--test", &test][..], &encoder].concat()] {
        let tested = probe(arguments);
        assert_eq!((&tested["chosen"], &tested["chosen_on_test"]), (&swept["chosen"], &Value::Null));
        assert_eq!((&tested["heads"], &tested["probes"]), (&2.into(), &Value::Array(vec![])));
    }
    let (code, table, said) = anyjepa(&[&["probe"], &on_disk[..]].concat());
    assert_eq!(code, 0, "{said}");
    let lines: Vec<_> = table.trim_end().lines().map(str::trim).collect();
    assert!(lines.len() == 2 && lines[1].starts_with("chosen") && lines[1].ends_with("100.00 %"), "{table}");
    let again = probe(&[&["attentive", "--train", &features[0], "--test", &features[0]], &rates[..]].concat());
    assert_eq!(again["chosen"]["accuracy"], 1.0, "{again}");
    let few = [&["attentive", "--train", &features[0], "--test", &features[0], "--labels-per-class", "5"], &rates[..]];
    let few = probe(&few.concat());
    assert_eq!((&few["labels_per_class"], &few["chosen"]["accuracy"]), (&5.into(), &1.0.into()), "{few}");

    let shown = json(&["inspect", &file]);
    let [heads, classes] = ["heads", "classes"].map(|field| &shown[field]);
    assert_eq!(
        (&shown["kind"], heads, classes),
        (&"probe".into(), &2.into(), &serde_json::json!(["ant", "bee", "cat"]))
    );
    assert_eq!(shown["features"]["tokens"], "patch", "{shown}");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    for command in [&["inspect", &file][..], &[&["probe"], &on_disk[..]].concat()] {
        let (code, _, said) = anyjepa(command);
        assert!(code == 4 && said.contains("the weights are damaged"), "{code}: {said}");
    }
}

#[test]
fn mistakes_with_attentive_probes_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let train = colours(&path("pictures"), &["ant", "bee"], 4);
    let lonely = colours(&path("lonely"), &["ant", "bee"], 1);
    let other = colours(&path("others"), &["bee", "cat"], 4);
    let plain = path("plain");
    fs::create_dir(&plain).unwrap();
    fs::copy(train.join("ant/0.png"), plain.join("a.png")).unwrap();
    let patch = |pictures: &Path, name: &str, more: &[&str]| {
        extract(pictures, &path(name), &[&["--tokens", "patch"], more].concat())
    };
    let features = patch(&train, "features", &[]);
    let deeper = patch(&train, "deeper", &["--layers", "-2.."]);
    let (few, unknown) = (patch(&lonely, "few", &[]), patch(&other, "unknown", &[]));
    let unlabelled = patch(&plain, "unlabelled", &[]);
    let pooled = extract(&train, &path("pooled"), &[]);
    let file = path("probe.safetensors").display().to_string();
    let (train, plain, weights) = (train.display().to_string(), plain.display().to_string(), weights());
    let quick = ["--epochs", "1", "--lr", "1e-3", "--weight-decay", "0"];
    probe(&[&["attentive", "--train", &features, "--test", &features, "--out", &file], &quick[..]].concat());
    let published = root().join("tests/fixtures/probe/published.pth.tar").display().to_string();

    let on = |train, test| ["--train", train, "--test", test];
    let fitted: [&[&str]; 12] = [
        &on(&pooled, &pooled),
        &on(&features, &deeper),
        &on(&features, &unknown),
        &on(&features, &unlabelled),
        &on(&few, &features),
        &[&on(&features, &features)[..], &["--heads", "5"]].concat(),
        &[&on(&features, &features)[..], &["--lr", "1e-3,fast"]].concat(),
        &[&on(&features, &features)[..], &["--out", &file]].concat(),
        &[&on(&train, &train)[..], &["--weights", &weights, "--tokens", "pooled"]].concat(),
        &[&on(&train, &train)[..], &["--weights", &weights, "--heads", "5"]].concat(),
        &[&on(&train, &plain)[..], &["--weights", &weights]].concat(),
        &[&on(&features, &features)[..], &["--labels-per-class", "9"]].concat(),
    ];
    let tested: [&[&str]; 7] = [
        &["--test", &features],
        &["--probe", &file, "--test", &pooled],
        &["--probe", &file, "--test", &deeper],
        &["--probe", &file, "--test", &unknown],
        &["--probe", &file, "--test", &features, "--epochs", "3"],
        &["--probe", &published, "--test", &features],
        &["--probe", &weights, "--test", &features],
    ];
    let mut said = String::new();
    for arguments in fitted.iter().chain(&tested) {
        let (code, _, error) = anyjepa(&[&["probe", "attentive"], *arguments].concat());
        let error = error.split("\n\nFor more").next().unwrap().trim_end();
        said += &format!("{}\n{code}: {error}\n\n", arguments.join(" "));
    }
    let said = said.replace(&folder.path().display().to_string(), "T").replace(&weights, "WEIGHTS");
    insta::assert_snapshot!(said.replace(&published, "PUBLISHED"));
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let train = colours(&path("pictures"), &["ant", "bee"], 4);
    let other = colours(&path("others"), &["bee", "cat"], 4);
    let plain = path("plain");
    fs::create_dir(&plain).unwrap();
    fs::copy(train.join("ant/0.png"), plain.join("a.png")).unwrap();
    let features = extract(&train, &path("features"), &[]);
    let deeper = extract(&train, &path("deeper"), &["--layers", "-2.."]);
    let unknown = extract(&other, &path("unknown"), &[]);
    let unlabelled = extract(&plain, &path("unlabelled"), &[]);
    let (train, weights) = (train.display().to_string(), weights());
    let nowhere = path("nowhere").display().to_string();
    let cases: [&[&str]; 11] = [
        &["linear", "--train", &features, "--test", &deeper],
        &["linear", "--train", &features, "--test", &unknown],
        &["linear", "--train", &features, "--test", &unlabelled],
        &["linear", "--train", &train, "--test", &train],
        &["linear", "--train", &features, "--test", &nowhere],
        &["linear", "--train", &features, "--test", &features, "--labels-per-class", "5"],
        &["linear", "--train", &features, "--test", &features, "--l2", "-1"],
        &["knn", "--train", &features, "--test", &features, "--k", "9"],
        &["knn", "--train", &features, "--test", &features, "--weights", &weights],
        &["linear", "--train", &train, "--test", &features, "--weights", &weights],
        &["svm", "--train", &features, "--test", &features],
    ];
    let mut said = String::new();
    for arguments in cases {
        let (code, _, error) = anyjepa(&[&["probe"], arguments].concat());
        let error = error.split("\n\nFor more").next().unwrap().trim_end();
        said += &format!("{}\n{code}: {error}\n\n", arguments.join(" "));
    }
    let said = said.replace(&folder.path().display().to_string(), "T").replace(&weights, "WEIGHTS");
    insta::assert_snapshot!(said);
}

#[test]
fn labels_are_judged_before_the_weights_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let train = colours(&path("pictures"), &["ant", "bee"], 4).display().to_string();
    let other = colours(&path("others"), &["bee", "cat"], 4).display().to_string();
    // Weights that are not there would be the first mistake of all that encodes.
    let nowhere = path("nowhere").display().to_string();
    for (kind, fewest, enough) in [
        ("linear", "nowhere", "nowhere"),
        ("knn", "k is 10, but there are 2 training rows", "k is 10, but there are 8 training rows"),
        ("attentive", "no class has two samples", "nowhere"),
    ] {
        for (test, few, expected) in [
            (&other, "1", "the class `cat` is none of the 2 to learn from: ant, bee"),
            (&train, "5", "class 0 has 4 samples, fewer than the 5 asked for"),
            (&train, "1", fewest),
            (&train, "4", enough),
        ] {
            let sets = ["--train", &train, "--test", test, "--weights", &nowhere, "--labels-per-class", few];
            let (_, _, said) = anyjepa(&[&["probe", kind], &sets[..]].concat());
            assert!(said.contains(expected), "{kind}: {said}");
        }
    }
    let file = path("probe.safetensors").display().to_string();
    let quick = ["--epochs", "1", "--lr", "1e-3", "--weight-decay", "0"];
    let weights = weights();
    let learnt = ["attentive", "--train", &train, "--test", &train, "--weights", &weights, "--out", &file];
    probe(&[&learnt[..], &quick].concat());
    for (test, expected) in [(&other, "the class `cat` is none of the 2"), (&train, "nowhere")] {
        let (_, _, said) = anyjepa(&["probe", "attentive", "--probe", &file, "--test", test, "--weights", &nowhere]);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn options_of_an_encoder_are_refused_where_features_are_read() {
    let read_out = "--model ijepa-vit-b16 --encoder target --tokens patch --views mirrored --layers -2.. --batch 3 \
                    --engine burn --workers 3";
    let words: Vec<&str> = read_out.split_whitespace().collect();
    for option in words.chunks(2) {
        let (code, _, said) = anyjepa(&[&["probe", "knn", "--train", "a", "--test", "b"], option].concat());
        assert!(code == 2 && said.contains("--weights"), "{option:?}: {code}: {said}");
    }
}

#[test]
fn samples_that_were_learnt_from_and_are_tested_on_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = colours(&folder.path().join("pictures"), &["ant", "bee"], 4);
    let others = colours(&folder.path().join("others"), &["ant", "bee"], 9);
    let features = extract(&pictures, &folder.path().join("features"), &[]);
    let more = extract(&others, &folder.path().join("more"), &[]);
    for (test, expected) in [(&features, "8 of 8 samples"), (&more, "8 of 18 samples")] {
        let arguments = ["probe", "knn", "--k", "1", "--train", &features, "--test", test];
        let output = Command::cargo_bin("anyjepa").unwrap().args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains(expected), "{said}");
    }
}
