//! Where features come from: what must be equal before two sets of them may be compared.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::{ReadOut, Views};
use crate::compile::Dtype;
use crate::error::{Error, Result};
use crate::weights::{self, Preprocessing, Which};

/// Everything that decides the values of features; every feature file repeats it. What it has in common with the
/// [`weights::Provenance`] of the encoder is called as there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Which of a run's two encoders.
    pub encoder: Which,
    /// BLAKE3 of the encoder's tensors, as hexadecimal digits; the same in every form in which weights are stored.
    pub weights_blake3: String,
    /// The model in words.
    pub model: String,
    /// How pictures became inputs.
    pub preprocessing: Preprocessing,
    /// Which views of a picture the encoder saw.
    pub views: Views,
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// The blocks, counted from 0, whose outputs make the features.
    pub layers: Vec<usize>,
    /// What a row holds.
    pub tokens: Tokens,
    /// How values are stored.
    pub dtype: FeatureDtype,
    /// How the encoder's weights and most of its values were stored while it computed.
    pub precision: Dtype,
    /// The version of anyjepa that computed the features.
    pub version: String,
}

/// What a row of features holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// One vector an image.
    Pooled,
    /// One vector a patch or tubelet.
    Patch,
    /// One vector a time of a clip, the mean over its places.
    Time,
}

/// How feature values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureDtype {
    /// 32 bits.
    F32,
    /// 16 bits: half the space, three digits, values up to 65504. Not for parquet, whose 16-bit floats few readers know.
    F16,
}

/// The container of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Tensors `features`, `labels`, `index`, `names` and `name_offsets`; the provenance in the header.
    Safetensors,
    /// The features alone, with everything else in a JSON file of the same name.
    Npy,
    /// Columns `index`, `name`, `label` and `features`, a list of floats; the provenance in the footer.
    Parquet,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

impl Format {
    /// How the name of a shard ends.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Npy => "npy",
            Format::Parquet => "parquet",
        }
    }

    /// The format of the file at `path`, by its name.
    ///
    /// # Errors
    /// Of kind `Data` if the name ends like none of them.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default();
        [Format::Safetensors, Format::Npy, Format::Parquet]
            .into_iter()
            .find(|format| extension == format.extension())
            .ok_or_else(|| {
                Error::data(path, "not a feature file: its name ends in none of .safetensors, .npy, .parquet")
                    .with_remedy("give a folder that `anyjepa extract` wrote, or one of its files")
            })
    }
}

/// A field in which two provenances differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field's name.
    pub field: String,
    /// The value here.
    pub here: String,
    /// The value there.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {}", self.field, self.here, self.there)
    }
}

/// Several differences in one sentence.
pub(super) fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Provenance {
    /// That of features of `loaded`, computed with 32 bits and read out as `read_out` says; weights that do not say which
    /// encoder they are count as `which`.
    ///
    /// # Errors
    /// A usage error where there are not as many blocks as are to be read out.
    pub fn of(loaded: &weights::Loaded, which: Which, read_out: ReadOut, dtype: FeatureDtype) -> Result<Self> {
        let weights::Loaded { model, provenance, .. } = loaded;
        Ok(Self {
            encoder: provenance.encoder.unwrap_or(which),
            weights_blake3: provenance.weights_blake3.clone(),
            model: provenance.model.clone(),
            preprocessing: provenance.preprocessing.clone(),
            views: read_out.views,
            image_size: provenance.image_size,
            layers: read_out.blocks(model.depth)?.collect(),
            tokens: read_out.tokens,
            dtype,
            precision: Dtype::F32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// How pictures became inputs, in words.
    pub fn input(&self) -> String {
        match self.views {
            Views::One => self.preprocessing.to_string(),
            Views::Mirrored => format!("{}, with the mirror image", self.preprocessing),
        }
    }

    /// The fields in which `other` differs, in the order in which they stand here, as dotted paths.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        // By way of text, so that numbers of 32 bits are said as they are written.
        let value = |provenance: &Self| {
            let text = serde_json::to_string(provenance).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        let mut found = Vec::new();
        compare("", &value(self), &value(other), &mut found);
        found
    }
}

/// Adds where two values differ to `found`; `path` is theirs.
fn compare(path: &str, here: &Value, there: &Value, found: &mut Vec<Difference>) {
    match (here, there) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let dot = if path.is_empty() { "" } else { "." };
            let added = theirs.keys().filter(|name| !ours.contains_key(*name));
            for name in ours.keys().chain(added) {
                let [here, there] = [ours, theirs].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                compare(&format!("{path}{dot}{name}"), here, there, found);
            }
        }
        (here, there) if here != there => {
            found.push(Difference { field: path.to_owned(), here: here.to_string(), there: there.to_string() });
        }
        _ => {}
    }
}

/// A provenance for tests.
#[cfg(test)]
pub(super) fn example() -> Provenance {
    use crate::data::Interpolation;
    use crate::weights::Resize;

    Provenance {
        encoder: Which::Target,
        weights_blake3: "0123abcd".into(),
        model: "tiny".into(),
        preprocessing: Preprocessing {
            mean: vec![0.5],
            std: vec![0.25],
            resize: Resize::ShortSide(36),
            crop: Some(32),
            interpolation: Interpolation::Bicubic,
            clips: None,
        },
        views: Views::One,
        image_size: 32,
        layers: vec![3],
        tokens: Tokens::Pooled,
        dtype: FeatureDtype::F32,
        precision: Dtype::F32,
        version: "0.1.0".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sampling;
    use crate::data::Interpolation;
    use crate::weights::{Clips, Resize};

    #[test]
    fn every_field_takes_part_in_the_comparison() {
        let other = Provenance {
            encoder: Which::Context,
            weights_blake3: "ffff".into(),
            model: "small".into(),
            preprocessing: Preprocessing {
                mean: vec![0.485],
                std: vec![0.5],
                resize: Resize::None,
                crop: None,
                interpolation: Interpolation::Bilinear,
                clips: Some(Clips { frames: 16, sampling: Sampling::ONE }),
            },
            views: Views::Mirrored,
            image_size: 64,
            layers: vec![0, 3],
            tokens: Tokens::Patch,
            dtype: FeatureDtype::F16,
            precision: Dtype::F16,
            version: "0.2.0".into(),
        };
        let differences = example().differences(&other);
        let within = |found: &Difference| found.field.strip_prefix("preprocessing.").map(str::to_owned);
        let mut fields: Vec<&str> =
            differences.iter().map(|found| found.field.split('.').next().unwrap_or_default()).collect();
        fields.dedup();
        let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields, keys(serde_json::to_value(example()).unwrap()));
        let preprocessing = keys(serde_json::to_value(&other.preprocessing).unwrap());
        assert_eq!(differences.iter().filter_map(within).collect::<Vec<_>>(), preprocessing);
        assert!(example().differences(&example()).is_empty());
    }

    #[test]
    fn a_difference_says_field_and_both_values() {
        let other = Provenance { layers: vec![1, 3], ..example() };
        insta::assert_snapshot!(example().differences(&other)[0], @"layers is [3], not [1,3]");
        let mut other = example();
        other.preprocessing.mean = vec![0.485];
        insta::assert_snapshot!(example().differences(&other)[0], @"preprocessing.mean is [0.5], not [0.485]");
    }
}
