//! The sizes of the networks: a vision transformer over patches or tubelets, and the predictor beside it.

use serde::{Deserialize, Serialize};

/// A vision transformer over the patches of a picture or the tubelets of a clip, and the predictor beside it.
///
/// A picture is a clip of one frame, with tubelets of one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Frames of a clip; 1 for pictures, and where it is left out.
    #[serde(default = "one")]
    pub frames: usize,
    /// Frames that one token spans; 1 for pictures, and where it is left out.
    #[serde(default = "one")]
    pub tubelet: usize,
    /// Colour channels of the input.
    pub channels: usize,
    /// Width of a token.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; `dim` is a multiple of it.
    pub heads: usize,
    /// Width of the hidden layer of a block's MLP.
    pub mlp: usize,
    /// LayerNorm's epsilon; JEPA's is 1e-6.
    pub norm_eps: f64,
    /// How encoder and predictor know where a token is.
    #[serde(default)]
    pub positions: Positions,
    /// The network that predicts targets from the context.
    pub predictor: PredictorConfig,
}

/// The narrow transformer that predicts target features from context features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorConfig {
    /// Width of a token inside the predictor.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; I-JEPA's and V-JEPA's published configurations keep the encoder's number.
    pub heads: usize,
    /// Width of the hidden layer of a block's MLP.
    pub mlp: usize,
    /// Tokens that stand for what is hidden: a pass over range `i` of the masks takes number `i`, counted around.
    #[serde(default = "one")]
    pub mask_tokens: usize,
}

/// How encoder and predictor know where a token is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// I-JEPA's table of sines and cosines, for pictures: half of the channels for the column, then half for the row.
    #[default]
    Ijepa,
    /// V-JEPA's: half for the time, a quarter each for row and column; of a picture half for the row, half for the column.
    Vjepa,
    /// V-JEPA's with `uniform_power`: a third each for time, row and column.
    UniformPower,
    /// V-JEPA 2's: queries and keys are rotated by time, row and column, and there is no table.
    Rope,
}

/// Tokens along time and along each side of the square; a picture has one along time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Along time.
    pub time: usize,
    /// Along height and along width.
    pub side: usize,
}

impl Grid {
    /// All of them.
    pub fn tokens(self) -> usize {
        self.time * self.area()
    }

    /// Those of one time.
    pub fn area(self) -> usize {
        self.side * self.side
    }
}

/// The grid of a picture.
impl From<usize> for Grid {
    fn from(side: usize) -> Self {
        Self { time: 1, side }
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { time, side } = self;
        if *time > 1 { write!(f, "{time}x{side}x{side}") } else { write!(f, "{side}x{side}") }
    }
}

impl ModelConfig {
    /// Tokens along each axis.
    pub fn grid(&self) -> Grid {
        Grid { time: self.frames / self.tubelet, side: self.image_size / self.patch_size }
    }

    /// Tokens of one picture or clip.
    pub fn tokens(&self) -> usize {
        self.grid().tokens()
    }

    /// Values of one patch or tubelet.
    pub fn patch_values(&self) -> usize {
        self.channels * self.tubelet * self.patch_size * self.patch_size
    }

    /// The planes, rows and columns of one input: `[C T, H, W]`, a channel's frames one after the other.
    pub fn input_shape(&self) -> [usize; 3] {
        [self.channels * self.frames, self.image_size, self.image_size]
    }

    /// Bytes of the encoder's table of positions as f32: a row of sines a token, or of the angles by which a head is turned.
    pub fn table_bytes(&self) -> f64 {
        let row = match self.positions {
            Positions::Rope => 2 * self.dim / self.heads,
            Positions::Ijepa | Positions::Vjepa | Positions::UniformPower => self.dim,
        };
        (self.tokens() * row * size_of::<f32>()) as f64
    }

    /// Bytes of the encoder's parameters as f32 with its position table, and of the predictor's: the large ones, which
    /// decide whether they fit into memory.
    pub fn parameter_bytes(&self) -> [f64; 2] {
        let blocks = |dim: usize, depth: usize, mlp: usize| {
            let (dim, depth, mlp) = (dim as f64, depth as f64, mlp as f64);
            depth * (4.0 * dim * dim + 2.0 * dim * mlp)
        };
        let Self { dim, depth, mlp, predictor, .. } = self;
        let encoder = blocks(*dim, *depth, *mlp) + self.patch_values() as f64 * *dim as f64;
        let between = ((2 * dim + self.tokens()) * predictor.dim) as f64;
        let predictor = blocks(predictor.dim, predictor.depth, predictor.mlp) + between;
        let [encoder, predictor] = [encoder, predictor].map(|values| values * size_of::<f32>() as f64);
        [encoder + self.table_bytes(), predictor]
    }

    /// Bytes of one input.
    pub fn input_bytes(&self) -> f64 {
        (self.input_shape().iter().product::<usize>() * size_of::<f32>()) as f64
    }
}

fn one() -> usize {
    1
}
