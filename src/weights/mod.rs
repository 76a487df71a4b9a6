//! Weights as named tensors on the host, in the layout of the published checkpoints: from every form in which they are
//! stored, and their way into a module.
//!
//! Only this module renames and transposes: everywhere else a parameter's path is its name. Files are untrusted:
//! pickles are parsed and never run, and every length is checked against the file before memory is taken for it.

mod architecture;
mod bounds;
mod export;
mod file;
mod globals;
mod header;
mod hf;
mod hf_vjepa2;
mod host;
mod inspect;
mod manifest;
#[cfg(feature = "train")]
mod module;
mod names;
mod newest;
mod open;
mod plan;
mod provenance;
mod pth;
mod store;
#[cfg(test)]
mod tests;
mod walk;

pub use export::export_hf;
pub use file::{Metadata, length, place, read, write};
pub use header::Header;
#[cfg(feature = "train")]
pub(crate) use header::check_sum;
pub use hf_vjepa2::open_predictor;
pub use host::{HostTensor, Tensors};
pub use inspect::{EncoderSum, EncoderView, Inspection, Network, TensorView, Verified};
pub use manifest::{FileEntry, Manifest, Whole};
#[cfg(feature = "train")]
pub use module::{Gradients, Pick, Values, collect, fill, load};
pub use names::MOMENTS;
pub(crate) use newest::{LATEST, latest};
pub use open::{Loaded, Source, open, open_as};
pub use plan::{of_plan, taken_by_plan};
pub use provenance::{Clips, Format, Preprocessing, Provenance, Resize, Which, sum};
pub use store::{Container, Dtype, Entry, Store};

/// The first few of `names`; all of them would fill screens where a whole network is missing.
fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let rest = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - rest].join(", ");
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}
