//! Plans of small encoders, made by hand.

use anyjepa::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};

/// The sizes of an encoder over square clips of 3 channels; a picture is a clip of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Vit {
    pub batch: usize,
    pub dim: usize,
    pub depth: usize,
    pub heads: usize,
    pub frames: usize,
    pub side: usize,
    pub tubelet: usize,
    pub patch: usize,
    pub positions: Positions,
}

/// How a plan knows where a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// By a table that is added to the tokens.
    Table,
    /// By turning queries and keys.
    Rotation,
}

/// The encoder: patches, blocks, norm, pooled features.
pub fn vit(Vit { batch, dim, depth, heads, frames, side, tubelet, patch, positions }: Vit) -> Plan {
    let n = (frames / tubelet) * (side / patch) * (side / patch);
    let k = 3 * tubelet * patch * patch;
    let (m, hidden) = (batch * n, 4 * dim);
    let mut buffers = Vec::new();
    let mut add = |label: &str, role: Role, shape: Vec<usize>| {
        buffers.push(Buffer { label: label.into(), role, shape, dtype: Dtype::F32 });
        BufferId(buffers.len() - 1)
    };
    let w = |name: &str| Role::Weight { parameter: name.into(), transposed: false };
    let s = |slot| Role::Scratch { slot };
    let images = add("images", Role::Input, vec![batch, 3 * frames, side, side]);
    let patches = add("patches", s(0), vec![m, k]);
    let x = add("x", s(1), vec![m, dim]);
    let h = add("h", s(2), vec![m, dim]);
    let qkv = add("qkv", s(3), vec![m, 3 * dim]);
    let mixed = add("mixed", s(0), vec![m, dim]);
    let hid = add("hidden", s(3), vec![m, hidden]);
    let features = add("features", Role::Output, vec![batch, dim]);
    let mut d = Vec::new();
    let mut push = |label: String, kernel, operands: Vec<BufferId>| d.push(Dispatch { label, kernel, operands });
    push(
        "patchify".into(),
        Kernel::Patchify { batch, channels: 3, frames, height: side, width: side, tubelet, patch },
        vec![images, patches],
    );
    let size = dim / heads;
    let (pw, pb) = (add("patch.w", w("pw"), vec![k, dim]), add("patch.b", w("pb"), vec![dim]));
    let (pt, embedded, qkv_epilogue) = match positions {
        Positions::Table => (add("pos", w("pos"), vec![n, dim]), Epilogue::Position, Epilogue::Bias),
        Positions::Rotation => {
            let role = Role::Angles { grid: [frames / tubelet, side / patch, side / patch] };
            (add("angles", role, vec![1, n, 2 * size]), Epilogue::Bias, Epilogue::Rotation { size })
        }
    };
    // The table stands behind the bias of the product that reads it.
    let product = |sizes: [usize; 3], epilogue: Epilogue, reads: [BufferId; 3], y| {
        let [m, k, columns] = sizes;
        let table = if epilogue.row(columns) > 0 { n } else { 0 };
        let mut operands = reads.to_vec();
        operands.extend((table > 0).then_some(pt));
        operands.push(y);
        (Kernel::Matmul { m, k, n: columns, epilogue, table }, operands)
    };
    let (kernel, operands) = product([m, k, dim], embedded, [patches, pw, pb], x);
    push("patch".into(), kernel, operands);
    for i in 0..depth {
        let mut weight = |name: &str, shape: Vec<usize>| add(&format!("{i}.{name}"), w(name), shape);
        let (g1, o1) = (weight("norm1.gain", vec![dim]), weight("norm1.b", vec![dim]));
        let (wq, bq) = (weight("qkv.w", vec![dim, 3 * dim]), weight("qkv.b", vec![3 * dim]));
        let (wp, bp) = (weight("proj.w", vec![dim, dim]), weight("proj.b", vec![dim]));
        let (g2, o2) = (weight("norm2.gain", vec![dim]), weight("norm2.b", vec![dim]));
        let (w1, b1) = (weight("fc1.w", vec![dim, hidden]), weight("fc1.b", vec![hidden]));
        let (w2, b2) = (weight("fc2.w", vec![hidden, dim]), weight("fc2.b", vec![dim]));
        let norm = Kernel::Norm { rows: m, dim, eps: 1e-6, stride: dim, column: 0 };
        push("norm1".into(), norm, vec![x, g1, o1, h]);
        let (kernel, operands) = product([m, dim, 3 * dim], qkv_epilogue, [h, wq, bq], qkv);
        push("qkv".into(), kernel, operands);
        push(
            "attention".into(),
            Kernel::Attention { batch, tokens: n, heads, size, scale: 1.0 / (size as f32).sqrt() },
            vec![qkv, mixed],
        );
        let (kernel, operands) = product([m, dim, dim], Epilogue::Residual, [mixed, wp, bp], x);
        push("proj".into(), kernel, operands);
        push("norm2".into(), norm, vec![x, g2, o2, h]);
        let (kernel, operands) = product([m, dim, hidden], Epilogue::Gelu, [h, w1, b1], hid);
        push("fc1".into(), kernel, operands);
        let (kernel, operands) = product([m, hidden, dim], Epilogue::Residual, [hid, w2, b2], x);
        push("fc2".into(), kernel, operands);
    }
    let (g, o) = (add("norm.gain", w("norm.gain"), vec![dim]), add("norm.b", w("norm.b"), vec![dim]));
    push("norm".into(), Kernel::Norm { rows: m, dim, eps: 1e-6, stride: dim, column: 0 }, vec![x, g, o, h]);
    push("pool".into(), Kernel::Pool { batch, tokens: n, dim }, vec![h, features]);
    Plan { batch, dtype: Dtype::F32, buffers, dispatches: d }
}

/// `plan` with the weights of its products as bfloat16.
pub fn in_bf16(mut plan: Plan) -> Plan {
    plan.dtype = Dtype::Bf16;
    for dispatch in &plan.dispatches {
        if let Kernel::Matmul { .. } = dispatch.kernel {
            plan.buffers[dispatch.operands[1].0].dtype = Dtype::Bf16;
        }
    }
    plan
}

/// Values for a buffer, different for each label.
pub fn values(buffer: &Buffer) -> Vec<f32> {
    let start = buffer.label.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let scale = if buffer.label.ends_with(".w") { 0.2 } else { 1.0 };
    draw(start, buffer.len()).into_iter().map(|x| x * scale).collect()
}

/// Values between -1 and 1.
pub fn draw(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
