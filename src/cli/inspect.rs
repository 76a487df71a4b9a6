//! `anyjepa inspect [PATH|PRESET]`: what a checkpoint, a run, weights, features, a package, a probe or a preset holds.

mod package;
#[cfg(feature = "train")]
mod probe;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyjepa::checkpoint::{Checkpoints, State, check};
use anyjepa::config::{PRESETS, Preset, RunConfig};
use anyjepa::error::{Error, IoContext as _, Result};
use anyjepa::extract::package::Package;
use anyjepa::extract::{FeatureSet, Format, INDEX_FILE, Index, Provenance, Shape};
use anyjepa::weights::{EncoderSum, Inspection, Source, Verified, Which};
use clap::Args;
use package::{Depth, PackageLines};
#[cfg(feature = "train")]
use probe::ProbeLines;
use serde::Serialize;

use super::OutputArgs;
use super::output::{Shown, print, print_json, table};

/// `anyjepa inspect [PATH|PRESET]`
#[derive(Debug, Args)]
pub struct Command {
    /// A run, a checkpoint, weights of any form, features, a package, an attentive probe or a preset; lists the presets where none is given
    #[arg(value_name = "PATH|PRESET")]
    subject: Option<PathBuf>,
    /// Check every sum and read every tensor
    #[arg(long, requires = "subject")]
    verify: bool,
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, value_name = "PRESET", requires = "subject")]
    model: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Subject {
    Presets {
        presets: Vec<PresetLine>,
    },
    Preset {
        name: String,
        header: String,
        config: RunConfig,
        #[serde(skip)]
        text: &'static str,
    },
    Features {
        path: Shown,
        format: Format,
        shape: Shape,
        rows: u64,
        shards: usize,
        complete: bool,
        classes: Vec<String>,
        provenance: Provenance,
        verified: bool,
    },
    Package(PackageLines),
    #[cfg(feature = "train")]
    Probe(ProbeLines),
    Weights {
        path: Shown,
        checkpoints: Vec<usize>,
        state: Option<State>,
        config: Option<RunConfig>,
        files: Vec<Part>,
    },
}

#[derive(Serialize)]
struct PresetLine {
    name: &'static str,
    about: String,
}

