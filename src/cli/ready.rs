//! Signals while a run is getting ready: there is nothing to save yet, so the first one ends it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyjepa::error::{Error, Kind, Result};
use anyjepa::stop::Stop;
use signal_hook::low_level;

use super::output;

/// How long a signal may wait until somebody looks.
const MOMENT: Duration = Duration::from_millis(50);

/// While it stands, a signal ends the process: nothing of this process is worth saving yet, and reading a large data set
/// or opening a device takes minutes. What stands on the disk is as after `kill -9`: whole, and continued.
pub struct GettingReady {
    is_over: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl GettingReady {
    /// From now on; `signal` is what [`super::signals::listen`] gave, `again` what the same command does afterwards.
    pub fn begin(signal: Arc<AtomicUsize>, again: &'static str) -> Result<Self> {
        let stop = Stop::new(signal, None);
        let (is_over, wait) = channel();
        let watch = thread::Builder::new().name("signals".into()).spawn(move || {
            while wait.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
                if let Some(error) = stop.error("no new step", again) {
                    output::fail(&error);
                    low_level::exit(error.exit_code().into());
                }
            }
        });
        let watch = watch.map_err(|error| Error::new(Kind::Other, format!("cannot listen to signals: {error}")))?;
        Ok(Self { is_over: Some(is_over), watch: Some(watch) })
    }
}

impl Drop for GettingReady {
    /// Where a signal has come, the process ends while this waits.
    fn drop(&mut self) {
        drop(self.is_over.take());
        if let Some(watch) = self.watch.take() {
            // It cannot fail, and if it did, signals would still be answered by the run.
            let _ = watch.join();
        }
    }
}
