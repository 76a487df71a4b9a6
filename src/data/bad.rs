//! How many inputs may be unreadable before a result counts as one with too many bad inputs.

use crate::error::{Error, Kind, Result};

/// The share of inputs that may be unreadable where nobody says otherwise.
pub const MAX_BAD: f64 = 0.01;

/// Refuses a result of which more than the share `max_bad` of the inputs could not be read.
///
/// # Errors
/// Of kind [`Kind::BadInputs`].
pub fn check_bad(skipped: usize, inputs: usize, max_bad: f64) -> Result<()> {
    if skipped as f64 <= max_bad * inputs as f64 {
        return Ok(());
    }
    let message = format!("{skipped} of {inputs} inputs could not be read, more than {} %", 100.0 * max_bad);
    Err(Error::new(Kind::BadInputs, message))
}
