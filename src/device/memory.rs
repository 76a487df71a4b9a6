//! Whether a computation fits into memory, asked before it is begun: an allocation that fails ends the process.

use super::{Api, Spec};
use crate::error::{Error, Result};

/// Refuses what takes more memory than there is, where that is known: `held` bytes in the machine's memory whatever the
/// device, and `computed` bytes on the device.
///
/// # Errors
/// A device error with what is needed and what there is.
pub fn require_memory(spec: Spec, held: f64, computed: f64) -> Result<()> {
    let Some(free) = host_memory() else { return Ok(()) };
    require(if spec.api == Api::Cpu { held + computed } else { held }, free)
}

fn require(need: f64, free: f64) -> Result<()> {
    if need <= free {
        return Ok(());
    }
    let giga = |bytes: f64| bytes / 1e9;
    Err(Error::device(format!("{:.1} GB of memory are needed, {:.1} are free", giga(need), giga(free)))
        .with_remedy("take a smaller batch (--batch, train.batch) or a smaller model (model.dim, model.depth)"))
}

/// Bytes of memory that are free or can be freed, those on disk included; nothing where the system does not say.
fn host_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    };
    Some(1024.0 * (of("MemAvailable")? + of("SwapFree").unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_what_is_needed_and_what_there_is() {
        assert!(require(8e9, 8e9).is_ok());
        let error = require(1e12, 8e9).unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (6, "1000.0 GB of memory are needed, 8.0 are free")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_how_much_memory_is_free() {
        assert!(host_memory().is_some_and(|bytes| bytes > 1e6 && bytes < 1e16));
    }
}
