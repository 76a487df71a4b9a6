//! The mathematics of JEPA, written once with burn tensors: encoder, predictor, and what they are made of.
//!
//! Field names equal the parts of the published checkpoints' keys, so a parameter's path is its name.

mod attention;
mod attentive;
mod block;
mod encoder;
mod gather;
mod init;
mod layers;
mod mlp;
mod patch_embed;
mod position;
mod predictor;
mod rope;

pub use attention::Attention;
pub use attentive::{
    AttentivePooler, AttentiveProbe, AttentiveShape, CrossAttention, CrossAttentionBlock,
    NORM_EPS as ATTENTIVE_NORM_EPS,
};
pub use block::Block;
pub use encoder::Encoder;
pub use gather::{Gather, rows_of};
pub use init::Init;
pub use layers::{LayerNorm, Linear};
pub use mlp::Mlp;
pub use patch_embed::PatchEmbed;
pub use position::{Axis, Kernel, clip_axes, interpolate, picture_axes, sincos};
pub use predictor::Predictor;
pub use rope::{Rope, Rotation};
