//! A GPU that is lost under burn: its libraries panic then, and on a thread of their own, which makes all others wait for
//! ever.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::{Component, Path};
use std::thread;

use anyjepa::error::{Error, Result};
use signal_hook::low_level;

use super::output;

/// Crates by which burn computes on a GPU, or how their names begin.
const COMPUTING: [&str; 5] = ["wgpu", "cubecl", "cubek", "burn-cubecl", "cudarc"];

thread_local!(static PANIC: RefCell<Option<String>> = const { RefCell::new(None) });

/// Does `work`; where a GPU is lost meanwhile, its error is given back or, where `work` would wait for ever, ends the
/// process.
pub fn watched(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let (thread, at) = (thread::current(), panic.location().map(|location| location.file()));
        match at.and_then(made_by).filter(|library| is_computing(library)) {
            // What it has to say is said once, by the error.
            Some(_) if thread.name() == Some("main") => PANIC.set(Some(said(panic))),
            // The one that waits for the device has no name.
            Some(library) if thread.name().is_none() && library.starts_with("wgpu") => {
                let error = lost(&said(panic));
                output::fail(&error);
                low_level::exit(error.exit_code().into());
            }
            // The others are caught, hundreds of them, and become an error where a tensor is read.
            Some(library) => tracing::debug!("a panic in {library}: {}", said(panic)),
            None => before(panic),
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match PANIC.take() {
        Some(said) => Err(lost(&said)),
        None => panic::resume_unwind(panic),
    })
}

/// The crate of a source file: of `/a/registry/src/b/wgpu-30.0.1/src/backend/core.rs` it is `wgpu-30.0.1`.
fn made_by(file: &str) -> Option<&str> {
    let mut folders = Path::new(file).components().rev().skip_while(|part| part.as_os_str() != "src").skip(1);
    match folders.next()? {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

fn is_computing(library: &str) -> bool {
    COMPUTING.iter().any(|name| library.starts_with(name))
}

/// The words of a panic, on one line.
fn said(panic: &PanicHookInfo) -> String {
    let words = panic.payload_as_str().unwrap_or("the driver failed");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lost(why: &str) -> Error {
    Error::device(format!("the device failed: {why}")).with_remedy(
        "run the command again, a run continues after its last checkpoint; if it fails again take a smaller batch \
         (`--batch`, `--set train.batch=N`), update the GPU's driver, or take `--device cpu`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_of_a_source_file_is_the_folder_above_its_sources() {
        for (file, library) in [
            ("/home/me/.cargo/registry/src/index-1/wgpu-30.0.1/src/backend/wgpu_core.rs", Some("wgpu-30.0.1")),
            ("/home/wgpu/src/anyjepa/src/train/run.rs", Some("anyjepa")),
            ("vendor/cubecl-wgpu/src/compute/src.rs", Some("cubecl-wgpu")),
            ("src/train/run.rs", None),
            ("/src/run.rs", None),
            ("run.rs", None),
        ] {
            assert_eq!(made_by(file), library, "{file}");
        }
        assert!(is_computing("cubecl-wgpu-0.11.3") && is_computing("burn-cubecl-0.22.1"));
        assert!(!is_computing("burn-flex-0.22.1") && !is_computing("anyjepa"));
    }
}
