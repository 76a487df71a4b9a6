//! What goes wrong on a device, as errors that say what to do: out of memory, lost, or refused.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, Once, PoisonError};

use wgpu::{Device, ErrorFilter};

use crate::error::{Error, Result};

/// The first fault that nothing else has reported, such as the loss of the device.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    /// Listens to `device`.
    pub fn watch(device: &Device) -> Self {
        let faults = Self::default();
        let (uncaptured, lost) = (faults.clone(), faults.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured.note(error.to_string())));
        // wgpu says so also when it drops a device in good order, and nobody asks any more.
        device.set_device_lost_callback(move |_, message| lost.note(format!("the device was lost: {message}")));
        faults
    }

    fn note(&self, fault: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// # Errors
    /// A device error where something has gone wrong since the last call; `doing` says during what.
    pub fn check(&self, doing: &str) -> Result<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(fault) => Err(lost(doing, &fault)),
            None => Ok(()),
        }
    }
}

/// Does `work`, and turns what wgpu reports meanwhile on this thread into an error; `doing` reads like
/// "make the buffer blocks.0.attn.qkv".
pub fn guarded<T>(device: &Device, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
    let scopes = [ErrorFilter::Internal, ErrorFilter::Validation, ErrorFilter::OutOfMemory]
        .map(|filter| device.push_error_scope(filter));
    let done = caught(doing, work);
    // Scopes are left in the reverse of the order in which they were entered.
    let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
    match errors.collect::<Vec<_>>().into_iter().flatten().next() {
        None => done,
        Some(wgpu::Error::OutOfMemory { .. }) => {
            Err(Error::device(format!("cannot {doing}: the device is out of memory")).with_remedy(SMALLER))
        }
        Some(error) => Err(Error::device(format!("cannot {doing}: {error}"))
            .with_remedy("update the GPU's driver, or take another device of `anyjepa devices`")),
    }
}

/// Does `work`, and turns a panic in it into an error: so wgpu ends where a device is lost or its driver has no memory left.
pub fn caught<T>(doing: &str, work: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    thread_local!(static CAUGHT: Cell<bool> = const { Cell::new(false) });
    // What becomes an error is not said twice.
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                before(panic);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    done.map_err(|panic| lost(doing, said(panic.as_ref())))
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("the driver failed")
}

/// What helps where a device is too small.
pub const SMALLER: &str = "take a smaller batch or f16 (`--batch`, `--precision f16`; of a package, compile it again with \
                           `--batch`, `--dtype f16`), or another device of `anyjepa devices`";

/// A device that does not answer any more.
pub fn lost(doing: &str, why: &str) -> Error {
    Error::device(format!("cannot {doing}: {why}")).with_remedy(
        "run the command again; if it fails again take a smaller batch, update the GPU's driver, or take `--device cpu`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_an_error_of_the_device_with_advice() {
        let errors: [Error; 3] = [
            caught::<()>("wait", || panic!("lost {}", 7)).unwrap_err(),
            caught::<()>("wait", || panic!("lost")).unwrap_err(),
            caught::<()>("wait", || panic::panic_any(7)).unwrap_err(),
        ];
        let words = errors.each_ref().map(|error| (error.to_string(), error.exit_code(), error.remedy().is_some()));
        let expected = ["cannot wait: lost 7", "cannot wait: lost", "cannot wait: the driver failed"];
        assert_eq!(words, expected.map(|words| (words.to_owned(), 6, true)));
        let nested = caught("wait", || caught::<()>("read", || panic!("lost")).unwrap_err().to_string());
        assert_eq!(nested.unwrap(), "cannot read: lost");
        assert_eq!(caught("wait", || 7).unwrap(), 7);
    }
}
