//! Reading a package back, and bringing it to a device.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{PLAN, PREPROCESS, PROVENANCE, shard};
use crate::compile::{Buffer, Plan};
use crate::data::{EvalTransform, InputFormat};
use crate::device::Spec;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::extract::{CompiledEngine, FeatureDtype, Frozen, Provenance, Shape, Times, Tokens};
use crate::runtime::{self, TooLarge};
use crate::weights::{HostTensor, Manifest, Preprocessing, Store, Whole};

/// A package whose files are whole.
#[derive(Debug)]
pub struct Package {
    folder: PathBuf,
    /// The files of weights, in order.
    shards: Vec<PathBuf>,
    /// What runs.
    pub plan: Plan,
    /// How pictures are prepared.
    pub transform: EvalTransform,
    /// Where the features come from.
    pub provenance: Provenance,
}

impl Package {
    /// Whether a package stands at `path`, whole or not.
    pub fn stands_at(path: &Path) -> bool {
        path.join(PLAN).is_file()
    }

    /// Reads the package in `folder` and checks the sum of every file; one that its manifest does not list is not read.
    ///
    /// # Errors
    /// A data error where the folder is no package, a file of it is not listed, missing or damaged, or the plan is broken.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join(Manifest::FILE).is_file() || !Self::stands_at(folder) {
            return Err(
                Error::data(folder, "is no package").with_remedy("`anyjepa compile WEIGHTS --out DIR` writes one")
            );
        }
        let manifest = Manifest::read(folder, Whole::Package)?;
        manifest.check(folder, &[PLAN, PREPROCESS, PROVENANCE])?;
        let shards = (1..).map(shard).take_while(|name| manifest.lists(name)).map(|name| folder.join(name)).collect();
        let provenance: Provenance = json(folder, PROVENANCE)?;
        let preprocessing: Preprocessing = json(folder, PREPROCESS)?;
        let transform = preprocessing.transform(provenance.image_size)?;
        let plan: Plan = json(folder, PLAN)?;
        runtime::check(&plan)?;
        takes(&plan, transform.input())?;
        Ok(Self { folder: folder.to_owned(), shards, plan, transform, provenance })
    }

    /// What one row of the features holds.
    ///
    /// # Errors
    /// A data error where the plan's features are not those that the provenance names.
    pub fn shape(&self) -> Result<Shape> {
        shape(&self.provenance, features(&self.plan)?)
    }

    /// How the times of frames become those of a row's features.
    pub fn times(&self) -> Times {
        let [frames, tubelet] = self.plan.spans().unwrap_or([1, 1]);
        Times::of([frames, frames / tubelet.max(1)], self.provenance.tokens, self.transform.sampling().clips)
    }

    /// Reads every weight.
    ///
    /// # Errors
    /// A data error where one is missing, mis-shaped, or holds a value that is no number.
    pub fn verify(&self) -> Result<()> {
        let stores = stores(&self.shards)?;
        let mut weights = self.plan.buffers.iter().filter(|buffer| buffer.role.is_constant());
        weights.try_for_each(|buffer| {
            let found = weight(&self.folder, &stores, buffer)?;
            if found.is_finite() {
                return Ok(());
            }
            Err(again(Error::data(&self.folder, format!("{} holds a value that is no number", buffer.label))))
        })
    }

    /// Brings the plan to `device`, for fewer images at once where its batch is too large there; features are stored as
    /// `dtype`.
    ///
    /// # Errors
    /// A data error where the plan is broken or a weight is missing, a device error where there is no such device or it
    /// is too small.
    pub fn load(self, device: Spec, dtype: FeatureDtype) -> Result<Frozen> {
        let Self { folder, shards, plan, transform, mut provenance } = self;
        let stores = stores(&shards)?;
        let weights = |buffer: &Buffer| Ok(weight(&folder, &stores, buffer)?.values);
        let engine = runtime::open(device, plan, TooLarge::Split, &weights)?;
        provenance.dtype = dtype;
        let shape = shape(&provenance, features(engine.plan())?)?;
        let engine = CompiledEngine::new(engine, shape);
        Ok(Frozen { engine: Box::new(engine), transform, provenance })
    }
}

/// Checks that the plan's images are what the pictures become, and its clips what the films become.
pub(super) fn takes(plan: &Plan, format: &InputFormat) -> Result<()> {
    let [channels, height, width] = format.shape();
    let found = plan.input().map(|input| plan.buffer(input).shape.as_slice()).unwrap_or_default();
    if found == [plan.batch, channels, height, width] {
        return match plan.spans() {
            Some([frames, tubelet]) if frames != format.frames() || !frames.is_multiple_of(tubelet) => {
                let becomes = format.frames();
                Err(unfit(format!("the plan cuts {frames} frames by {tubelet}, and films become clips of {becomes}")))
            }
            _ => Ok(()),
        };
    }
    Err(unfit(format!(
        "the plan takes images of the shape {found:?}, and pictures become {channels}x{height}x{width}, {} at once",
        plan.batch
    )))
}

/// The axes of a plan's features.
fn features(plan: &Plan) -> Result<Vec<usize>> {
    let output = plan.output().map(|output| plan.buffer(output).shape.clone());
    output.ok_or_else(|| unfit("the plan has no output"))
}

/// What one row of features holds.
fn shape(provenance: &Provenance, output: Vec<usize>) -> Result<Shape> {
    let [_, tokens, dim] = output[..] else {
        return Err(unfit(format!("the plan's features have the shape {output:?}, expected three axes")));
    };
    match (provenance.tokens, tokens) {
        (Tokens::Pooled, 1) | (Tokens::Patch, _) => Ok(Shape { tokens, dim }),
        _ => Err(unfit("the plan's features are not those that its provenance names")),
    }
}

/// The weight of `buffer`, in its layout.
fn weight(folder: &Path, stores: &[Store], buffer: &Buffer) -> Result<HostTensor> {
    let entry = stores.iter().find_map(|store| store.entries.get(&buffer.label));
    let entry = entry.ok_or_else(|| again(Error::data(folder, format!("the weight {} is missing", buffer.label))))?;
    let tensor = entry.floats().map_err(|error| again(Error::data(folder, format!("{}: {error}", buffer.label))))?;
    if tensor.shape != buffer.shape {
        let problem = format!("{} has the shape {:?}, expected {:?}", buffer.label, tensor.shape, buffer.shape);
        return Err(again(Error::data(folder, problem)));
    }
    Ok(tensor)
}

fn stores(shards: &[PathBuf]) -> Result<Vec<Store>> {
    shards.iter().map(|path| Store::safetensors(path)).collect()
}

/// That the plan is not that of its package.
fn unfit(problem: impl Into<String>) -> Error {
    again(Error::new(Kind::Data, problem))
}

/// What helps where a package is not as it was compiled.
fn again(error: Error) -> Error {
    error.with_remedy("compile it again")
}

fn json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let text = fs::read(&path).at("read", &path)?;
    serde_json::from_slice(&text).map_err(|error| again(Error::data(&path, error)))
}
