//! The shaders' twins: for each one the plain loop that says what it computes, on values of 32 bits, summed in 64.
//!
//! Slices are as long as the shapes at each argument say.

mod attention;
mod engine;
mod gather;
mod gelu;
mod matmul;
mod norm;
mod patchify;
mod pool;

pub use attention::{Attention, attention};
pub use engine::TwinEngine;
pub use gather::gather;
pub use gelu::gelu;
pub use matmul::{Matmul, matmul};
pub use norm::{Norm, norm};
pub use patchify::{Patchify, patchify};
pub use pool::pool;

use crate::compile::Kernel;
use crate::error::{Error, Kind, Result};

/// Runs one kernel: `read` are its operands but for the last, `y` is the last.
///
/// # Errors
/// A failure that names the kernel where there are more or fewer operands, or shorter ones, than it takes.
pub fn run(kernel: &Kernel, read: &[&[f32]], y: &mut [f32]) -> Result<()> {
    let lengths = kernel.lengths();
    let given = read.iter().map(|operand| operand.len()).chain([y.len()]);
    if !lengths.iter().copied().eq(given.clone()) {
        let given: Vec<usize> = given.collect();
        return Err(Error::new(Kind::Other, format!("{kernel:?} takes operands of {lengths:?} values, not {given:?}")));
    }
    match (*kernel, read) {
        (Kernel::Patchify { channels, frames, height, width, tubelet, patch, .. }, [images]) => {
            patchify(&Patchify { channels, frames, height, width, tubelet, patch }, images, y);
        }
        (Kernel::Matmul { k, epilogue, .. }, [x, w, b, table @ ..]) => {
            let table = table.first().copied().unwrap_or_default();
            matmul(&Matmul { x, w, b, depth: k, epilogue, table }, y);
        }
        (Kernel::Norm { eps, stride, column, .. }, [x, gain, bias]) => {
            norm(&Norm { x, gain, bias, eps, stride, column }, y);
        }
        (Kernel::Attention { tokens, heads, size, scale, .. }, [qkv]) => {
            attention(&Attention { tokens, heads, size, scale }, qkv, y);
        }
        (Kernel::Gather { dim, .. }, [x, kept]) => gather(dim, x, kept, y),
        (Kernel::Pool { tokens, dim, .. }, [x]) => pool(tokens, dim, x, y),
        _ => return Err(Error::new(Kind::Other, format!("{kernel:?} does not take {} operands", read.len() + 1))),
    }
    Ok(())
}
