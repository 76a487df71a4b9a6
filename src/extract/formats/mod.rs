//! The containers of shards: bytes from rows, and rows from bytes that may be damaged.

mod npy;
mod parquet;
mod safetensors;

use std::path::Path;

use ::half::f16;
use serde::Serialize;
use serde_json::{Map, Value};

use super::provenance::{FeatureDtype, Format, Provenance};
use super::shard::{Shape, Shard};
use crate::error::{Error, Kind, Result};
use crate::weights::Store;

/// What a shard is on disk.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The content of the shard's file.
    pub main: Vec<u8>,
    /// The content of the JSON file beside it, where the format has one.
    pub sidecar: Option<Vec<u8>>,
}

/// What was read from a shard.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub shard: Shard,
    pub shape: Shape,
    pub provenance: Provenance,
}

/// Whether the file at `path`, whose name says `format`, holds features and nothing else, such as weights.
pub(super) fn is_shard(format: Format, path: &Path) -> bool {
    match format {
        Format::Safetensors => {
            Store::safetensors(path).is_ok_and(|store| store.metadata.contains_key(safetensors::PROVENANCE))
        }
        Format::Npy | Format::Parquet => path.is_file(),
    }
}

/// The bytes of a shard.
///
/// # Errors
/// If a container's own library fails.
pub(super) fn encode(format: Format, shard: &Shard, shape: Shape, provenance: &Provenance) -> Result<Encoded> {
    match format {
        Format::Safetensors => safetensors::encode(shard, shape, provenance),
        Format::Npy => npy::encode(shard, shape, provenance),
        Format::Parquet => parquet::encode(shard, shape, provenance),
    }
}

/// The shard in the bytes of the file at `path`, and of the sidecar where the format has one.
///
/// # Errors
/// Of kind [`Kind::Data`] if the bytes are no such shard.
pub(super) fn decode(format: Format, main: Vec<u8>, sidecar: Option<&[u8]>, path: &Path) -> Result<Decoded> {
    let decoded = match format {
        Format::Safetensors => safetensors::decode(&main, path),
        Format::Npy => npy::decode(&main, sidecar.unwrap_or_default(), path),
        Format::Parquet => parquet::decode(main, path),
    }?;
    decoded.shard.check(decoded.shape, decoded.provenance.tokens, path)?;
    Ok(decoded)
}

/// What is known of a shard's rows beside the rows, as its metadata says it: the provenance, and among its fields the
/// names of the classes where there are any.
#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    provenance: &'a Provenance,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    classes: &'a [String],
}

fn provenance_json(provenance: &Provenance, classes: &[String]) -> Result<String> {
    serde_json::to_string(&Known { provenance, classes }).map_err(|error| cannot_encode("the provenance", error))
}

fn parse_provenance(json: Option<&str>, path: &Path) -> Result<(Provenance, Vec<String>)> {
    let json = json.ok_or_else(|| {
        Error::data(path, "carries no provenance, so what its features are is not known")
            .with_remedy("extract the features with `anyjepa extract`")
    })?;
    let parse = || {
        let mut fields: Map<String, Value> = serde_json::from_str(json)?;
        let classes = fields.remove("classes").map(serde_json::from_value).transpose()?;
        Ok((serde_json::from_value(Value::Object(fields))?, classes.unwrap_or_default()))
    };
    parse().map_err(|error: serde_json::Error| Error::data(path, format!("has an invalid provenance: {error}")))
}

/// Values as little-endian bytes of the stored type.
fn to_bytes(values: &[f32], dtype: FeatureDtype) -> Vec<u8> {
    match dtype {
        FeatureDtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        FeatureDtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
    }
}

fn from_bytes(bytes: &[u8], dtype: FeatureDtype) -> Vec<f32> {
    match dtype {
        FeatureDtype::F32 => bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect(),
        FeatureDtype::F16 => bytes.as_chunks().0.iter().map(|&chunk| f16::from_le_bytes(chunk).to_f32()).collect(),
    }
}

