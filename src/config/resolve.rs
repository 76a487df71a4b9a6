//! Preset < file < environment < `--set`: one table from four sources, and a suggestion for every unknown key.

use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::{PRESETS, Preset, RunConfig};
use crate::error::{Error, IoContext as _, Result, nearest};

/// Environment variables that begin like configuration and are not: they belong to the command line and the GPU engine.
const OF_THE_COMMAND_LINE: &[&str] = &["ANYJEPA_COOPERATIVE", "ANYJEPA_DEVICE", "ANYJEPA_LOG"];
/// How the names of variables begin that belong to the tests.
const OF_THE_TESTS: &str = "ANYJEPA_TEST_";

/// What the variables of the environment that set keys begin with.
const PREFIX: &str = "ANYJEPA_";

/// Where a configuration comes from, weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// The preset's name.
    pub preset: Option<&'a str>,
    /// A TOML file; a top-level `preset = "..."` names what it builds on.
    pub file: Option<&'a Path>,
    /// Variables of the environment, as from [`std::env::vars`].
    pub environment: Vec<(String, String)>,
    /// `KEY=VALUE` pairs of `--set`.
    pub set: &'a [String],
}

/// Builds the configuration and checks it.
///
/// # Errors
/// A usage error for an unknown preset, file, key or variable, a value of the wrong type, or an invalid combination.
pub fn resolve(sources: &Sources) -> Result<RunConfig> {
    let mut file = match sources.file {
        Some(path) => read_table(path)?,
        None => Table::new(),
    };
    let named = match file.remove("preset") {
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            return Err(Error::usage(format!("`preset` must be a string, found {other}"))
                .with_remedy("write it as preset = \"ijepa-vit-h14\"; `anyjepa inspect` lists the presets"));
        }
        None => None,
    };
    // A resolved configuration carries its preset's name and every key; it stands on its own.
    let own_name = file.get("name").and_then(Value::as_str).map(str::to_owned);
    let Some(preset) = sources.preset.map(str::to_owned).or(named).or(own_name) else {
        // Where a preset is named wrongly, the key says more than its absence.
        let mut known: Vec<String> = PRESETS.iter().flat_map(|preset| leaves(&preset.table())).collect();
        known.push("preset".to_owned());
        if let (Some(path), Some(key)) = (sources.file, leaves(&file).iter().find(|key| !known.contains(key))) {
            return Err(unknown(key, &known, Origin::File(path)));
        }
        return Err(Error::usage("the configuration names no preset").with_remedy(
            "name one on the command line, or write `preset = \"ijepa-vit-h14\"` at the top of the file",
        ));
    };
    let base = Preset::find(&preset)?.table();
    let keys = leaves(&base);
    let mut table = base;

    if let Some(path) = sources.file {
        for (key, value) in leaf_values(&file) {
            put(&mut table, &keys, &key, value, Origin::File(path))?;
        }
    }
    for (variable, text) in &sources.environment {
        let not_for_us = OF_THE_COMMAND_LINE.contains(&variable.as_str()) || variable.starts_with(OF_THE_TESTS);
        if !variable.starts_with(PREFIX) || not_for_us {
            continue;
        }
        let Some(key) = keys.iter().find(|key| variable_of(key) == *variable) else {
            // What all of them begin with would make any two alike.
            let names: Vec<String> = keys.iter().map(|key| variable_of(key)[PREFIX.len()..].to_owned()).collect();
            let error = Error::usage(format!("the environment variable {variable} sets no known key"));
            return Err(match nearest(&variable[PREFIX.len()..], names.iter().map(String::as_str)) {
                Some(near) => {
                    error.with_remedy(format!("did you mean {PREFIX}{near}? If it is not for this program, unset it"))
                }
                None => {
                    error.with_remedy("unset it; `anyjepa inspect PRESET` lists every key, and --config names a file")
                }
            });
        };
        put(&mut table, &keys, key, parse_value(text), Origin::Variable(variable))?;
    }
    for pair in sources.set {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(
                Error::usage(format!("`--set {pair}` has no `=`")).with_remedy("write it as --set optim.lr=1e-3")
            );
        };
        // By its name a run's own configuration finds its preset again.
        if key.trim() == "name" {
            return Err(Error::usage("`name` is the preset's and cannot be set")
                .with_remedy("name another preset on the command line, and the run by its folder, --out"));
        }
        put(&mut table, &keys, key.trim(), parse_value(text.trim()), Origin::Set)?;
    }

    let config: RunConfig = serde_path_to_error::deserialize(table).map_err(|error| {
        Error::usage(format!("the configuration does not fit: {}: {}", error.path(), error.inner().message()))
            .with_remedy("`anyjepa inspect PRESET` shows every key with a value that fits")
    })?;
    config.validate()?;
    Ok(config)
}

fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read(path).at("read", path)?;
    let text = String::from_utf8(text)
        .map_err(|_| Error::usage(format!("{} is not TOML: it is not UTF-8", path.display())))
        .map_err(|error| error.with_remedy("name a text file, such as the config.toml of a run"))?;
    text.parse().map_err(|error: toml::de::Error| {
        Error::usage(format!("{} is not TOML: {}", path.display(), error.to_string().trim_end()))
            .with_remedy("write `key = value` lines under [sections], as in the config.toml of a run")
    })
}

/// Every key of `table` as a dotted path.
fn leaves(table: &Table) -> Vec<String> {
    leaf_values(table).into_iter().map(|(key, _)| key).collect()
}

pub(super) fn leaf_values(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            // An empty table stands as a key of its own, so that an unknown one is found.
            Value::Table(inner) if !inner.is_empty() => {
                found.extend(leaf_values(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            value => found.push((key.clone(), value.clone())),
        }
    }
    found
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// A value as `--set` and the environment write it: TOML if it is TOML, a string otherwise.
fn parse_value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Who sets a key.
#[derive(Clone, Copy)]
enum Origin<'a> {
    File(&'a Path),
    Variable(&'a str),
    Set,
}

impl Origin<'_> {
    /// How `value` is written there.
    fn written(self, key: &str, value: &Value) -> String {
        match self {
            Self::File(_) => format!("{key} = {value}"),
            Self::Variable(variable) => format!("{variable}={value}"),
            Self::Set => format!("{key}={value}"),
        }
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(variable) => f.write_str(variable),
            Self::Set => f.write_str("--set"),
        }
    }
}

fn put(table: &mut Table, keys: &[String], key: &str, value: Value, origin: Origin) -> Result<()> {
    if !keys.iter().any(|known| known == key) {
        let has_it = |preset: &&Preset| leaves(&preset.table()).iter().any(|known| known == key);
        if let Some(other) = PRESETS.iter().find(has_it) {
            let remedy =
                format!("presets such as `{}` have it; `anyjepa inspect PRESET` lists a preset's keys", other.name);
            let name = table.get("name").and_then(Value::as_str).unwrap_or("this preset");
            return Err(Error::usage(format!("{origin}: {name} has no key `{key}`")).with_remedy(remedy));
        }
        return Err(unknown(key, keys, origin));
    }
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or(key);
    let mut place = table;
    for part in parts {
        place = place.get_mut(part).and_then(Value::as_table_mut).expect("a known key's tables exist");
    }
    let old = &place[last];
    let value = match (old, value) {
        (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
        (Value::Array(old), Value::Array(new)) if old.iter().all(Value::is_float) => Value::Array(
            new.into_iter().map(|v| v.as_integer().map_or(v, |whole| Value::Float(whole as f64))).collect(),
        ),
        (_, value) => value,
    };
    if !old.same_type(&value) {
        let message = format!("{origin}: `{key}` takes {} like {old}, found {} {value}", a(old), a(&value));
        return Err(Error::usage(message).with_remedy(format!("write it as {}", origin.written(key, old))));
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// That `key` is none of `keys`.
fn unknown(key: &str, keys: &[String], origin: Origin) -> Error {
    if let Some(inner) = keys.iter().find(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))) {
        return Error::usage(format!("{origin}: `{key}` is a section of keys and takes no value"))
            .with_remedy(format!("set one of its keys, such as `{inner}`"));
    }
    let error = Error::usage(format!("{origin}: unknown key `{key}`"));
    let last = key.rsplit('.').next().unwrap_or(key);
    let same_end = keys.iter().find(|known| known.rsplit('.').next() == Some(last)).map(String::as_str);
    match same_end.or_else(|| nearest(key, keys.iter().map(String::as_str))) {
        Some(near) => error.with_remedy(format!("did you mean `{near}`?")),
        None => error.with_remedy("`anyjepa inspect PRESET` lists every key"),
    }
}

fn a(value: &Value) -> String {
    let name = value.type_str();
    format!("{} {name}", if name.starts_with(['a', 'i']) { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[&str], environment: &[(&str, &str)]) -> Result<RunConfig> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        resolve(&Sources { preset: Some("ijepa-vit-b16"), environment, set: &set, ..Sources::default() })
    }

    #[test]
    fn later_sources_win() {
        let environment = [("ANYJEPA_OPTIM_LR", "0.5"), ("ANYJEPA_TRAIN_SEED", "7")];
        let config = with(&["optim.lr=1"], &environment).unwrap();
        assert_eq!(config.optim.lr, 1.0);
        assert_eq!(config.train.seed, 7);
    }

    #[test]
    fn a_file_stands_between_preset_and_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, "preset = \"ijepa-vit-s16\"\n[optim]\nlr = 2e-3\nepochs = 3\nwarmup_epochs = 1\n")
            .unwrap();
        let environment = vec![("ANYJEPA_OPTIM_EPOCHS".to_owned(), "5".to_owned())];
        let config = resolve(&Sources { file: Some(&path), environment, ..Sources::default() }).unwrap();
        assert_eq!((config.optim.lr, config.optim.epochs, config.name.as_str()), (2e-3, 5, "ijepa-vit-s16"));
    }

    #[test]
    fn a_resolved_configuration_resolves_to_itself() {
        let config = with(&["optim.lr=0.002"], &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config.to_toml()).unwrap();
        assert_eq!(resolve(&Sources { file: Some(&path), ..Sources::default() }).unwrap(), config);
    }

    #[test]
    fn mistakes_are_named_with_a_remedy() {
        let mistakes: Vec<String> = [
            with(&["optim.learning_rate=1"], &[]),
            with(&["lr=1"], &[]),
            with(&["optim=3"], &[]),
            with(&["optim.lr"], &[]),
            with(&["optim.lr=fast"], &[]),
            with(&["mask.mode=blocky"], &[]),
            with(&["train.seed=-1"], &[]),
            with(&["mask.context_scale=[0.85]"], &[]),
            with(&["model.heads=5", "data.flip=2"], &[]),
            with(&[], &[("ANYJEPA_OPTIM_LRR", "1")]),
            with(&[], &[("ANYJEPA_CONFIG", "run.toml")]),
            with(&[], &[("ANYJEPA_OPTIM_LR", "fast")]),
            with(&["mask.short.num_blocks=3"], &[]),
            with(&["model.positions=rope", "model.heads=256", "model.predictor.heads=96"], &[]),
        ]
        .into_iter()
        .map(|result| {
            let error = result.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            format!("{error}\n  {}", error.remedy().unwrap_or("-"))
        })
        .collect();
        insta::assert_snapshot!(mistakes.join("\n"));
    }

    #[test]
    fn mistakes_in_a_file_are_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        let mut said = String::new();
        for text in [
            "preset = 3",
            "preset = \"animals28\"\n[optim]\nlr = \"fast\"",
            "presets = \"animals28\"",
            "[optim]\nlrr = 1.0",
            "[optim]\nlr = 1.0",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = resolve(&Sources { file: Some(&path), ..Sources::default() }).unwrap_err();
            said += &format!("{error}\n  {}\n", error.remedy().unwrap_or("-"));
        }
        insta::assert_snapshot!(said.replace(&path.display().to_string(), "FILE"), @r#"
        `preset` must be a string, found 3
          write it as preset = "ijepa-vit-h14"; `anyjepa inspect` lists the presets
        FILE: `optim.lr` takes a float like 0.001, found a string "fast"
          write it as optim.lr = 0.001
        FILE: unknown key `presets`
          did you mean `preset`?
        FILE: unknown key `optim.lrr`
          did you mean `optim.lr`?
        the configuration names no preset
          name one on the command line, or write `preset = "ijepa-vit-h14"` at the top of the file
        "#);
    }

    #[test]
    fn sizes_that_no_machine_has_are_refused() {
        let base = Preset::find("ijepa-vit-b16").unwrap().table();
        let sizes = leaf_values(&base).into_iter().filter(|(_, value)| value.is_integer());
        let mut refused = 0;
        for (key, _) in sizes {
            for size in ["4611686018427387904", "9223372036854775807", "1099511627776"] {
                match with(&[&format!("{key}={size}")], &[]) {
                    Err(error) => assert_eq!(error.exit_code(), 2, "{key} = {size}"),
                    // A seed, a number of threads or of checkpoints to keep takes no memory here.
                    Ok(_) => assert!(!key.starts_with("model."), "{key} = {size}"),
                }
                refused += 1;
            }
        }
        assert!(refused > 30);
        let error = with(&["model.image_size=16384", "data.resize=16384", "model.patch_size=8"], &[]).unwrap_err();
        assert!(error.to_string().contains("make 4194304 tokens, more than 1048576"), "{error}");
        let error = with(&["data.sampling.clips=4096", "data.sampling.views=2"], &[]).unwrap_err();
        assert!(error.to_string().contains("clips = 4096 times views = 2 must be at most 4096"), "{error}");
    }
}
