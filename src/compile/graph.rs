//! The encoder as a graph of about a dozen operations on shaped values, each produced once; it holds no weights.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A value: the place of the node that produces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Id(pub usize);

/// What a node computes. `x` is the first input throughout.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The images, `[B, C F, H, W]`: of clips the frames of a channel one after the other, of pictures one frame.
    Input,
    /// Numbers of rows, given with the images: which tokens of the flattened `[B N, D]` are kept.
    Kept,
    /// A parameter of the model, by the name that its checkpoints give it.
    Parameter(String),
    /// The cosines and sines by which queries and keys are turned, `[1, N, 2 K]`, made by the rule of
    /// `kernels::rotation`.
    Angles {
        /// Tokens along time, height and width.
        grid: [usize; 3],
    },
    /// The same values in another shape.
    Reshape,
    /// The same values with their axes in another order.
    Permute(Vec<usize>),
    /// Part of one axis.
    Slice {
        /// The axis.
        axis: usize,
        /// The first index.
        start: usize,
        /// Indices taken.
        length: usize,
    },
    /// Values side by side along an axis.
    Concat(usize),
    /// So many copies of the same values, one after the other along an axis.
    Repeat {
        /// The axis.
        axis: usize,
        /// Copies.
        times: usize,
    },
    /// The same values, backwards along an axis.
    Flip(usize),
    /// The product of the last two axes.
    MatMul,
    /// The sum; the second input may have axes of length 1.
    Add,
    /// The product, value by value; the second input may have axes of length 1.
    Mul,
    /// The exact GELU.
    Gelu,
    /// LayerNorm over the last axis; inputs are `x`, gain and bias.
    LayerNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `softmax(q k^T scale) v`; inputs are q, k and v, `[B, H, N, K]`.
    Attention {
        /// Of the scores.
        scale: f64,
    },
    /// The mean over an axis, which stays with length 1.
    Mean(usize),
    /// Some rows of a matrix that stands again and again, by their numbers: `x` `[.., D]` of `R` rows and the numbers `[S]`,
    /// counted round and round, to `[S, D]`.
    Gather,
    /// Tubelets as rows, channel, frame, row, column: `[B, C F, H, W]` to `[B, N, C T P P]`. Patches have one frame.
    Patchify {
        /// Frames of a tubelet.
        tubelet: usize,
        /// Side of a patch.
        patch: usize,
    },
    /// `x W + b`, and what follows it; inputs are `x`, `W` `[K, N]`, `b` `[N]`, and for some epilogues one more.
    Linear(Epilogue),
    /// Self-attention of packed queries, keys and values, `[B, N, 3 H K]`, to `[B, N, H K]`.
    SelfAttention {
        /// H
        heads: usize,
        /// Of the scores.
        scale: f64,
    },
}

/// What a matrix product does to its sums before it stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Epilogue {
    /// Adds the bias.
    Bias,
    /// Adds the bias, then GELU.
    Gelu,
    /// Adds the bias and a value of the same shape: the residual stream.
    Residual,
    /// Adds the bias and a table of one row a token: the position embeddings.
    Position,
    /// Adds the bias, then turns the pairs of queries and keys, the first two thirds of the columns, by a table of cosines
    /// and sines, one row a token.
    Rotation {
        /// K, the channels of a head.
        size: usize,
    },
}

impl Epilogue {
    /// Values of a row of the table that it reads, for a product of `columns` columns; 0 where it reads none.
    pub fn row(self, columns: usize) -> usize {
        match self {
            Self::Bias | Self::Gelu | Self::Residual => 0,
            Self::Position => columns,
            Self::Rotation { size } => size.saturating_mul(2),
        }
    }
}

/// One operation and the shape of its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// From what.
    pub inputs: Vec<Id>,
    /// The result's axes.
    pub shape: Vec<usize>,
}

/// A computation: nodes in an order in which each comes after its inputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The results, in order.
    pub outputs: Vec<Id>,
}

impl Graph {
    /// Adds a node and returns its value.
    pub fn push(&mut self, op: Op, inputs: Vec<Id>, shape: Vec<usize>) -> Id {
        self.nodes.push(Node { op, inputs, shape });
        Id(self.nodes.len() - 1)
    }

    /// The node that produces `id`.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    /// The axes of `id`.
    pub fn shape(&self, id: Id) -> &[usize] {
        &self.nodes[id.0].shape
    }

