//! What runs: a list of dispatches over buffers, fit for a file, and free of any device.

use serde::{Deserialize, Serialize};

use super::Epilogue;

/// How values are stored; sums are always of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE).
    F16,
    /// bfloat16: weights of products alone, and on the processor alone; such a product rounds what it multiplies them with.
    Bf16,
    /// 32-bit whole numbers: which rows are kept, and nothing else.
    U32,
}

impl Dtype {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A buffer: its place in [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BufferId(pub usize);

/// What a buffer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// The images, `[B, C F, H, W]`, always of 32 bits.
    Input,
    /// The features, always of 32 bits.
    Output,
    /// Which rows of the flattened tokens `[B N, D]` are kept, whole numbers that are given beside the images.
    Kept,
    /// A parameter.
    Weight {
        /// Its name in the checkpoints.
        parameter: String,
        /// Whether the checkpoints hold the transpose, `[columns, rows]`.
        transposed: bool,
    },
    /// The cosines and sines by which queries and keys are turned, `[1, N, 2 K]`, made by the rule of
    /// `kernels::rotation`; always of 32 bits.
    Angles {
        /// Tokens along time, height and width.
        grid: [usize; 3],
    },
    /// Values between two dispatches, in memory that others use before and after.
    Scratch {
        /// The memory: buffers of one slot are never alive at once.
        slot: usize,
    },
}

impl Role {
    /// Whether its values are known before anything runs: those of a parameter, or of a rule.
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Weight { .. } | Self::Angles { .. })
    }
}

/// Memory of the device that a kernel binds whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Its label in debuggers and in messages.
    pub label: String,
    /// What it holds.
    pub role: Role,
    /// Its axes.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub dtype: Dtype,
}

impl Buffer {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.bytes()
    }
}

/// A kernel with its sizes.
///
/// Operands of a dispatch, in order, are given with each kernel; the last one is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kernel {
    /// Cuts clips `[B, C, F, H, W]` into rows `[B N, C T P P]`: images, rows. A picture is a clip of one frame.
    Patchify {
        /// B
        batch: usize,
        /// C
        channels: usize,
        /// F
        frames: usize,
        /// H
        height: usize,
        /// W
        width: usize,
        /// T
        tubelet: usize,
        /// P
        patch: usize,
    },
    /// `y = x W + b`, `[M, K] x [K, N]`, and the epilogue: x, W, b, y; with a table, whose rows are as long as
    /// [`Epilogue::row`] says, x, W, b, table, y. With a residual, y holds the residual stream and is added to.
    Matmul {
        /// Rows.
        m: usize,
        /// Depth.
        k: usize,
        /// Columns.
        n: usize,
        /// What is done to the sums.
        epilogue: Epilogue,
        /// T, the rows of the table that is read row after row, again and again; 0 without one.
        table: usize,
    },
    /// LayerNorm of each row, written to some columns of wider rows: x `[R, D]`, gain, bias, y `[R, stride]`.
    Norm {
        /// R
        rows: usize,
        /// D
        dim: usize,
        /// Added to the variance.
        eps: f32,
        /// From row to row of the result.
        stride: usize,
        /// The first column of the result.
        column: usize,
    },
    /// Self-attention: packed queries, keys and values `[B, N, 3 H K]`, result `[B, N, H K]`.
    Attention {
        /// B
        batch: usize,
        /// N
        tokens: usize,
        /// H
        heads: usize,
        /// K
        size: usize,
        /// Of the scores.
        scale: f32,
    },
    /// Some rows of a matrix that stands again and again: x `[F, D]`, their numbers `[R]`, counted round and round,
    /// y `[R, D]`.
    Gather {
        /// F
        from: usize,
        /// R
        rows: usize,
        /// D
        dim: usize,
    },
    /// The mean over the tokens of each image: x `[B, N, D]`, y `[B, D]`.
    Pool {
        /// B
        batch: usize,
        /// N
        tokens: usize,
        /// D
        dim: usize,
    },
}

impl Kernel {
    /// Values of each operand, in order; sizes that no memory holds are as large as they can be.
    pub fn lengths(&self) -> Vec<usize> {
        let values = |sizes: &[usize]| sizes.iter().copied().fold(1, usize::saturating_mul);
        match *self {
            Self::Patchify { batch, channels, frames, height, width, tubelet, patch } => {
                let along = |length: usize, span: usize| length.checked_div(span).unwrap_or(0);
                let tokens = [along(frames, tubelet), along(height, patch), along(width, patch)];
                let rows = values(&[batch, values(&tokens), channels, tubelet, patch, patch]);
                vec![values(&[batch, channels, frames, height, width]), rows]
            }
            Self::Matmul { m, k, n, table: 0, .. } => vec![values(&[m, k]), values(&[k, n]), n, values(&[m, n])],
            Self::Matmul { m, k, n, epilogue, table } => {
                vec![values(&[m, k]), values(&[k, n]), n, values(&[table, epilogue.row(n)]), values(&[m, n])]
            }
            Self::Norm { rows, dim, stride, .. } => vec![values(&[rows, dim]), dim, dim, values(&[rows, stride])],
            Self::Attention { batch, tokens, heads, size, .. } => {
                vec![values(&[3, batch, tokens, heads, size]), values(&[batch, tokens, heads, size])]
            }
            Self::Gather { from, rows, dim } => vec![values(&[from, dim]), rows, values(&[rows, dim])],
            Self::Pool { batch, tokens, dim } => vec![values(&[batch, tokens, dim]), values(&[batch, dim])],
        }
    }
}

/// One launch of a kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// What it computes, such as `blocks.7.mlp.fc1`.
    pub label: String,
    /// The kernel.
    pub kernel: Kernel,
    /// What it reads, and last what it writes.
    pub operands: Vec<BufferId>,
}

/// A compiled encoder: what to run for one batch, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Images of one batch.
    pub batch: usize,
    /// How weights and most values are stored; with bfloat16 the weights alone.
    pub dtype: Dtype,
    /// All memory.
    pub buffers: Vec<Buffer>,
    /// All work.
    pub dispatches: Vec<Dispatch>,
}

impl Plan {
    /// The buffer of `id`.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The buffer of the images.
    pub fn input(&self) -> Option<BufferId> {
        self.buffers.iter().position(|buffer| buffer.role == Role::Input).map(BufferId)
    }

    /// The buffer of the features.
    pub fn output(&self) -> Option<BufferId> {
        self.buffers.iter().position(|buffer| buffer.role == Role::Output).map(BufferId)
    }

    /// Frames of a clip and of a tubelet, where the plan cuts its images; of pictures both are 1.
    pub fn spans(&self) -> Option<[usize; 2]> {
        self.dispatches.iter().find_map(|dispatch| match dispatch.kernel {
            Kernel::Patchify { frames, tubelet, .. } => Some([frames, tubelet]),
            _ => None,
        })
    }

    /// Bytes of each slot of scratch memory: the largest of its buffers.
    pub fn slots(&self) -> Vec<usize> {
        let mut slots = Vec::new();
        for buffer in &self.buffers {
            if let Role::Scratch { slot } = buffer.role {
                slots.resize(slots.len().max(slot + 1), 0);
                slots[slot] = slots[slot].max(buffer.bytes());
            }
        }
        slots
    }
}
