//! What a plan asks of a device: arithmetic, traffic and memory.

use super::{Dispatch, Epilogue, Kernel, Plan};

impl Kernel {
    /// Additions and multiplications, as far as 64 bits count; those of elementary functions count as none.
    pub fn flops(&self) -> u64 {
        let [a, b, c, d] = match *self {
            Self::Patchify { .. } | Self::Gather { .. } => return 0,
            Self::Matmul { m, k, n, .. } => [2, m, k, n],
            Self::Norm { rows, dim, .. } => [1, 8, rows, dim],
            Self::Attention { batch, tokens, heads, size, .. } => [4 * batch * heads, tokens, tokens, size],
            Self::Pool { batch, tokens, dim } => [1, batch, tokens, dim],
        };
        [a, b, c, d].into_iter().map(|factor| factor as u64).fold(1, u64::saturating_mul)
    }
}

impl Kernel {
    /// The terms of the longest sum that it makes.
    pub fn longest_sum(&self) -> usize {
        match *self {
            Self::Patchify { .. } | Self::Gather { .. } => 1,
            Self::Matmul { k, .. } => k,
            Self::Norm { dim, .. } => dim,
            Self::Attention { tokens, size, .. } => tokens.max(size),
            Self::Pool { tokens, .. } => tokens,
        }
    }
}

impl Plan {
    /// Additions and multiplications of one batch.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.kernel.flops()).fold(0, u64::saturating_add)
    }

    /// Bytes of all weights and other constants, as they are stored.
    pub fn weight_bytes(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.role.is_constant()).map(|buffer| buffer.bytes()).sum()
    }

    /// Bytes that a dispatch reads and writes if nothing is cached; a residual stream that is added to is both.
    pub fn traffic(&self, dispatch: &Dispatch) -> usize {
        let added = matches!(dispatch.kernel, Kernel::Matmul { epilogue: Epilogue::Residual, .. });
        let stream = dispatch.operands.last().filter(|_| added);
        dispatch.operands.iter().chain(stream).map(|&operand| self.buffer(operand).bytes()).sum()
    }
}
