//! Opening weights, whatever form they were stored in, and refusing those that do not fit.

use std::path::{Path, PathBuf};

use super::architecture::{self, Seen, Shapes};
use super::header::{Header, check_sum};
use super::names::{self, Selection};
use super::newest::newest;
use super::provenance::{Format, IMAGENET, Preprocessing, Provenance, Which, sum};
use super::{Entry, HostTensor, Manifest, Store, Tensors, Whole, hf};
use crate::config::ModelConfig;
use crate::error::{Error, IoContext as _, Kind, Result, require_exists};

/// An encoder's weights and what is known of them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The encoder's tensors by the published names, such as `blocks.0.attn.qkv.weight`, without prefix.
    pub tensors: Tensors,
    /// The architecture: read where the file says it, guessed from shapes otherwise. A form without predictor has that
    /// of the published recipes.
    pub model: ModelConfig,
    /// Where the weights come from and how pictures must be prepared for them.
    pub provenance: Provenance,
}

/// What stands at a path, before any value is read.
#[derive(Debug)]
pub struct Source {
    /// In what form it is stored.
    pub format: Format,
    /// The file, or the folder of several, that holds the tensors.
    pub path: PathBuf,
    /// The tensors.
    pub store: Store,
    /// What it says of itself, where it is of a run of ours.
    pub header: Option<Header>,
    /// What the `config.json` beside it says, where it is Hugging Face's.
    folder: Option<Described>,
}

/// What a Hugging Face folder says of its weights.
#[derive(Debug)]
struct Described {
    folder: PathBuf,
    model: ModelConfig,
    encoder: Which,
}

impl Described {
    fn by(folder: &Path) -> Result<Self> {
        let (model, encoder) = hf::model(folder)?;
        Ok(Self { folder: folder.to_path_buf(), model, encoder })
    }
}

/// Opens the encoder `which` at `path`: an official checkpoint, a Hugging Face folder, a run, or safetensors. None is the
/// target encoder, or the only one of a Hugging Face folder.
///
/// # Errors
/// A usage error where the path does not exist; a data error that says what it looks like where it holds no such
/// encoder, where tensors are missing, unexpected or of another shape, where a value is not finite, or where a sum that
/// stands with the weights is not theirs.
pub fn open(path: &Path, which: Option<Which>) -> Result<Loaded> {
    Source::at(path, which.unwrap_or_default())?.load(which, None)
}

/// As [`open`], for weights that must be those of `model`.
///
/// # Errors
/// As [`open`].
pub fn open_as(path: &Path, which: Option<Which>, model: &ModelConfig) -> Result<Loaded> {
    Source::at(path, which.unwrap_or_default())?.load(which, Some(model))
}

impl Source {
    /// Finds out what stands at `path`; `which` chooses among the files of a run.
    ///
    /// # Errors
    /// As [`open`], without a look at any value.
    pub fn at(path: &Path, which: Which) -> Result<Self> {
        let path = require_exists(path)?;
        if path.is_dir() {
            return Self::folder(&path, which);
        }
        let store = Store::open(&path)?;
        if let Some(header) = Header::find(&store.metadata, &path)? {
            return Ok(Self { format: Format::Run, path, store, header: Some(header), folder: None });
        }
        let format = match store.container {
            _ if names::is_hugging_face(store.entries.keys()) => Format::HuggingFace,
            super::Container::Safetensors => Format::Safetensors,
            _ => Format::Pytorch,
        };
        let beside = path.parent().filter(|folder| format == Format::HuggingFace && folder.join(hf::CONFIG).is_file());
        let folder = beside.map(Described::by).transpose()?;
        Ok(Self { format, path, store, header: None, folder })
    }

    fn folder(path: &Path, which: Which) -> Result<Self> {
        if hf::is_folder(path) {
            let store = hf::store(path)?;
            let folder = Some(Described::by(path)?);
            return Ok(Self { format: Format::HuggingFace, path: path.to_path_buf(), store, header: None, folder });
        }
        if path.join("plan.json").is_file() {
            return Err(Error::data(path, "a package of a compiled encoder, not weights").with_remedy(
                "`anyjepa extract` takes it as --package; elsewhere name the weights it was compiled from",
            ));
        }
        if path.join(Manifest::FILE).is_file() {
            let name = match which {
                Which::Target => "target_encoder.safetensors",
                Which::Context => "encoder.safetensors",
            };
            return Self::at(&path.join(name), which);
        }
        if path.join("checkpoints").is_dir() {
            return Self::folder(&newest(path)?, which);
        }
        let what = match path.join("index.json").is_file() {
            true => "a folder of features, not of weights".to_owned(),
            false => format!("neither a run nor a Hugging Face folder; it holds {}", listing(path)?),
        };
        Err(Error::data(path, what)
            .with_remedy("a run holds `checkpoints`, a Hugging Face folder config.json and model.safetensors"))
    }

