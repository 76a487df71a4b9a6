//! A fitted attentive probe: what it takes samples for, and the file that keeps it.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sweep::upload;
use crate::device::read;
use crate::error::{Error, Kind, Result, require_exists};
use crate::eval::probe::largest;
use crate::eval::{Matrix, TokenSet};
use crate::model::{AttentiveProbe, AttentiveShape, Init};
use crate::weights::{self, Metadata, Store, Tensors, check_sum};

/// The keys of the safetensors header: the card, and the sum of the tensors.
const KEY: &str = "anyjepa_probe";
const SUM: &str = "anyjepa_probe_blake3";
/// The parameter by which a probe is found among the tensors of a file.
const QUERY: &str = "pooler.query_tokens";
/// What is said of a file that holds no probe.
const GIVE: &str = "give a probe of `anyjepa probe attentive --out`, or a published one of V-JEPA";
/// Values that a batch's keys and values have at most where samples are judged: 64 MiB.
const MOST_VALUES: usize = 16 << 20;

/// A fitted attentive probe.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedAttentive {
    /// Its sizes.
    pub shape: AttentiveShape,
    /// Its parameters by the published names, in the published layout.
    pub tensors: Tensors,
}

/// What a probe's file says beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeCard {
    /// Heads of its attention, which tensors do not show.
    pub heads: usize,
    /// The names of the classes 0, 1, ...; none where they are not known.
    pub classes: Vec<String>,
    /// Where the features come from that it learnt from, as their own provenance says it.
    pub features: Value,
    /// Its learning rate.
    pub lr: f64,
    /// Its weight decay.
    pub weight_decay: f64,
    /// The seed of its sweep.
    pub seed: u64,
}

impl FittedAttentive {
    /// The class of each sample; of classes that score the same, the lowest.
    ///
    /// # Errors
    /// As [`FittedAttentive::scores`].
    pub fn predict(&self, tokens: &TokenSet, device: &Device) -> Result<Vec<u32>> {
        Ok(self.scores(tokens, device)?.iter_rows().map(largest).collect())
    }

    /// Whether tokens of `dim` values are what it was fitted on.
    ///
    /// # Errors
    /// Of kind `Data` where they are not.
    pub fn takes(&self, dim: usize) -> Result<()> {
        if dim == self.shape.dim {
            return Ok(());
        }
        let message = format!("expected tokens of {} values, found tokens of {dim}", self.shape.dim);
        Err(Error::new(Kind::Data, message).with_remedy("give the features of the encoder it was fitted on"))
    }

    /// The logarithm of each class's likelihood, up to a constant of the sample.
    ///
    /// # Shapes
    /// - output: `[S, C]`
    ///
    /// # Errors
    /// Of kind `Data` where the tokens have another width than in training, of kind `Device` where the device fails.
    pub fn scores(&self, tokens: &TokenSet, device: &Device) -> Result<Matrix> {
        self.takes(tokens.dim())?;
        let AttentiveShape { dim, classes, .. } = self.shape;
        let probe = AttentiveProbe::new(self.shape, Init::Constant, device);
        let probe = weights::load(probe, "", &self.tensors)?;
        let batch = (MOST_VALUES / (2 * dim * tokens.tokens()).max(1)).max(1);
        let rows: Vec<usize> = (0..tokens.len()).collect();
        let mut scores = Vec::with_capacity(rows.len() * classes);
        for rows in rows.chunks(batch) {
            scores.extend(read::values(probe.forward(upload(tokens, rows, device)))?);
        }
        Matrix::new(rows.len(), classes, scores)
    }

