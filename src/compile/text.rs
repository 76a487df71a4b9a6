//! A plan as text, one line a dispatch, for people and for snapshots.

use std::fmt;

use super::{BufferId, Dtype, Epilogue, Kernel, Plan, Role};

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::U32 => "u32",
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Patchify { batch, channels, frames, height, width, tubelet, patch } if frames > 1 => {
                write!(f, "patchify {batch}x{channels}x{frames}x{height}x{width} by {tubelet}x{patch}x{patch}")
            }
            Self::Patchify { batch, channels, height, width, patch, .. } => {
                write!(f, "patchify {batch}x{channels}x{height}x{width} by {patch}")
            }
            Self::Matmul { m, k, n, epilogue, .. } => {
                let then = match epilogue {
                    Epilogue::Bias => "",
                    Epilogue::Gelu => " + gelu",
                    Epilogue::Residual => " + residual",
                    Epilogue::Position => " + position",
                    Epilogue::Rotation { .. } => " + rotation",
                };
                write!(f, "matmul {m}x{k}x{n}{then}")
            }
            Self::Norm { rows, dim, stride, column, .. } if stride != dim => {
                write!(f, "norm {rows}x{dim} to columns from {column} of {stride}")
            }
            Self::Norm { rows, dim, .. } => write!(f, "norm {rows}x{dim}"),
            Self::Attention { batch, tokens, heads, size, .. } => {
                write!(f, "attention {batch}x{tokens}, {heads} heads of {size}")
            }
            Self::Gather { from, rows, dim } => write!(f, "gather {rows} of {from} rows of {dim}"),
            Self::Pool { batch, tokens, dim } => write!(f, "pool {batch}x{tokens}x{dim}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: Vec<String> = self.slots().iter().map(|&bytes| mebibytes(bytes)).collect();
        writeln!(f, "batch {}, {}, {:.2} GFLOP", self.batch, self.dtype, self.flops() as f64 / 1e9)?;
        writeln!(f, "weights {}, scratch {}", mebibytes(self.weight_bytes()), slots.join(" and "))?;
        write!(f, "{} dispatches", self.dispatches.len())?;
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            let [reads @ .., write] = &dispatch.operands[..] else { continue };
            let reads: Vec<String> = reads.iter().filter_map(|&read| self.memory(read)).collect();
            let written = self.buffer(*write);
            let to = self.memory(*write).unwrap_or_default();
            let kernel = dispatch.kernel.to_string();
            let read = reads.join(" and ");
            write!(f, "\n{i:4} {:28} {kernel:44} {read} -> {to} {}", dispatch.label, written.dtype)?;
        }
        Ok(())
    }
}

impl Plan {
    /// The name of memory that changes, or nothing for a constant.
    fn memory(&self, id: BufferId) -> Option<String> {
        Some(match &self.buffer(id).role {
            Role::Input => "images".into(),
            Role::Output => "features".into(),
            Role::Kept => "kept rows".into(),
            Role::Weight { .. } | Role::Angles { .. } => return None,
            Role::Scratch { slot } => format!("slot {slot}"),
        })
    }
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