    /// Which of the store's tensors make the encoder.
    ///
    /// # Errors
    /// A data error where it holds no such encoder.
    fn select(&self, which: Which) -> Result<Selection> {
        let names: Vec<&String> = self.store.entries.keys().collect();
        if self.format != Format::HuggingFace {
            return names::published(&self.path, &names, which);
        }
        let mut selection = names::hugging_face(&names);
        selection.encoder = self.stated_encoder();
        Ok(selection)
    }

    /// The encoder that a Hugging Face folder holds; none for its weights without the folder.
    pub(super) fn stated_encoder(&self) -> Option<Which> {
        self.folder.as_ref().map(|described| described.encoder)
    }

    /// The encoder's architecture as the weights' surroundings say it or their shapes show it.
    fn guess(&self, shapes: &Shapes) -> Result<ModelConfig> {
        if let Some(header) = &self.header {
            return Ok(header.run.model.clone());
        }
        if let Some(described) = &self.folder {
            return Ok(described.model.clone());
        }
        let seen = Seen::of(shapes).ok_or_else(|| {
            let error = Error::data(&self.path, "the encoder's sizes cannot be read off its tensors");
            with_look(error, architecture::look(shapes, None))
        })?;
        let model = seen.model(None).ok_or_else(|| {
            Error::data(&self.path, format!("this looks like {seen}, and shapes do not show the number of heads"))
                .with_remedy("name the model with --model, or give a run's or a Hugging Face folder, which say it")
        })?;
        let predictor = architecture::predictor(&self.predictor_shapes(), model.heads);
        Ok(ModelConfig { predictor: predictor.unwrap_or(model.predictor.clone()), ..model })
    }

    /// Shapes of the parameters that a selection makes; of tensors that cannot be joined, the first one's.
    fn shapes(&self, selection: &Selection) -> Shapes {
        let shape = |stored: &Vec<String>| -> Vec<usize> {
            let mut parts = stored.iter().filter_map(|name| self.store.entries.get(name));
            let mut shape = parts.next().map(|entry| entry.shape.clone()).unwrap_or_default();
            for part in parts {
                match (shape.split_first_mut(), part.shape.split_first()) {
                    (Some((rows, inner)), Some((more, other))) if inner == other => *rows = rows.saturating_add(*more),
                    _ => {}
                }
            }
            shape
        };
        selection.sources.iter().map(|(name, stored)| (name.clone(), shape(stored))).collect()
    }

    fn predictor_shapes(&self) -> Shapes {
        let ours = |name: &str| {
            let rest = name.strip_prefix("predictor.")?;
            let rest = rest.strip_prefix("module.").unwrap_or(rest);
            Some(rest.strip_prefix("backbone.").unwrap_or(rest).to_owned())
        };
        self.store.entries.iter().filter_map(|(name, entry)| Some((ours(name)?, entry.shape.clone()))).collect()
    }

    /// The tensors that make the encoder `which` and the model that they fit: `asked`, or what the source itself says.
    ///
    /// # Errors
    /// As [`open`], without a look at any value.
    pub(super) fn fit(&self, which: Which, asked: Option<&ModelConfig>) -> Result<(Selection, ModelConfig)> {
        let selection = self.select(which)?;
        let shapes = self.shapes(&selection);
        let model = match asked {
            Some(model) => model.clone(),
            None => self.guess(&shapes)?,
        };
        if model.depth > self.store.entries.len() {
            let tensors = self.store.entries.len();
            return Err(Error::data(&self.path, format!("{tensors} tensors are too few for {} blocks", model.depth)));
        }
        match architecture::misfit(&shapes, &selection.left_over, &model) {
            None => Ok((selection, model)),
            Some((differences, look)) => {
                let wanted = architecture::summary(&model);
                let error = Error::data(&self.path, format!("the weights do not fit {wanted}: {differences}"));
                Err(with_look(error, look))
            }
        }
    }

