//! Shards as safetensors files.
//!
//! | tensor | type | shape |
//! |---|---|---|
//! | `features` | F32 or F16 | `[n, dim]` or `[n, tokens, dim]` |
//! | `labels` | I64 | `[n]`, -1 where there is none |
//! | `index` | I64 | `[n]`, the place in the input |
//! | `names` | U8 | UTF-8, one name after the other |
//! | `name_offsets` | I64 | `[n + 1]`, where each name begins, and the end |
//! | `times` | F64 | of clips: `[n, times, 2]`, the seconds at which a time's first and last frame is shown |
//!
//! Names are a tensor, not JSON in the header, because headers end at 100 MB, a million paths.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use super::{Decoded, Encoded, cannot_encode, from_bytes, parse_provenance, provenance_json, to_bytes};
use crate::error::{Error, Result};
use crate::extract::provenance::{FeatureDtype, Provenance};
use crate::extract::shard::{Shape, Shard};

/// The only key of the header's metadata; with a second one the order in the file would be random.
pub(super) const PROVENANCE: &str = "provenance";

pub(super) fn encode(shard: &Shard, shape: Shape, provenance: &Provenance) -> Result<Encoded> {
    let rows = shard.rows();
    let ends = shard.names.iter().scan(0, |end, name| {
        *end += name.len() as i64;
        Some(*end)
    });
    let offsets: Vec<i64> = std::iter::once(0).chain(ends).collect();
    let names = shard.names.concat().into_bytes();
    let mut tensors = vec![
        (
            "features",
            dtype(provenance.dtype),
            shape.with_rows(rows, provenance.tokens),
            to_bytes(&shard.features, provenance.dtype),
        ),
        ("labels", Dtype::I64, vec![rows], integers(&shard.labels)),
        ("index", Dtype::I64, vec![rows], integers(&shard.index)),
        ("names", Dtype::U8, vec![names.len()], names),
        ("name_offsets", Dtype::I64, vec![offsets.len()], integers(&offsets)),
    ];
    if let Some(shape) = shard.times_shape() {
        tensors.push(("times", Dtype::F64, shape, shard.times.iter().flat_map(|time| time.to_le_bytes()).collect()));
    }
    let views =
        tensors.iter().map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)));
    let metadata = HashMap::from([(PROVENANCE.to_owned(), provenance_json(provenance, &shard.classes)?)]);
    let main = views
        .collect::<std::result::Result<Vec<_>, SafeTensorError>>()
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| cannot_encode("features as safetensors", error))?;
    Ok(Encoded { main, sidecar: None })
}

pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Decoded> {
    let invalid = |error: SafeTensorError| Error::data(path, format!("not a whole safetensors file: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(invalid)?;
    let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(PROVENANCE));
    let (provenance, classes) = parse_provenance(metadata.map(String::as_str), path)?;

    let features = tensor(&tensors, "features", dtype(provenance.dtype), path)?;
    let (_, shape) = Shape::of_tensor(features.shape(), path)?;
    let offsets = read_integers(&tensors, "name_offsets", path)?;
    let shard = Shard {
        index: read_integers(&tensors, "index", path)?,
        labels: read_integers(&tensors, "labels", path)?,
        names: read_names(tensor(&tensors, "names", Dtype::U8, path)?.data(), &offsets, path)?,
        features: from_bytes(features.data(), provenance.dtype),
        times: match tensors.tensor("times") {
            Err(_) => Vec::new(),
            Ok(_) => {
                let bytes = tensor(&tensors, "times", Dtype::F64, path)?.data();
                bytes.as_chunks().0.iter().map(|&chunk| f64::from_le_bytes(chunk)).collect()
            }
        },
        classes,
    };
    Ok(Decoded { shard, shape, provenance })
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype, path: &Path) -> Result<TensorView<'a>> {
    let view = tensors.tensor(name).map_err(|_| Error::data(path, format!("has no tensor {name}")))?;
    if view.dtype() != dtype {
        return Err(Error::data(path, format!("tensor {name} is {:?}, expected {dtype:?}", view.dtype())));
    }
    Ok(view)
}

fn dtype(dtype: FeatureDtype) -> Dtype {
    match dtype {
        FeatureDtype::F32 => Dtype::F32,
        FeatureDtype::F16 => Dtype::F16,
    }
}

fn integers(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn read_integers(tensors: &SafeTensors, name: &str, path: &Path) -> Result<Vec<i64>> {
    let bytes = tensor(tensors, name, Dtype::I64, path)?.data();
    Ok(bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect())
}

fn read_names(bytes: &[u8], offsets: &[i64], path: &Path) -> Result<Vec<String>> {
    let name = |pair: &[i64]| {
        let (from, to) = (usize::try_from(pair[0]).ok()?, usize::try_from(pair[1]).ok()?);
        std::str::from_utf8(bytes.get(from..to)?).ok().map(str::to_owned)
    };
    let names: Option<Vec<String>> = offsets.windows(2).map(name).collect();
    names.ok_or_else(|| Error::data(path, "tensor name_offsets does not cut tensor names into UTF-8"))
}