    /// Writes the probe as safetensors with the published names, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path, card: &ProbeCard) -> Result<()> {
        let text = serde_json::to_string(card).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
        let said = [(KEY, text), (SUM, weights::sum(&self.tensors))].map(|(key, text)| (key.to_owned(), text));
        weights::place(path, &self.tensors, &Metadata::from(said))
    }

    /// Whether the file at `path` says that [`FittedAttentive::save`] wrote it.
    pub fn stands_at(path: &Path) -> bool {
        path.is_file() && Store::open(path).is_ok_and(|store| store.metadata.contains_key(KEY))
    }

    /// Reads a probe that [`FittedAttentive::save`] wrote, with what its file says, or one in the published layout, as
    /// PyTorch's archive or safetensors, whose number of heads is `heads`.
    ///
    /// # Errors
    /// Of kind `Usage` where the file does not say how many heads the attention has and `heads` does not either, or both do
    /// and differ; of kind `Data` where the file holds no such probe, is damaged, or a value is not finite.
    pub fn load(path: &Path, heads: Option<usize>) -> Result<(Self, Option<ProbeCard>)> {
        let path = &require_exists(path)?;
        let store = Store::open(path)?;
        let prefix = prefix(path, &store)?;
        let card: Option<ProbeCard> = match store.metadata.get(KEY) {
            None => None,
            Some(text) => Some(serde_json::from_str(text).map_err(|error| {
                Error::data(path, format!("what it says of its probe cannot be read: {error}"))
                    .with_remedy("use the version of anyjepa that wrote it")
            })?),
        };
        let heads = match (heads, card.as_ref().map(|card| card.heads)) {
            (Some(asked), Some(said)) if asked != said => {
                return Err(Error::usage(format!("{}: the probe has {said} heads, not {asked}", path.display()))
                    .with_remedy("leave out --heads: the file says it"));
            }
            (Some(heads), _) | (None, Some(heads)) => heads,
            (None, None) => {
                let message = format!("{} does not say how many heads its attention has", path.display());
                return Err(Error::usage(message)
                    .with_remedy("give --heads; the published probes have as many as their encoder, 16 for ViT-L"));
            }
        };
        let shape = shape(&store, &prefix, heads).map_err(|problem| Error::data(path, problem).with_remedy(GIVE))?;
        let mut tensors = Tensors::new();
        for (name, entry) in &store.entries {
            let Some(name) = name.strip_prefix(&prefix).filter(|name| is_part(name)) else { continue };
            let tensor = entry.floats().map_err(|error| Error::data(path, format!("{name}: {error}")))?;
            if !tensor.is_finite() {
                return Err(Error::data(path, format!("{name} holds a value that is not finite"))
                    .with_remedy("fit or fetch the probe again"));
            }
            tensors.insert(name.to_owned(), tensor);
        }
        if let Some(card) = &card {
            check_sum(path, &weights::sum(&tensors), store.metadata.get(SUM))?;
            if !card.classes.is_empty() && card.classes.len() != shape.classes {
                let message = format!("it names {} classes and tells {} apart", card.classes.len(), shape.classes);
                return Err(Error::data(path, message).with_remedy("fit the probe again"));
            }
        }
        // Whether all parts are there, in their shapes.
        let probe = AttentiveProbe::new(shape, Init::Constant, &Device::flex());
        weights::load(probe, "", &tensors).map_err(|error| Error::data(path, error).with_remedy(GIVE))?;
        Ok((Self { shape, tensors }, card))
    }
}

fn is_part(name: &str) -> bool {
    name.starts_with("pooler.") || name.starts_with("linear.")
}

/// What stands before the names of the file's only probe.
fn prefix(path: &Path, store: &Store) -> Result<String> {
    let found: Vec<&str> = store.entries.keys().filter_map(|name| name.strip_suffix(QUERY)).collect();
    match found[..] {
        [prefix] => Ok(prefix.to_owned()),
        [] => Err(Error::data(path, format!("holds no attentive probe: none of its tensors is a `{QUERY}`"))
            .with_remedy(GIVE)),
        _ => Err(Error::data(path, format!("holds {} attentive probes", found.len()))
            .with_remedy("keep the one that is meant in a file of its own")),
    }
}

/// The sizes that a file's tensors have; memory is taken only for what the file holds.
fn shape(store: &Store, prefix: &str, heads: usize) -> Result<AttentiveShape, String> {
    let sizes = |name: &str| store.entries.get(&format!("{prefix}{name}")).map_or(&[][..], |entry| &entry.shape);
    let (query, linear) = (sizes(QUERY), sizes("linear.weight"));
    let (&[1, 1, dim], &[classes, _]) = (query, linear) else {
        return Err(format!("its query has the shape {query:?} and its head {linear:?}, no attentive probe's"));
    };
    let &[mlp, _] = sizes("pooler.cross_attention_block.mlp.fc1.weight") else {
        return Err("its block has no MLP: norms and MLP stand around the attention of the published probes".into());
    };
    let fits = |name: &str, shape: [usize; 2]| sizes(name) == shape;
    let is_block = |block: &usize| {
        fits(&format!("pooler.blocks.{block}.attn.qkv.weight"), [3 * dim, dim])
            && fits(&format!("pooler.blocks.{block}.mlp.fc1.weight"), [mlp, dim])
    };
    if !fits("linear.weight", [classes, dim])
        || !fits("pooler.cross_attention_block.xattn.kv.weight", [2 * dim, dim])
        || !fits("pooler.cross_attention_block.mlp.fc1.weight", [mlp, dim])
    {
        return Err(format!("its tensors do not fit a query of {dim} values and {classes} classes"));
    }
    if dim == 0 || classes == 0 || heads == 0 || dim % heads != 0 {
        return Err(format!("{heads} heads do not divide its {dim} values, or it has no class"));
    }
    let depth = 1 + (0..).take_while(is_block).count();
    Ok(AttentiveShape { dim, heads, mlp, depth, classes })
}
