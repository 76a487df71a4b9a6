//! Writing a package: aside first, then renamed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use half::bf16;
use safetensors::tensor::{Dtype as Stored, View};
use serde::Serialize;

use super::{LAUNCHES, PLAN, PREPROCESS, PROVENANCE, SHADERS, shard};
use crate::atomic::{self, partial_path};
use crate::compile::{Buffer, Dtype, Plan, wgsl};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::extract::Provenance;
use crate::runtime::halves;
use crate::weights::{FileEntry, Loaded, Manifest, of_plan};

/// The most bytes of a file of weights that holds more than one.
const SHARD: usize = 64 << 20;

/// What a package is made of.
pub struct Contents<'a> {
    /// The weights, and how pictures are prepared for them.
    pub loaded: &'a Loaded,
    /// The plan of their encoder.
    pub plan: &'a Plan,
    /// Where its features come from.
    pub provenance: &'a Provenance,
}

/// How a dispatch is launched on a GPU.
#[derive(Serialize)]
struct Launch<'a> {
    label: &'a str,
    shader: String,
    constants: BTreeMap<&'static str, f64>,
    workgroups: [u32; 3],
    /// Places in the plan's buffers, in the order of the shader's bindings.
    operands: Vec<usize>,
}

/// Writes a package into `folder`, which must not exist.
///
/// # Errors
/// A usage error where there is something at this path or no shader serves the plan, a data error where a weight is missing,
/// mis-shaped or more than f16 holds, an error of the file system.
pub fn write(folder: &Path, contents: &Contents) -> Result<()> {
    let folder = folder.components().as_path();
    if folder.exists() {
        return Err(Error::usage(format!("{} exists", folder.display())).with_remedy("name a new folder"));
    }
    let aside = partial_path(folder);
    if aside.exists() {
        return Err(Error::usage(format!("{} is in the way", aside.display())).with_remedy("remove it"));
    }
    let written = fill(&aside, contents);
    if written.is_err() {
        // What is half written is of no use; the first error is the one to tell.
        let _ = fs::remove_dir_all(&aside);
    }
    written?;
    atomic::rename(&aside, folder)
}

fn fill(folder: &Path, contents: &Contents) -> Result<()> {
    let Contents { loaded, plan, provenance } = contents;
    fs::create_dir_all(folder).at("create", folder)?;
    let mut files = Vec::new();
    json(folder, PLAN, plan, &mut files)?;
    json(folder, PREPROCESS, &loaded.provenance.preprocessing, &mut files)?;
    json(folder, PROVENANCE, provenance, &mut files)?;
    if plan.dtype != Dtype::Bf16 {
        json(folder, LAUNCHES, &launches(plan, folder, &mut files)?, &mut files)?;
    }
    weights(folder, contents, &mut files)?;
    Manifest::new(files).write(folder)
}

/// Writes the shaders, each once, and says how they are launched.
fn launches<'a>(plan: &'a Plan, folder: &Path, files: &mut Vec<FileEntry>) -> Result<Vec<Launch<'a>>> {
    let shaders = folder.join(SHADERS);
    fs::create_dir_all(&shaders).at("create", &shaders)?;
    let mut written = BTreeSet::new();
    let mut launches = Vec::new();
    for dispatch in &plan.dispatches {
        let stored: Vec<Dtype> = dispatch.operands.iter().map(|&operand| plan.buffer(operand).dtype).collect();
        let shader = wgsl::shader(&dispatch.kernel, &stored, None)?;
        let name = format!("{SHADERS}/{}.wgsl", shader.permutation);
        if written.insert(name.clone()) {
            put(folder, &name, shader.source.as_bytes(), files)?;
        }
        launches.push(Launch {
            label: &dispatch.label,
            shader: name,
            constants: shader.constants.into_iter().collect(),
            workgroups: shader.workgroups,
            operands: dispatch.operands.iter().map(|operand| operand.0).collect(),
        });
    }
    Ok(launches)
}

/// A weight as it is stored, little-endian.
struct Weight {
    buffer: Buffer,
    bytes: Vec<u8>,
}

impl View for &Weight {
    fn dtype(&self) -> Stored {
        match self.buffer.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::BF16,
            Dtype::U32 => Stored::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.buffer.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn weights(folder: &Path, contents: &Contents, files: &mut Vec<FileEntry>) -> Result<()> {
    let buffers = contents.plan.buffers.iter().filter(|buffer| buffer.role.is_constant());
    let (mut held, mut bytes) = (Vec::new(), 0);
    for buffer in buffers {
        if bytes > 0 && bytes + buffer.bytes() > SHARD {
            flush(folder, &mut held, files)?;
            bytes = 0;
        }
        bytes += buffer.bytes();
        let values = of_plan(&contents.loaded.tensors, buffer)?;
        held.push(Weight { bytes: encoded(&values, buffer)?, buffer: buffer.clone() });
    }
    flush(folder, &mut held, files)
}

fn encoded(values: &[f32], buffer: &Buffer) -> Result<Vec<u8>> {
    Ok(match buffer.dtype {
        Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Dtype::U32 => values.iter().flat_map(|value| (*value as u32).to_le_bytes()).collect(),
        Dtype::F16 => halves(buffer, values)?,
        Dtype::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    })
}

fn flush(folder: &Path, held: &mut Vec<Weight>, files: &mut Vec<FileEntry>) -> Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let name = shard(files.iter().filter(|file| file.name.starts_with("weights-")).count() + 1);
    let views = held.iter().map(|weight| (weight.buffer.label.as_str(), weight));
    let content = safetensors::serialize(views, None)
        .map_err(|error| Error::new(Kind::Other, format!("cannot write {name}: {error}")))?;
    held.clear();
    put(folder, &name, &content, files)
}

fn json(folder: &Path, name: &str, content: &impl Serialize, files: &mut Vec<FileEntry>) -> Result<()> {
    let text = serde_json::to_vec_pretty(content).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
    put(folder, name, &text, files)
}

fn put(folder: &Path, name: &str, content: &[u8], files: &mut Vec<FileEntry>) -> Result<()> {
    atomic::write(&folder.join(name), content)?;
    files.push(FileEntry::of(name, content));
    Ok(())
}
