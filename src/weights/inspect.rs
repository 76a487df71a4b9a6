//! What can be said of stored weights without a device: whose they are, what they hold, and whether they are whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::architecture::summary;
use super::header::check_sum;
use super::provenance::Sum;
use super::{Container, Dtype, Format, Preprocessing, Source, Which, names};
use crate::config::ModelConfig;
use crate::error::{Error, Kind, Result};

/// What a source holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// In what form the weights are stored.
    pub format: Format,
    /// What wraps the tensors.
    pub container: Container,
    /// The encoders that can be opened, and those that cannot with the reason.
    pub encoders: Vec<EncoderView>,
    /// Tensors by the first part of their names.
    pub networks: Vec<Network>,
    /// What a PyTorch file holds beside tensors, by dotted path.
    pub values: BTreeMap<String, Value>,
    /// Every tensor.
    pub tensors: Vec<TensorView>,
}

/// An encoder among the tensors.
#[derive(Debug, Clone, Serialize)]
pub struct EncoderView {
    /// Which one; none where the file does not say.
    pub encoder: Option<Which>,
    /// The model in words, where it fits one.
    pub model: Option<String>,
    /// How pictures must be prepared for it.
    pub preprocessing: Option<Preprocessing>,
    /// Why it cannot be opened as it is, with a remedy.
    pub problem: Option<String>,
}

/// The tensors of one network.
#[derive(Debug, Clone, Serialize)]
pub struct Network {
    /// The first part of their names.
    pub name: String,
    /// How many there are.
    pub tensors: usize,
    /// The elements of all of them.
    pub elements: usize,
    /// The types of their elements.
    pub dtypes: Vec<String>,
}

/// One tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorView {
    /// Its stored name.
    pub name: String,
    /// Type of an element.
    pub dtype: String,
    /// Length of each axis, the slowest first.
    pub shape: Vec<usize>,
}

/// What reading everything found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Tensors that were read.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Each encoder that can be opened.
    pub encoders: Vec<EncoderSum>,
}

/// The sum of an encoder.
#[derive(Debug, Clone, Serialize)]
pub struct EncoderSum {
    /// Which one; none where the file does not say.
    pub encoder: Option<Which>,
    /// BLAKE3 of its tensors, as features repeat it.
    pub weights_blake3: String,
}

impl Source {
    /// Looks at names, shapes and surroundings; reads no value. Encoders are those of `asked`, where it is given.
    pub fn inspect(&self, asked: Option<&ModelConfig>) -> Inspection {
        let tensors = self.store.entries.iter().map(|(name, entry)| TensorView {
            name: name.clone(),
            dtype: word(entry.dtype),
            shape: entry.shape.clone(),
        });
        Inspection {
            format: self.format,
            container: self.store.container,
            encoders: self.encoders().into_iter().map(|which| self.view(which, asked)).collect(),
            networks: self.networks(),
            values: self.store.values.clone(),
            tensors: tensors.collect(),
        }
    }

    /// Reads every tensor, and every encoder as [`Source::load`] does where it can be opened, as `asked` or as it is.
    ///
    /// # Errors
    /// A data error where one cannot be read or holds a value that is no number, or the sum is not the one that the file
    /// states.
    pub fn verify(&self, asked: Option<&ModelConfig>) -> Result<Verified> {
        let (mut verified, mut sum) = (Verified::default(), Sum::default());
        for (name, entry) in &self.store.entries {
            let problem = |problem: String| {
                Error::new(Kind::Data, format!("{}: {name}: {problem}", self.path.display()))
                    .with_remedy("fetch or export the file again")
            };
            if matches!(entry.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
                let tensor = entry.floats().map_err(|error| problem(error.to_string()))?;
                if let Some(at) = tensor.values.iter().position(|value| !value.is_finite()) {
                    return Err(problem(format!("value {at} is {}, expected a number", tensor.values[at])));
                }
                sum.add(name, &tensor);
                verified.bytes += entry.elements() * entry.dtype.bitsize() / 8;
            } else {
                verified.bytes += entry.bytes().map_err(|error| problem(error.to_string()))?.len();
            }
            verified.tensors += 1;
        }
        check_sum(&self.path, &sum.finish(), self.header.as_ref().map(|header| &header.blake3))?;
        for encoder in self.encoders() {
            if self.fit(encoder.unwrap_or_default(), asked).is_ok() {
                let weights_blake3 = self.load(encoder, asked)?.provenance.weights_blake3;
                verified.encoders.push(EncoderSum { encoder, weights_blake3 });
            }
        }
        Ok(verified)
    }

    fn encoders(&self) -> Vec<Option<Which>> {
        if self.format == Format::HuggingFace {
            return vec![self.stated_encoder()];
        }
        names::encoders(self.store.entries.keys()).into_iter().map(|(_, encoder)| encoder).collect()
    }

    fn view(&self, encoder: Option<Which>, asked: Option<&ModelConfig>) -> EncoderView {
        let found = self.fit(encoder.unwrap_or_default(), asked);
        let found = found.and_then(|(_, model)| Ok((summary(&model), self.preprocessing(&model)?)));
        match found {
            Ok((model, preprocessing)) => {
                EncoderView { encoder, model: Some(model), preprocessing: Some(preprocessing), problem: None }
            }
            Err(error) => {
                let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
                EncoderView { encoder, model: None, preprocessing: None, problem: Some(format!("{error}{remedy}")) }
            }
        }
    }

    fn networks(&self) -> Vec<Network> {
        let mut parts: BTreeMap<&str, (usize, usize, BTreeSet<String>)> = BTreeMap::new();
        for (name, entry) in &self.store.entries {
            let first = name.split('.').next().unwrap_or(name);
            let (tensors, elements, dtypes) = parts.entry(first).or_default();
            *tensors += 1;
            *elements += entry.elements();
            dtypes.insert(word(entry.dtype));
        }
        let network = |(name, (tensors, elements, dtypes)): (&str, (usize, usize, BTreeSet<String>))| Network {
            name: name.to_owned(),
            tensors,
            elements,
            dtypes: dtypes.into_iter().collect(),
        };
        parts.into_iter().map(network).collect()
    }
}

/// A type as configurations write it, such as `bf16`.
fn word(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}