    /// How many nodes and outputs read each value.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let read = self.nodes.iter().flat_map(|node| &node.inputs).chain(&self.outputs);
        read.for_each(|id| uses[id.0] += 1);
        uses
    }

    /// The name of a parameter, or nothing where `id` is none.
    pub fn parameter(&self, id: Id) -> Option<&str> {
        match &self.node(id).op {
            Op::Parameter(name) => Some(name),
            _ => None,
        }
    }

    /// Checks that every node comes after its inputs, and that each has as many inputs as its operation takes.
    ///
    /// # Errors
    /// A failure that names the node.
    pub fn check(&self) -> Result<()> {
        for (i, node) in self.nodes.iter().enumerate() {
            let takes = node.op.takes();
            if node.inputs.iter().any(|id| id.0 >= i) || takes.is_some_and(|takes| takes != node.inputs.len()) {
                return Err(Error::new(Kind::Other, format!("the graph is broken at %{i}, {}", node.op)));
            }
        }
        Ok(())
    }
}

impl Op {
    /// The number of inputs, or nothing where it varies.
    fn takes(&self) -> Option<usize> {
        Some(match self {
            Self::Input | Self::Kept | Self::Parameter(_) | Self::Angles { .. } => 0,
            Self::Concat(_) => return None,
            Self::Reshape | Self::Permute(_) | Self::Slice { .. } | Self::Flip(_) | Self::Gelu | Self::Mean(_) => 1,
            Self::Repeat { .. } | Self::Patchify { .. } | Self::SelfAttention { .. } => 1,
            Self::MatMul | Self::Add | Self::Mul | Self::Gather => 2,
            Self::LayerNorm { .. } | Self::Attention { .. } => 3,
            Self::Linear(Epilogue::Bias | Epilogue::Gelu) => 3,
            Self::Linear(Epilogue::Residual | Epilogue::Position | Epilogue::Rotation { .. }) => 4,
        })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => write!(f, "input"),
            Self::Kept => write!(f, "kept rows"),
            Self::Parameter(name) => write!(f, "parameter {name}"),
            Self::Angles { grid } => write!(f, "angles {grid:?}"),
            Self::Reshape => write!(f, "reshape"),
            Self::Permute(axes) => write!(f, "permute {axes:?}"),
            Self::Slice { axis, start, length } => write!(f, "slice axis {axis}, {start} to {}", start + length),
            Self::Concat(axis) => write!(f, "concat axis {axis}"),
            Self::Repeat { axis, times } => write!(f, "repeat axis {axis}, {times} times"),
            Self::Flip(axis) => write!(f, "flip axis {axis}"),
            Self::MatMul => write!(f, "matmul"),
            Self::Add => write!(f, "add"),
            Self::Mul => write!(f, "mul"),
            Self::Gelu => write!(f, "gelu"),
            Self::LayerNorm { eps } => write!(f, "layer_norm eps {eps:e}"),
            Self::Attention { scale } => write!(f, "attention scale {scale:.6}"),
            Self::Gather => write!(f, "gather"),
            Self::Mean(axis) => write!(f, "mean axis {axis}"),
            Self::Patchify { tubelet: 1, patch } => write!(f, "patchify {patch}"),
            Self::Patchify { tubelet, patch } => write!(f, "patchify {tubelet}x{patch}x{patch}"),
            Self::Linear(Epilogue::Bias) => write!(f, "linear"),
            Self::Linear(Epilogue::Gelu) => write!(f, "linear + gelu"),
            Self::Linear(Epilogue::Residual) => write!(f, "linear + residual"),
            Self::Linear(Epilogue::Position) => write!(f, "linear + position"),
            Self::Linear(Epilogue::Rotation { .. }) => write!(f, "linear + rotation"),
            Self::SelfAttention { heads, scale } => write!(f, "self_attention {heads} heads, scale {scale:.6}"),
        }
    }
}

/// One line a node: its value, its operation, its inputs and its shape.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|id| format!("%{}", id.0)).collect();
            let space = if inputs.is_empty() { "" } else { " " };
            writeln!(f, "%{i} = {}{space}{} -> {:?}", node.op, inputs.join(" "), node.shape)?;
        }
        let outputs: Vec<String> = self.outputs.iter().map(|id| format!("%{}", id.0)).collect();
        write!(f, "output {}", outputs.join(" "))
    }
}