/// One file, or a folder of shards.
#[derive(Serialize)]
struct Part {
    path: Shown,
    #[serde(flatten)]
    inspection: Inspection,
    verified: Option<Verified>,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let subject = match &self.subject {
            None => presets(),
            Some(path) if path.exists() => self.stored(path)?,
            Some(path) => preset(path)?,
        };
        let misused = match &subject {
            Subject::Preset { .. } if self.verify => Some(("--verify", "what stands on a disk")),
            Subject::Weights { .. } => None,
            _ => self.model.as_ref().map(|_| ("--model", "weights")),
        };
        if let (Some((option, of)), Some(path)) = (misused, &self.subject) {
            return Err(Error::usage(format!("{option} is for {of}, and {} is something else", path.display()))
                .with_remedy(format!("leave out {option}")));
        }
        match self.output.json {
            true => print_json(&subject),
            false => print(&subject.to_text()),
        }
    }

    fn stored(&self, path: &Path) -> Result<Subject> {
        // The file beside a file of npy stands for it, and the index for its folder.
        let (npy, folder) = (path.with_extension("npy"), path.parent().unwrap_or(Path::new("")));
        let features = match path.extension().and_then(OsStr::to_str) {
            Some("json") if npy.is_file() => &npy,
            Some("json") if path.ends_with(INDEX_FILE) => folder,
            Some("toml") => return Err(no_weights(path)),
            _ => path,
        };
        if FeatureSet::stand_at(features) {
            return self.features(features);
        }
        if Package::stands_at(path) {
            let depth = if self.verify { Depth::Tensors } else { Depth::Sums };
            return Ok(Subject::Package(PackageLines::of(path, depth)?));
        }
        #[cfg(feature = "train")]
        if let Some(probe) = ProbeLines::of(path)? {
            return Ok(Subject::Probe(probe));
        }
        let all = if path.is_dir() { Checkpoints::new(path, 0).list()? } else { Vec::new() };
        let checkpoint = all.last().map_or(path.to_path_buf(), |(_, newest)| newest.clone());
        let state = checkpoint.join("state.json");
        let (state, sources) = if state.is_file() {
            if self.verify {
                all.iter().try_for_each(|(_, path)| check(path))?;
                check(&checkpoint)?;
            }
            let text = std::fs::read_to_string(&state).at("read", &state)?;
            let state: State = serde_json::from_str(&text).map_err(|error| Error::data(&state, error))?;
            let names = ["encoder", "predictor", "target_encoder", "optimizer"];
            let files = names.iter().map(|name| checkpoint.join(format!("{name}.safetensors")));
            let sources = files.map(|file| Source::at(&file, Which::Target)).collect::<Result<Vec<_>>>()?;
            (Some(state), sources)
        } else {
            (None, vec![Source::at(path, Which::Target)?])
        };
        let config = sources.iter().find_map(|source| source.header.as_ref()).map(|header| header.run.clone());
        let files = sources.into_iter().map(|source| self.part(&source)).collect::<Result<_>>()?;
        let checkpoints = all.into_iter().map(|(step, _)| step).collect();
        Ok(Subject::Weights { path: path.to_path_buf().into(), checkpoints, state, config, files })
    }

    fn features(&self, path: &Path) -> Result<Subject> {
        let path = path.to_path_buf();
        if !path.is_dir() {
            // Opening a single file verifies it where its sum is known: in an index beside it, or npy's other file.
            let format = Format::of(&path)?;
            let FeatureSet { shape, inputs, classes, provenance, .. } = FeatureSet::open(&path)?;
            let index = Index::find(path.parent().unwrap_or(Path::new("")))?;
            let named = |index: Index| index.shards.iter().any(|shard| path.ends_with(&shard.file.name));
            let verified = format == Format::Npy || index.is_some_and(named);
            if self.verify && !verified {
                return Err(Error::data(&path, "cannot be verified: no index.json beside it names its sum")
                    .with_remedy("give the whole folder that `anyjepa extract` wrote"));
            }
            let (rows, shards, complete) = (inputs.len() as u64, 1, true);
            return Ok(Subject::Features {
                path: path.into(),
                format,
                shape,
                rows,
                shards,
                complete,
                classes,
                provenance,
                verified,
            });
        }
        let index = Index::read(&path)?;
        index.require_files(&path)?;
        if self.verify {
            index.verify(&path)?;
        }
        let Index { format, shape, rows, complete, classes, provenance, .. } = index;
        let (shards, verified) = (index.shards.len(), self.verify);
        Ok(Subject::Features {
            path: path.into(),
            format,
            shape,
            rows,
            shards,
            complete,
            classes,
            provenance,
            verified,
        })
    }

    fn part(&self, source: &Source) -> Result<Part> {
        let model = self.model.as_deref().map(|name| Preset::find(name).map(|preset| preset.config().model));
        let model = model.transpose()?;
        let verified = if self.verify { Some(source.verify(model.as_ref())?) } else { None };
        Ok(Part { path: source.path.clone().into(), inspection: source.inspect(model.as_ref()), verified })
    }
}

/// That `path` is a configuration.
fn no_weights(path: &Path) -> Error {
    Error::data(path, "a configuration, which is no checkpoint and holds no weights").with_remedy(
        "`anyjepa plan --config FILE` says what its run costs; to see a run, give the folder in which config.toml stands",
    )
}

fn presets() -> Subject {
    let about = |preset: &Preset| preset.header().lines().next().unwrap_or_default().to_owned();
    Subject::Presets { presets: PRESETS.iter().map(|p| PresetLine { name: p.name, about: about(p) }).collect() }
}

fn preset(path: &Path) -> Result<Subject> {
    let found = Preset::find(&path.to_string_lossy()).map_err(|error| {
        let missing = Error::usage(format!("{} is neither a path nor a preset", path.display()));
        missing.with_remedy(error.remedy().unwrap_or_default())
    })?;
    Ok(Subject::Preset { name: found.name.into(), header: found.header(), config: found.config(), text: found.text })
}

