//! A run of the program under watch: its exit code, what it said, and the most memory it held.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A guard against hanging alone: everything here ends within seconds.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at a process's memory. Its peak only grows, so that a look in the middle loses little.
const GLANCE: Duration = Duration::from_millis(2);

/// How a process ended.
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Standard error.
    pub said: String,
    /// The largest resident set in bytes; nothing where the system does not say.
    pub peak: Option<u64>,
}

/// `anyjepa` with these arguments.
pub fn anyjepa(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("ANYJEPA_DEVICE");
    command
}

/// Runs `command` to its end.
///
/// # Panics
/// Where it panics, is ended by a signal, or does not end.
pub fn watch(command: &mut Command) -> Ended {
    let mut said = tempfile::tempfile().unwrap();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone().unwrap()).spawn().unwrap();
    let (start, mut peak) = (Instant::now(), None);
    let status = loop {
        peak = peak_memory(child.id()).or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} hangs");
        }
        sleep(GLANCE);
    };
    let mut text = String::new();
    std::io::Seek::rewind(&mut said).unwrap();
    said.read_to_string(&mut text).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    let code = status.code().unwrap_or_else(|| panic!("{command:?} ended with {status}: {text}"));
    Ended { code, said: text, peak }
}

fn peak_memory(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?)
}
