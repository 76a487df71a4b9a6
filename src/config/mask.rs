//! How tokens are hidden: blocks of a picture as in I-JEPA, tubes of a clip as in V-JEPA.

use serde::{Deserialize, Serialize};

/// Which tokens the context shows and which are to be predicted.
///
/// Pictures have the keys of [`BlockConfig`] beside `mode`, clips the tables `short` and `long` of [`TubeConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct MaskConfig {
    /// Which sampler.
    pub mode: MaskMode,
    /// What it draws.
    pub shape: MaskShape,
}

/// What a sampler draws.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskShape {
    /// Blocks of a picture: one pass, each target block predicted on its own.
    Blocks(BlockConfig),
    /// Tubes of a clip: a pass for each range, whose blocks together are its one target.
    Tubes(TubeConfig),
}

/// How blocks of tokens are hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskMode {
    /// The published code's sampler, its quirks included.
    #[default]
    Reference,
    /// Scale and aspect drawn on their own, every position reachable, cuts that do not depend on the batch.
    Unbiased,
    /// Ablation, of pictures: one target block, the context is its complement.
    Block,
    /// Ablation, of pictures: the context is one quadrant, the other three are targets.
    Rasterised,
    /// Ablation: random tokens of a picture, or random tubes of a clip, are targets, the rest is context.
    Random,
}

/// Multi-block masks of pictures (I-JEPA, section 3).
#[derive(Debug, Clone, PartialEq)]
pub struct BlockConfig {
    /// Context blocks an image.
    pub contexts: usize,
    /// Share of the grid that a context block covers, from and to.
    pub context_scale: [f64; 2],
    /// Target blocks an image.
    pub targets: usize,
    /// Share of the grid that a target block covers, from and to.
    pub target_scale: [f64; 2],
    /// Height over width of a target block, from and to.
    pub target_aspect: [f64; 2],
    /// A mask keeps more than this many tokens.
    pub min_keep: usize,
    /// Whether the context may keep tokens of target blocks.
    pub allow_overlap: bool,
}

/// Masks of clips (V-JEPA, section 3.2): the targets of two ranges, each a pass of its own with a mask token of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct TubeConfig {
    /// Many small blocks.
    pub short: RangeConfig,
    /// Few large blocks.
    pub long: RangeConfig,
}

/// The masks of one range: the target is the union of its blocks, the context what is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeConfig {
    /// Blocks a clip; 0 leaves the range out.
    pub num_blocks: usize,
    /// Share of a frame that a block covers, from and to.
    pub spatial_scale: [f64; 2],
    /// Share of the time that a block lasts, from and to.
    pub temporal_scale: [f64; 2],
    /// Height over width of a block, from and to.
    pub aspect_ratio: [f64; 2],
    /// Share of the time, from its begin, that the context sees.
    pub max_temporal_keep: f64,
    /// Most tokens of a context; 0 sets no bound.
    pub max_keep: usize,
}

impl MaskConfig {
    /// The blocks of a picture, if that is what is drawn.
    pub fn blocks(&self) -> Option<&BlockConfig> {
        match &self.shape {
            MaskShape::Blocks(blocks) => Some(blocks),
            MaskShape::Tubes(_) => None,
        }
    }
}

impl TubeConfig {
    /// Both ranges with their keys; a range's place is that of its mask token.
    pub fn ranges(&self) -> [(&'static str, &RangeConfig); 2] {
        [("short", &self.short), ("long", &self.long)]
    }
}

/// Every key that either shape can have.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    mode: MaskMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    contexts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_scale: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_scale: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_aspect: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_keep: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_overlap: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<RangeConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long: Option<RangeConfig>,
}

impl TryFrom<Keys> for MaskConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        fn need<T>(key: &str, value: Option<T>) -> Result<T, String> {
            value.ok_or_else(|| format!("missing field `{key}`"))
        }
        let given = keys.clone();
        let shape = match (keys.short, keys.long) {
            (None, None) => MaskShape::Blocks(BlockConfig {
                contexts: need("contexts", keys.contexts)?,
                context_scale: need("context_scale", keys.context_scale)?,
                targets: need("targets", keys.targets)?,
                target_scale: need("target_scale", keys.target_scale)?,
                target_aspect: need("target_aspect", keys.target_aspect)?,
                min_keep: need("min_keep", keys.min_keep)?,
                allow_overlap: need("allow_overlap", keys.allow_overlap)?,
            }),
            (short, long) => MaskShape::Tubes(TubeConfig { short: need("short", short)?, long: need("long", long)? }),
        };
        let config = Self { mode: keys.mode, shape };
        match Keys::from(config.clone()) == given {
            true => Ok(config),
            false => Err("`short` and `long` are for clips and stand beside `mode` alone".to_owned()),
        }
    }
}

impl From<MaskConfig> for Keys {
    fn from(config: MaskConfig) -> Self {
        let keys = Self { mode: config.mode, ..Self::default() };
        match config.shape {
            MaskShape::Blocks(blocks) => Self {
                contexts: Some(blocks.contexts),
                context_scale: Some(blocks.context_scale),
                targets: Some(blocks.targets),
                target_scale: Some(blocks.target_scale),
                target_aspect: Some(blocks.target_aspect),
                min_keep: Some(blocks.min_keep),
                allow_overlap: Some(blocks.allow_overlap),
                ..keys
            },
            MaskShape::Tubes(TubeConfig { short, long }) => Self { short: Some(short), long: Some(long), ..keys },
        }
    }
}
