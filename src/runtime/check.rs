//! A plan may come from a file: it is checked before it is run, by whichever engine.

use half::f16;

use crate::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use crate::device::{Api, Spec, require_memory};
use crate::error::{Error, Kind, Result};

/// Most values of a buffer: products of three sizes of such buffers fit 64 bits.
const MOST: usize = 1 << 40;

/// What takes less memory, of a package too.
pub const FEWER: &str = "a smaller batch (`--batch`; of a package, that of `compile`)";

/// What helps where f16 does not.
pub const IN_F32: &str = "take `--precision f32`; of a package, compile it again with `--dtype f32`";

/// Where images go in and features come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The buffer of the images.
    pub input: BufferId,
    /// The buffer of the features.
    pub output: BufferId,
}

/// Checks what every engine relies on: one buffer of images and one of features, each for the plan's batch; buffers
/// that can be counted; and of every dispatch that its sizes fit together, that its operands are those that its kernel
/// takes, that it writes memory that may be written, and reads none of the memory that it writes.
///
/// # Errors
/// A data error that names the buffer or the dispatch.
pub fn check(plan: &Plan) -> Result<Ends> {
    plan.buffers.iter().try_for_each(|buffer| countable(plan, buffer))?;
    kept(plan)?;
    let ends = Ends { input: only(plan, &Role::Input, "input")?, output: only(plan, &Role::Output, "output")? };
    for end in [ends.input, ends.output].map(|end| plan.buffer(end)) {
        if plan.batch == 0 || end.shape.first() != Some(&plan.batch) {
            let problem = format!("its shape {:?} is not that of a batch of {}", end.shape, plan.batch);
            return Err(broken(&end.label, &problem));
        }
    }
    plan.dispatches.iter().try_for_each(|dispatch| operands(plan, dispatch))?;
    Ok(ends)
}

/// Checks that `values` are as many as `buffer` holds.
///
/// # Errors
/// A data error that names the buffer.
pub fn count(buffer: &Buffer, values: &[f32]) -> Result<()> {
    if values.len() == buffer.len() {
        return Ok(());
    }
    Err(Error::new(Kind::Data, format!("{} has {} values, expected {:?}", buffer.label, values.len(), buffer.shape)))
}

/// `values` as `buffer` stores them in f16, little-endian.
///
/// # Errors
/// A data error that names the buffer, where a finite value is none in f16.
pub fn halves(buffer: &Buffer, values: &[f32]) -> Result<Vec<u8>> {
    let beyond = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
    if let Some(value) = values.iter().find(beyond) {
        let message = format!("{} holds {value}, and f16 ends at {}", buffer.label, f16::MAX);
        return Err(Error::new(Kind::Data, message).with_remedy(IN_F32));
    }
    Ok(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect())
}

/// Checks that the machine has memory for the buffers of a checked `plan`, whose scratch buffers share theirs.
///
/// # Errors
/// A device error with what is needed and what there is.
pub fn memory(plan: &Plan) -> Result<()> {
    let lasting = plan.buffers.iter().filter(|buffer| !matches!(buffer.role, Role::Scratch { .. }));
    room(lasting.map(Buffer::bytes).chain(plan.slots()))
}

/// Checks that the machine has memory for pieces of so many bytes.
///
/// # Errors
/// As [`memory`].
pub fn room(pieces: impl Iterator<Item = usize>) -> Result<()> {
    require_memory(Spec { api: Api::Cpu, index: None }, 0.0, pieces.map(|bytes| bytes as f64).sum())
        .map_err(|error| error.with_remedy(format!("take {FEWER}, or a smaller model")))
}

fn countable(plan: &Plan, buffer: &Buffer) -> Result<()> {
    let values = buffer.shape.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
    if !values.is_some_and(|values| (1..=MOST).contains(&values)) {
        return Err(broken(&buffer.label, &format!("no memory holds the shape {:?}", buffer.shape)));
    }
    match buffer.role {
        Role::Scratch { slot } if slot >= plan.buffers.len() => {
            Err(broken(&buffer.label, "its memory is beyond all memory"))
        }
        _ => Ok(()),
    }
}

/// Checks that there is one buffer of the numbers of rows at most, and that it and no other holds whole numbers.
fn kept(plan: &Plan) -> Result<()> {
    if plan.buffers.iter().any(|buffer| buffer.role == Role::Kept) {
        only(plan, &Role::Kept, "buffer of kept rows")?;
    }
    match plan.buffers.iter().find(|buffer| (buffer.role == Role::Kept) != (buffer.dtype == Dtype::U32)) {
        None => Ok(()),
        Some(buffer) => Err(broken(&buffer.label, "numbers of rows, and nothing else, are whole numbers")),
    }
}

