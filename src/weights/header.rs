//! What a weights file of this crate says of itself: its run, where its encoder comes from, and a sum.
//!
//! All of it stands under one key of the safetensors header: of several, the order in the file would be random.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::provenance::{Format, Preprocessing, Provenance, Sum};
use super::{Metadata, Store, Tensors, names, sum};
use crate::config::RunConfig;
use crate::error::{Error, Kind, Result};

/// The key of the safetensors header.
const KEY: &str = "anyjepa";

/// What a weights file of a run says of itself.
#[derive(Debug, Clone)]
pub struct Header {
    /// The configuration of the run that trained it.
    pub run: RunConfig,
    /// Where the encoder in the file comes from; none where the file holds another network.
    pub provenance: Option<Provenance>,
    /// BLAKE3 of all tensors of the file, by their stored names.
    pub blake3: String,
}

/// The header as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// TOML, as the run's own file.
    config: String,
    provenance: Option<Provenance>,
    blake3: String,
}

impl Header {
    /// The header of the file that holds `tensors`, one network of a run.
    pub fn of(run: &RunConfig, tensors: &Tensors) -> Self {
        let provenance = match names::encoders(tensors.keys()).as_slice() {
            [(prefix, which)] => {
                let mut sum = Sum::default();
                for (name, tensor) in tensors {
                    sum.add(name.strip_prefix(prefix.as_str()).unwrap_or(name), tensor);
                }
                Some(Provenance::new(*which, Format::Run, &run.model, Preprocessing::of(run), sum.finish()))
            }
            // A predictor has none, an optimizer two moments of one.
            _ => None,
        };
        Self { run: run.clone(), provenance, blake3: sum(tensors) }
    }

    /// What [`super::write`] puts into the file.
    ///
    /// # Errors
    /// Where it cannot be said in JSON.
    pub fn metadata(&self) -> Result<Metadata> {
        let Self { run, provenance, blake3 } = self.clone();
        let text = serde_json::to_string(&Stored { config: run.to_toml(), provenance, blake3 });
        let text = text.map_err(|error| Error::new(Kind::Other, error.to_string()))?;
        Ok(Metadata::from([(KEY.to_owned(), text)]))
    }

    /// The header of the safetensors file at `path`, where it is one of a run.
    ///
    /// # Errors
    /// A data error where it is invalid.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Self::find(&Store::safetensors(path)?.metadata, path)
    }

    /// The header in `metadata`, where the file at `path` is one of a run.
    ///
    /// # Errors
    /// A data error where it is invalid.
    pub(super) fn find(metadata: &Metadata, path: &Path) -> Result<Option<Self>> {
        let Some(text) = metadata.get(KEY) else { return Ok(None) };
        let stored = serde_json::from_str(text);
        let Stored { config, provenance, blake3 } =
            stored.map_err(|error| Error::data(path, format!("the header cannot be read: {error}")))?;
        let run = RunConfig::from_toml(&config)
            .map_err(|error| Error::data(path, format!("the run's configuration cannot be read: {error}")))?;
        Ok(Some(Self { run, provenance, blake3 }))
    }
}

/// Refuses tensors of `path` whose sum is not the one that the header states.
pub(crate) fn check_sum(path: &Path, found: &str, stated: Option<&String>) -> Result<()> {
    match stated.filter(|stated| *stated != found) {
        None => Ok(()),
        Some(stated) => {
            let message = format!("the weights are damaged: their sum is {found}, expected {stated}");
            Err(Error::data(path, message).with_remedy("restore the file from a copy"))
        }
    }
}
