//! Shards as parquet files: one row an image, so that a table reader sees what it expects.
//!
//! `features` is a list of 32-bit floats; patch features are one flat list a row, token after token, and the footer's
//! `shape` says how to cut it. Of clips there is a column `times`, a list of pairs of 64-bit floats. Nothing is compressed: features do not get smaller.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::{Decoded, Encoded, cannot_encode, parse_provenance, provenance_json};
use crate::error::{Error, Result};
use crate::extract::provenance::{FeatureDtype, Provenance};
use crate::extract::shard::{Shape, Shard};

pub(super) fn encode(shard: &Shard, shape: Shape, provenance: &Provenance) -> Result<Encoded> {
    if provenance.dtype != FeatureDtype::F32 {
        return Err(Error::usage("features of 16 bits cannot be written as parquet")
            .with_remedy("use --dtype f32, or --format safetensors or npy"));
    }
    let main = write(shard, shape, metadata(provenance, &shard.classes, shape)?)
        .map_err(|error| cannot_encode("features as parquet", error))?;
    Ok(Encoded { main, sidecar: None })
}

/// What the footer says beside the columns.
fn metadata(provenance: &Provenance, classes: &[String], shape: Shape) -> Result<Vec<KeyValue>> {
    let shape = serde_json::to_string(&shape).map_err(|error| cannot_encode("the shape", error))?;
    let pairs = [("provenance", provenance_json(provenance, classes)?), ("shape", shape)];
    Ok(pairs.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec())
}

fn write(shard: &Shard, shape: Shape, metadata: Vec<KeyValue>) -> ParquetResult<Vec<u8>> {
    let properties = WriterProperties::builder()
        // The library's own name and version would change the bytes, and so the sums, with every release of it.
        .set_created_by("anyjepa".to_owned())
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(metadata))
        .build();
    let times = shard.times_shape();
    let mut file = SerializedFileWriter::new(Vec::new(), schema(times.is_some())?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    write_column::<Int64Type>(&mut group, &shard.index)?;
    let names: Vec<ByteArray> = shard.names.iter().map(|name| ByteArray::from(name.as_str())).collect();
    write_column::<ByteArrayType>(&mut group, &names)?;
    write_column::<Int64Type>(&mut group, &shard.labels)?;

    write_lists::<FloatType>(&mut group, &shard.features, shape.width())?;
    if let Some(times) = times {
        write_lists::<DoubleType>(&mut group, &shard.times, times[1] * times[2])?;
    }
    group.close()?;
    file.into_inner()
}

/// Writes a column of lists, each of `width` values.
fn write_lists<T: DataType>(
    group: &mut SerializedRowGroupWriter<Vec<u8>>,
    values: &[T::T],
    width: usize,
) -> ParquetResult<()> {
    if let Some(mut column) = group.next_column()? {
        // Repetition 0 begins a row; definition 1 says that a value is there, which every one is.
        let row: Vec<i16> = (0..width).map(|at| i16::from(at > 0)).collect();
        for values in values.chunks(width) {
            column.typed::<T>().write_batch(values, Some(&vec![1; values.len()]), Some(&row))?;
        }
        column.close()?;
    }
    Ok(())
}

fn write_column<T: DataType>(group: &mut SerializedRowGroupWriter<Vec<u8>>, values: &[T::T]) -> ParquetResult<()> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, None, None)?;
        column.close()?;
    }
    Ok(())
}

/// Of clips with a column of times.
fn schema(times: bool) -> ParquetResult<TypePtr> {
    let leaf = |name: &str, kind, logical| {
        let builder = Type::primitive_type_builder(name, kind).with_repetition(Repetition::REQUIRED);
        builder.with_logical_type(logical).build().map(Arc::new)
    };
    let group = |name: &str, repetition, logical, field| {
        let builder = Type::group_type_builder(name).with_repetition(repetition).with_fields(vec![field]);
        builder.with_logical_type(logical).build().map(Arc::new)
    };
    // The three levels that the format's specification prescribes for lists.
    let lists = |name: &str, kind| {
        let element = leaf("element", kind, None)?;
        let list = group("list", Repetition::REPEATED, None, element)?;
        group(name, Repetition::REQUIRED, Some(LogicalType::List), list)
    };
    let mut fields = vec![
        leaf("index", PhysicalType::INT64, None)?,
        leaf("name", PhysicalType::BYTE_ARRAY, Some(LogicalType::String))?,
        leaf("label", PhysicalType::INT64, None)?,
        lists("features", PhysicalType::FLOAT)?,
    ];
    if times {
        fields.push(lists("times", PhysicalType::DOUBLE)?);
    }
    Ok(Arc::new(Type::group_type_builder("features").with_fields(fields).build()?))
}