/// The only buffer of a role.
fn only(plan: &Plan, role: &Role, name: &str) -> Result<BufferId> {
    let mut found = (0..plan.buffers.len()).map(BufferId).filter(|id| plan.buffer(*id).role == *role);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(broken("buffers", &format!("there is no {name}"))),
        (Some(_), Some(_)) => Err(broken("buffers", &format!("there is more than one {name}"))),
    }
}

fn operands(plan: &Plan, dispatch: &Dispatch) -> Result<()> {
    let wrong = |why: &str| broken(&dispatch.label, why);
    if let Some(id) = dispatch.operands.iter().find(|id| id.0 >= plan.buffers.len()) {
        return Err(wrong(&format!("there is no buffer {}", id.0)));
    }
    if !sound(dispatch.kernel) {
        return Err(wrong("its sizes do not fit together"));
    }
    for (place, buffer) in dispatch.operands.iter().map(|id| plan.buffer(*id)).enumerate() {
        let numbers = place == 1 && matches!(dispatch.kernel, Kernel::Gather { .. });
        if numbers != (buffer.role == Role::Kept) {
            return Err(wrong(&format!("{} cannot be its operand {place}", buffer.label)));
        }
    }
    let found: Vec<usize> = dispatch.operands.iter().map(|id| plan.buffer(*id).len()).collect();
    let expected = dispatch.kernel.lengths();
    if found != expected {
        return Err(wrong(&format!("its operands have {found:?} values, expected {expected:?}")));
    }
    let Some((last, read)) = dispatch.operands.split_last() else { return Ok(()) };
    let written = plan.buffer(*last);
    if !matches!(written.role, Role::Output | Role::Scratch { .. }) {
        return Err(wrong(&format!("it writes {}, which is only read", written.label)));
    }
    let same = |id: &&BufferId| match (&plan.buffer(**id).role, &written.role) {
        (Role::Scratch { slot: read }, Role::Scratch { slot: written }) => read == written,
        _ => **id == *last,
    };
    match read.iter().find(same) {
        Some(id) => Err(wrong(&format!("it reads {} from the memory of {}", plan.buffer(*id).label, written.label))),
        None => Ok(()),
    }
}

/// Whether the sizes of a kernel fit together and its numbers are finite. That no size is 0 shows in its operands.
fn sound(kernel: Kernel) -> bool {
    match kernel {
        // What a side has beyond whole patches is left out, and so are frames beyond whole tubelets.
        Kernel::Patchify { tubelet, patch, .. } => tubelet > 0 && patch > 0,
        Kernel::Matmul { n, epilogue: Epilogue::Rotation { size }, table, .. } => {
            let heads = n.is_multiple_of(3) && (n / 3).is_multiple_of(size);
            table > 0 && size > 0 && size.is_multiple_of(2) && heads
        }
        Kernel::Matmul { n, epilogue, table, .. } => (table > 0) == (epilogue.row(n) > 0),
        Kernel::Norm { dim, stride, column, eps, .. } => {
            let ends = column.checked_add(dim).is_some_and(|end| end <= stride);
            ends && eps.is_finite() && eps >= 0.0
        }
        Kernel::Attention { scale, .. } => scale.is_finite(),
        // Twins hold numbers of rows as floats.
        Kernel::Gather { from, .. } => from <= 1 << 24,
        Kernel::Pool { .. } => true,
    }
}

/// The error of a plan that comes from elsewhere, or from a fault of the compiler: `name` is what is wrong with it.
pub fn broken(name: &str, why: &str) -> Error {
    Error::new(Kind::Data, format!("the plan cannot be run: {name}: {why}")).with_remedy("compile it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finite_value_that_f16_does_not_hold_is_refused_with_its_buffer() {
        let role = Role::Weight { parameter: "norm.weight".into(), transposed: false };
        let buffer = Buffer { label: "blocks.0.attn.qkv.weight".into(), role, shape: vec![3], dtype: Dtype::F16 };
        assert_eq!(halves(&buffer, &[65_504.0, -65_519.0, f32::INFINITY]).unwrap().len(), 6);
        let error = halves(&buffer, &[1.0, -65_520.0, 1e9]).unwrap_err();
        assert_eq!(error.to_string(), "blocks.0.attn.qkv.weight holds -65520, and f16 ends at 65504");
        assert_eq!((error.exit_code(), error.remedy()), (4, Some(IN_F32)));
    }
}
