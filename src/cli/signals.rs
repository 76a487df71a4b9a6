//! SIGINT and SIGTERM: the first asks the run to save and stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyjepa::error::{Error, Kind, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Listens from now on; the number of the first signal appears in what is given back.
pub fn listen() -> Result<Arc<AtomicI32>> {
    let failed = |error: std::io::Error| Error::new(Kind::Other, format!("cannot listen to signals: {error}"));
    let seen = Arc::new(AtomicI32::new(0));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let shared = Arc::clone(&seen);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if shared.swap(signal, Ordering::Relaxed) != 0 {
                    std::process::exit(128 + signal);
                }
                super::output::say("saving; once more to stop at once");
            }
        })
        .map_err(failed)?;
    Ok(seen)
}