/// Decodes a file whose BLAKE3 the caller has verified: the parser below trusts its input.
pub(super) fn decode(bytes: Vec<u8>, path: &Path) -> Result<Decoded> {
    let invalid = |error: ParquetError| Error::data(path, format!("not a parquet file of features: {error}"));
    let file = SerializedFileReader::new(Bytes::from(bytes)).map_err(invalid)?;
    let columns = file.metadata().file_metadata().schema();
    let known = |times| schema(times).is_ok_and(|schema| *schema == *columns);
    // A column is read as what it should be.
    if !known(false) && !known(true) {
        return Err(Error::data(path, "its columns are not those of features: index, name, label, features and times")
            .with_remedy("extract the features again"));
    }
    let metadata = file.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| metadata?.iter().find(|pair| pair.key == key)?.value.as_deref();
    let (provenance, classes) = parse_provenance(value("provenance"), path)?;
    let shape: Shape = serde_json::from_str(value("shape").unwrap_or_default())
        .map_err(|error| Error::data(path, format!("has an invalid shape: {error}")))?;
    let mut shard = Shard { classes, ..Shard::default() };
    for group in 0..file.num_row_groups() {
        file.get_row_group(group).and_then(|group| read(&*group, &mut shard)).map_err(invalid)?;
    }
    Ok(Decoded { shard, shape, provenance })
}

fn read(group: &dyn RowGroupReader, shard: &mut Shard) -> ParquetResult<()> {
    let mut names: Vec<ByteArray> = Vec::new();
    read_column::<Int64Type>(group, 0, &mut shard.index)?;
    read_column::<ByteArrayType>(group, 1, &mut names)?;
    read_column::<Int64Type>(group, 2, &mut shard.labels)?;
    read_column::<FloatType>(group, 3, &mut shard.features)?;
    if group.num_columns() > 4 {
        read_column::<DoubleType>(group, 4, &mut shard.times)?;
    }
    for name in names {
        shard.names.push(name.as_utf8()?.to_owned());
    }
    Ok(())
}

fn read_column<T: DataType>(group: &dyn RowGroupReader, column: usize, values: &mut Vec<T::T>) -> ParquetResult<()> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut definitions), Some(&mut repetitions), values)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::extract::provenance::example;

    /// What a file of these columns, without rows, that says of itself that it holds features, gives.
    fn decoded(columns: &str) -> Result<Decoded> {
        let shape = Shape { tokens: 1, dim: 3 };
        let metadata = metadata(&example(), &[], shape).unwrap();
        let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
        let columns = parse_message_type(&format!("message features {{ {columns} }}")).unwrap();
        let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(columns), Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        while let Some(column) = group.next_column().unwrap() {
            column.close().unwrap();
        }
        group.close().unwrap();
        decode(file.into_inner().unwrap(), Path::new("features.parquet"))
    }

    #[test]
    fn columns_that_are_not_those_of_features_are_refused() {
        const OURS: &str = "required int64 index; required binary name (STRING); required int64 label; \
                            required group features (LIST) { repeated group list { required float element; } }";
        assert!(decoded(OURS).is_ok());
        for (ours, theirs) in [
            ("int64 label", "int32 label"),
            ("float element", "double element"),
            ("required int64 label; ", ""),
            ("required int64 index", "optional int64 index"),
            ("} }", "} } required int64 times;"),
        ] {
            let error = decoded(&OURS.replace(ours, theirs)).unwrap_err();
            assert!(error.to_string().contains("its columns are not those of features"), "{theirs}: {error}");
        }
    }
}
