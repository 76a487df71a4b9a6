//! Which of an encoder's blocks are read out.

/// Which outputs a forward pass keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// The last block's, after the final norm.
    Last,
    /// Those of the last `n` blocks, each after the final norm, joined along the width, the last block's at the end.
    LastOf(usize),
}

impl Layers {
    /// How many blocks of `depth` they are.
    pub fn count(self, depth: usize) -> usize {
        match self {
            Self::Last => 1,
            Self::LastOf(count) => count,
        }
        .min(depth)
    }
}
