//! A plan may come from a file: it is checked before it is run.

use crate::compile::{Dispatch, Plan, Role};
use crate::error::{Error, Kind, Result};

/// Checks that every dispatch has the operands that its kernel takes, writes memory that may be written, and reads none
/// of the memory that it writes.
///
/// # Errors
/// A data error that names the dispatch.
pub fn check(plan: &Plan) -> Result<()> {
    if plan.input().is_none() || plan.output().is_none() {
        return Err(broken("it has no input or no output"));
    }
    plan.dispatches.iter().try_for_each(|dispatch| operands(plan, dispatch))
}

fn operands(plan: &Plan, dispatch: &Dispatch) -> Result<()> {
    let wrong = |what: String| broken(&format!("{}: {what}", dispatch.label));
    let unknown = dispatch.operands.iter().find(|id| id.0 >= plan.buffers.len());
    if let Some(id) = unknown {
        return Err(wrong(format!("there is no buffer {}", id.0)));
    }
    let found: Vec<usize> = dispatch.operands.iter().map(|id| plan.buffer(*id).len()).collect();
    let expected = dispatch.kernel.lengths();
    if found != expected {
        return Err(wrong(format!("its operands have {found:?} values, expected {expected:?}")));
    }
    let Some((last, read)) = dispatch.operands.split_last() else { return Ok(()) };
    let written = plan.buffer(*last);
    if !matches!(written.role, Role::Output | Role::Scratch { .. }) {
        return Err(wrong(format!("it writes {}, which is only read", written.label)));
    }
    let same = |id: &&crate::compile::BufferId| match (&plan.buffer(**id).role, &written.role) {
        (Role::Scratch { slot: read }, Role::Scratch { slot: written }) => read == written,
        _ => **id == *last,
    };
    match read.iter().find(same) {
        Some(id) => Err(wrong(format!("it reads {} from the memory of {}", plan.buffer(*id).label, written.label))),
        None => Ok(()),
    }
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Data, format!("the plan cannot be run: {what}")).with_remedy("compile it again")
}