impl Subject {
    fn to_text(&self) -> String {
        match self {
            Self::Presets { presets } => {
                let mut rows = table(&["preset", ""]);
                for preset in presets {
                    rows.add_row([preset.name, preset.about.as_str()]);
                }
                rows.to_string()
            }
            Self::Preset { text, .. } => (*text).to_owned(),
            Self::Features { path, format, shape, rows, shards, complete, classes, provenance, verified } => {
                let whole = if *complete { "" } else { ", not finished" };
                let mut text = format!("{}: {rows} rows of {shape} in {shards} shards of {format}", path.display());
                text += &format!("{whole}\n{} encoder: {}", provenance.encoder, provenance.model);
                text += &format!("\ninput: {}", provenance.input());
                let Provenance { layers, tokens, dtype, version, weights_blake3, .. } = provenance;
                let (tokens, dtype) = (word(tokens), word(dtype));
                text += &format!("\nblocks {layers:?}, {tokens} tokens, {dtype}, by version {version}");
                text += &format!("\nBLAKE3 of the encoder: {weights_blake3}");
                if !classes.is_empty() {
                    text += &format!("\n{} classes: {}", classes.len(), shortened(classes));
                }
                if *verified {
                    text += &format!("\nverified: {shards} shards, all whole");
                }
                text
            }
            Self::Package(package) => package.to_text(),
            #[cfg(feature = "train")]
            Self::Probe(probe) => probe.to_text(),
            Self::Weights { path, checkpoints, state, config, files } => {
                let mut text = String::new();
                if let Some(config) = config {
                    text += &format!("{}: a run of {}\n", path.display(), config.name);
                }
                if !checkpoints.is_empty() {
                    let steps: Vec<String> = checkpoints.iter().map(ToString::to_string).collect();
                    text += &format!("checkpoints at steps {}\n", steps.join(", "));
                }
                if let Some(state) = state {
                    let epoch = state.step / state.steps_per_epoch.max(1);
                    let State { step, seed, version, .. } = state;
                    text += &format!("step {step}, epoch {epoch}, seed {seed}, by version {version}\n");
                }
                text + &files.iter().map(Part::to_text).collect::<Vec<_>>().join("\n\n")
            }
        }
    }
}

impl Part {
    fn to_text(&self) -> String {
        let Inspection { format, container, encoders, networks, values, .. } = &self.inspection;
        let mut text = format!("{}: {}, {}", self.path.display(), word(format), word(container));
        for encoder in encoders {
            let which = encoder.encoder.map_or("unnamed".to_owned(), |which| which.to_string());
            match (&encoder.model, &encoder.preprocessing, &encoder.problem) {
                (Some(model), Some(input), _) => text += &format!("\n{which} encoder: {model}\ninput: {input}"),
                (.., Some(problem)) => text += &format!("\n{which} encoder: {problem}"),
                _ => {}
            }
        }
        let plain = values.iter().filter(|(name, value)| !name.contains('.') && !value.is_array());
        for (name, value) in plain {
            text += &format!("\n{name}: {value}");
        }
        let mut rows = table(&["tensors of", "count", "elements", "type"]);
        for network in networks {
            let (count, elements) = (network.tensors.to_string(), network.elements.to_string());
            rows.add_row([network.name.clone(), count, elements, network.dtypes.join(", ")]);
        }
        text += &format!("\n{rows}");
        if let Some(verified) = &self.verified {
            text +=
                &format!("\nverified: {} tensors, {} bytes, all whole and finite", verified.tensors, verified.bytes);
            for EncoderSum { encoder, weights_blake3 } in &verified.encoders {
                let which = encoder.map_or("unnamed".to_owned(), |which| which.to_string());
                text += &format!("\nBLAKE3 of the {which} encoder: {weights_blake3}");
            }
        }
        text
    }
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown}, ...") } else { shown }
}

/// A value's name as JSON writes it.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
