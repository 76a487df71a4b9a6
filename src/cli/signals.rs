//! SIGINT and SIGTERM: the first asks the run to save and stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use anyjepa::error::{Error, Kind, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Listens from now on; the number of the first signal appears in what is given back.
pub fn listen() -> Result<Arc<AtomicUsize>> {
    let failed = |error: std::io::Error| Error::new(Kind::Other, format!("cannot listen to signals: {error}"));
    let (armed, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the shutdown unarmed, and arms it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&armed)).map_err(failed)?;
        flag::register(signal, Arc::clone(&armed)).map_err(failed)?;
        flag::register_usize(signal, Arc::clone(&seen), signal as usize).map_err(failed)?;
    }
    Ok(seen)
}
