//! Signals: the first SIGINT or SIGTERM asks the run to save and stop, the second ends the process at once; SIGUSR1 says
//! that the time is over, as queues do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use anyjepa::error::{Error, Kind, Result};
use anyjepa::stop::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Listens from now on; what the first signal asks for appears in what is given back.
pub fn listen() -> Result<Arc<AtomicUsize>> {
    let failed = |error: std::io::Error| Error::new(Kind::Other, format!("cannot listen to signals: {error}"));
    let (armed, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the shutdown unarmed, and arms it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&armed)).map_err(failed)?;
        flag::register(signal, Arc::clone(&armed)).map_err(failed)?;
        flag::register_usize(signal, Arc::clone(&seen), signal as usize).map_err(failed)?;
    }
    // Queues may send it to every process of a job and more than once, so it never ends a run that is saving.
    #[cfg(unix)]
    flag::register_usize(signal_hook::consts::SIGUSR1, Arc::clone(&seen), Stop::TIME_IS_OVER).map_err(failed)?;
    Ok(seen)
}