    /// Reads the encoder `which`, none as for [`open`], checked against `asked` or against what the source itself says.
    ///
    /// # Errors
    /// As [`open`].
    pub fn load(&self, which: Option<Which>, asked: Option<&ModelConfig>) -> Result<Loaded> {
        self.check_file()?;
        let (selection, model) = self.fit(which.unwrap_or_default(), asked)?;
        if let (Some(which), Some(held)) = (which, selection.encoder)
            && which != held
        {
            return Err(Error::data(&self.path, format!("holds the {held} encoder, not the {which} encoder"))
                .with_remedy(format!("take that one with --encoder {held}, or give other weights")));
        }
        let stated = self.stated_preprocessing(&model)?;
        let preprocessing = stated.clone().unwrap_or_else(|| Preprocessing::published(&model));
        self.warn(which.unwrap_or_default(), &selection, stated.as_ref(), &preprocessing);
        let mut tensors = Tensors::new();
        for (name, stored) in &selection.sources {
            let tensor = self.read(stored).map_err(|error| Error::data(&self.path, format!("{name}: {error}")))?;
            tensors.insert(name.clone(), tensor);
        }
        let provenance = Provenance::new(selection.encoder, self.format, &model, preprocessing, sum(&tensors));
        let stated = self.header.as_ref().and_then(|header| header.provenance.as_ref());
        check_sum(&self.path, &provenance.weights_blake3, stated.map(|stated| &stated.weights_blake3))?;
        Ok(Loaded { tensors, model, provenance })
    }

    /// Compares a checkpoint's file with the sum in the manifest beside it.
    fn check_file(&self) -> Result<()> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name().and_then(|name| name.to_str()))
        else {
            return Ok(());
        };
        if !self.path.is_file() || !folder.join(Manifest::FILE).is_file() {
            return Ok(());
        }
        match Manifest::read(folder, Whole::Checkpoint) {
            Ok(manifest) if self.format == Format::Run || manifest.lists(name) => manifest.check_file(folder, name),
            Err(error) if self.format == Format::Run => Err(error),
            // Others call their files so too.
            _ => Ok(()),
        }
    }

    /// One parameter, made of the tensors `stored`.
    pub(super) fn read(&self, stored: &[String]) -> Result<HostTensor> {
        let mut parts = stored.iter().filter_map(|name| self.store.entries.get(name)).map(Entry::floats);
        let mut whole = parts.next().unwrap_or_else(|| HostTensor::new(vec![0], Vec::new()))?;
        for part in parts {
            let part = part?;
            whole.values.extend(part.values);
            if let (Some(rows), Some(more)) = (whole.shape.first_mut(), part.shape.first()) {
                *rows += more;
            }
        }
        match whole.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::new(Kind::Data, format!("value {at} is {}, expected a number", whole.values[at]))
                .with_remedy("fetch or export the file again")),
            None => Ok(whole),
        }
    }

    pub(super) fn preprocessing(&self, model: &ModelConfig) -> Result<Preprocessing> {
        Ok(self.stated_preprocessing(model)?.unwrap_or_else(|| Preprocessing::published(model)))
    }

    /// How pictures must be prepared, where the weights or what stands beside them say it.
    fn stated_preprocessing(&self, model: &ModelConfig) -> Result<Option<Preprocessing>> {
        if let Some(header) = &self.header {
            return Ok(Some(Preprocessing::of(&header.run)));
        }
        match &self.folder {
            Some(described) => hf::preprocessing(&described.folder, model),
            None => Ok(None),
        }
    }

    /// Says what a reader of features must know and would not expect.
    fn warn(&self, which: Which, selection: &Selection, stated: Option<&Preprocessing>, used: &Preprocessing) {
        let path = self.path.display();
        match selection.encoder {
            None => tracing::warn!("{path} does not say which encoder it holds; it is taken for the {which} encoder"),
            Some(Which::Context) if which == Which::Target => tracing::warn!(
                "{path} holds the context encoder, as Hugging Face's conversions do; published results use the target's"
            ),
            Some(_) => {}
        }
        /// Instead of ImageNet's: what conversions of I-JEPA say and its training did not do.
        const HALVES: &[f32] = &[0.5; 3];
        let (mean, std) = IMAGENET;
        let usual = used.mean == mean && used.std == std;
        match stated {
            // PyTorch's own form is that of the published checkpoints, which were trained so.
            None if !usual || self.format != Format::Pytorch => {
                tracing::warn!("nothing says how pictures were normalised for {path}; used is {used}");
            }
            Some(_) if used.mean == HALVES && self.format == Format::HuggingFace => {
                tracing::warn!("{path} asks for {used}; the published I-JEPA was trained with ImageNet's statistics")
            }
            _ => {}
        }
    }
}

fn with_look(error: Error, look: Option<String>) -> Error {
    match look {
        Some(look) => error.with_remedy(look),
        None => error,
    }
}

/// The first few names of a folder.
fn listing(folder: &Path) -> Result<String> {
    const SHOWN: usize = 5;
    let entries = std::fs::read_dir(folder).at("list", folder)?.flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let rest = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    Ok(match (names.is_empty(), rest) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => names.join(", "),
        (false, rest) => format!("{} and {rest} more", names.join(", ")),
    })
}