fn cannot_encode(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Kind::Other, format!("cannot encode {what}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::super::provenance::{Tokens, example as provenance};
    use super::super::shard::example as shard;
    use super::*;

    const SHAPE: Shape = Shape { tokens: 1, dim: 3 };

    fn round_trip(format: Format, shape: Shape, provenance: &Provenance) {
        let path = Path::new("features-00000");
        let encoded = encode(format, &shard(), shape, provenance).unwrap();
        let decoded = decode(format, encoded.main, encoded.sidecar.as_deref(), path).unwrap();
        assert_eq!(decoded, Decoded { shard: shard(), shape, provenance: provenance.clone() });
        // A first and a last second for each token of both rows.
        let times = (0..4 * shape.tokens).map(|time| 1e9 + 0.125 * time as f64).collect();
        let timed = Shard { times, ..shard() };
        let encoded = encode(format, &timed, shape, provenance).unwrap();
        let decoded = decode(format, encoded.main, encoded.sidecar.as_deref(), path).unwrap();
        assert_eq!(decoded, Decoded { shard: timed, shape, provenance: provenance.clone() });
        let named = Shard { classes: vec!["cats".into(), "\"größe\"".into(), "z".into()], ..shard() };
        let encoded = encode(format, &named, shape, provenance).unwrap();
        let decoded = decode(format, encoded.main, encoded.sidecar.as_deref(), path).unwrap();
        assert_eq!(decoded, Decoded { shard: named, shape, provenance: provenance.clone() });
    }

    #[test]
    fn every_format_gives_back_what_went_in() {
        let patch = Provenance { tokens: Tokens::Patch, ..provenance() };
        for format in [Format::Safetensors, Format::Npy, Format::Parquet] {
            round_trip(format, SHAPE, &provenance());
            round_trip(format, Shape { tokens: 3, dim: 1 }, &patch);
        }
        for format in [Format::Safetensors, Format::Npy] {
            round_trip(format, SHAPE, &Provenance { dtype: FeatureDtype::F16, ..provenance() });
        }
    }

    #[test]
    fn times_that_do_not_fit_the_tokens_are_refused() {
        let whole = [0.0, 0.5, 1.0, 1.5];
        let (pooled, time) = (provenance(), Provenance { tokens: Tokens::Time, ..provenance() });
        let refused = [
            (SHAPE, &pooled, [whole, whole].concat(), "2 times do not fit rows of 1 x 3 values"),
            (Shape { tokens: 3, dim: 1 }, &time, whole.to_vec(), "1 times do not fit rows of 3 x 1 values"),
            (SHAPE, &pooled, vec![0.0, 0.5, 2.0, 1.5], "from second 2 to second 1.5"),
            (SHAPE, &pooled, vec![0.0, f64::NAN, 1.0, 1.5], "from second 0 to second NaN"),
        ];
        for (shape, provenance, times, expected) in refused {
            let encoded = encode(Format::Safetensors, &Shard { times, ..shard() }, shape, provenance).unwrap();
            let error = decode(Format::Safetensors, encoded.main, None, Path::new("features-00000")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn rows_that_fill_several_pages_come_back_whole() {
        let (rows, shape) = (300, Shape { tokens: 1, dim: 2000 });
        let shard = Shard {
            index: (0..rows).collect(),
            labels: vec![1; rows as usize],
            names: (0..rows).map(|row| format!("{row}.png")).collect(),
            features: (0..rows as usize * shape.dim).map(|at| at as f32).collect(),
            times: Vec::new(),
            classes: Vec::new(),
        };
        for format in [Format::Safetensors, Format::Npy, Format::Parquet] {
            let encoded = encode(format, &shard, shape, &provenance()).unwrap();
            let decoded = decode(format, encoded.main, encoded.sidecar.as_deref(), Path::new("shard")).unwrap();
            assert!(decoded.shard == shard, "{format}");
        }
    }

    #[test]
    fn the_same_shard_has_the_same_bytes() {
        for format in [Format::Safetensors, Format::Npy, Format::Parquet] {
            let bytes = || encode(format, &shard(), SHAPE, &provenance()).unwrap();
            let (one, other) = (bytes(), bytes());
            assert_eq!(one.main, other.main);
            assert_eq!(one.sidecar, other.sidecar);
        }
    }

    #[test]
    fn a_safetensors_file_cut_or_changed_anywhere_never_panics() {
        let path = Path::new("features-00000.safetensors");
        let whole = encode(Format::Safetensors, &shard(), SHAPE, &provenance()).unwrap().main;
        for cut in 0..whole.len() {
            let error = decode(Format::Safetensors, whole[..cut].to_vec(), None, path).unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "cut at {cut}: {error}");
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= flip;
                if let Err(error) = decode(Format::Safetensors, changed, None, path) {
                    assert_eq!(error.kind(), Kind::Data, "byte {at}: {error}");
                }
            }
        }
    }
}
