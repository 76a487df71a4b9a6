//! Shards as npy files, with everything but the features in a JSON file beside each.

use std::path::Path;

use ::half::f16;
use npyz::{AutoSerialize, NpyFile, WriterBuilder};
use serde::{Deserialize, Serialize};

use super::{Decoded, Encoded, cannot_encode};
use crate::error::{Error, Result};
use crate::extract::provenance::{FeatureDtype, Provenance};
use crate::extract::shard::{Shape, Shard};

/// What an npy file cannot say itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sidecar {
    provenance: Provenance,
    shape: Vec<usize>,
    /// BLAKE3 of the npy file, which has no sum of its own.
    blake3: String,
    index: Vec<i64>,
    labels: Vec<i64>,
    names: Vec<String>,
    /// For each row its times, each with the seconds at which its first and its last frame is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<Vec<[f64; 2]>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<String>,
}

pub(super) fn encode(shard: &Shard, shape: Shape, provenance: &Provenance) -> Result<Encoded> {
    let shape = shape.with_rows(shard.rows(), provenance.tokens);
    let main = match provenance.dtype {
        FeatureDtype::F32 => array(&shape, shard.features.iter().copied()),
        FeatureDtype::F16 => array(&shape, shard.features.iter().map(|&value| f16::from_f32(value))),
    }
    .map_err(|error| cannot_encode("features as npy", error))?;
    let sidecar = Sidecar {
        provenance: provenance.clone(),
        shape,
        blake3: blake3::hash(&main).to_hex().to_string(),
        index: shard.index.clone(),
        labels: shard.labels.clone(),
        names: shard.names.clone(),
        times: match shard.times_shape() {
            None => Vec::new(),
            Some(shape) => shard.times.as_chunks().0.chunks(shape[1]).map(<[_]>::to_vec).collect(),
        },
        classes: shard.classes.clone(),
    };
    let sidecar = serde_json::to_vec(&sidecar).map_err(|error| cannot_encode("names and labels", error))?;
    Ok(Encoded { main, sidecar: Some(sidecar) })
}

fn array<T: AutoSerialize>(shape: &[usize], values: impl Iterator<Item = T>) -> std::io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|&axis| axis as u64).collect();
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8], sidecar: &[u8], path: &Path) -> Result<Decoded> {
    let sidecar: Sidecar = serde_json::from_slice(sidecar).map_err(|error| {
        Error::data(path, format!("the JSON file beside it is not one of `anyjepa extract`: {error}"))
    })?;
    // The sum comes first: the parser below trusts its input.
    if blake3::hash(bytes).to_hex().as_str() != sidecar.blake3 {
        return Err(Error::data(path, "was changed or damaged: it does not have the BLAKE3 that the JSON file names"));
    }
    let invalid = |error: std::io::Error| Error::data(path, format!("not a whole npy file: {error}"));
    let file = NpyFile::new(bytes).map_err(invalid)?;
    let (_, shape) = Shape::of_tensor(&sidecar.shape, path)?;
    if !file.shape().iter().map(|&axis| axis as usize).eq(sidecar.shape.iter().copied()) {
        let message = format!("has shape {:?}, the JSON file says {:?}", file.shape(), sidecar.shape);
        return Err(Error::data(path, message));
    }
    let features = match sidecar.provenance.dtype {
        FeatureDtype::F32 => file.into_vec::<f32>().map_err(invalid)?,
        FeatureDtype::F16 => file.into_vec::<f16>().map_err(invalid)?.into_iter().map(f16::to_f32).collect(),
    };
    let Sidecar { provenance, index, labels, names, times, classes, .. } = sidecar;
    if times.windows(2).any(|rows| rows[0].len() != rows[1].len()) {
        return Err(Error::data(path, "the JSON file beside it gives its rows different numbers of times"));
    }
    let times = times.into_iter().flatten().flatten().collect();
    Ok(Decoded { shard: Shard { index, labels, names, features, times, classes }, shape, provenance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{provenance, shard};

    const SHAPE: Shape = Shape { tokens: 1, dim: 3 };

    #[test]
    fn a_changed_array_or_sidecar_is_refused() {
        let path = Path::new("features-00000.npy");
        let encoded = encode(&shard::example(), SHAPE, &provenance::example()).unwrap();
        let sidecar = encoded.sidecar.unwrap();
        for at in 0..encoded.main.len() {
            let mut changed = encoded.main.clone();
            changed[at] ^= 1;
            assert!(decode(&changed, &sidecar, path).is_err());
            assert!(decode(&encoded.main[..at], &sidecar, path).is_err());
        }
        for cut in 0..sidecar.len() {
            assert!(decode(&encoded.main, &sidecar[..cut], path).is_err());
        }
    }
}
