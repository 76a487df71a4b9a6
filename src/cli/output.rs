//! Results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyjepa::error::{Error, Kind, Result};
use comfy_table::{ContentArrangement, Table, presets};
use serde::{Serialize, Serializer};
use tracing_subscriber::EnvFilter;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Sets up messages: `-q`, nothing, `-v`, `-vv`; `ANYJEPA_LOG` overrides.
pub fn init(quiet: bool, verbose: u8) -> Result<()> {
    QUIET.store(quiet, Ordering::Relaxed);
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "anyjepa=warn,error",
        (_, 1) => "anyjepa=info,warn",
        _ => "debug",
    };
    let asked = std::env::var("ANYJEPA_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::try_new(&asked).map_err(|error| {
        Error::usage(format!("ANYJEPA_LOG=`{asked}` cannot be read: {error}"))
            .with_remedy("write what is told, such as ANYJEPA_LOG=anyjepa=info, or unset it")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour())
        .without_time()
        .with_target(false)
        // It would say so on standard error, and panic where that is closed.
        .log_internal_errors(false)
        .init();
    Ok(())
}

/// Whether messages may be coloured: on a terminal, unless `NO_COLOR` is set.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

/// Whether `-q` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says something on standard error, unless `-q` was given.
pub fn say(message: &str) {
    if !is_quiet() {
        write_error(&harmless(message));
    }
}

/// Prints an error with its remedy, and gives the exit code.
pub fn fail(error: &Error) -> ExitCode {
    let (red, end) = if colour() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    write_error(&format!("{red}error{end}: {}", harmless(&error.to_string())));
    if let Some(remedy) = error.remedy() {
        help(remedy);
    }
    ExitCode::from(error.exit_code())
}

/// Says on standard error what the user can do about an error.
pub fn help(remedy: &str) {
    write_error(&format!("  help: {}", harmless(remedy)));
}

/// Writes a line to standard error; that nobody reads it is no reason to fail.
fn write_error(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// `text` without control characters but the ends of lines and tabs: names in files would move the cursor, or worse.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    if !text.contains(is_harmful) {
        return text.into();
    }
    text.chars().map(|char| if is_harmful(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// Prints a result on standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", harmless(text.trim_end())).and_then(|()| out.flush()) {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Error::io("write", "standard output", error)),
    }
}

/// Prints a result as one JSON object.
pub fn print_json<T: Serialize>(result: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(result).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
    print(&text)
}

/// A path in a result, which is JSON and so UTF-8: what is not stands there as U+FFFD.
#[derive(Debug)]
pub struct Shown(PathBuf);

impl From<PathBuf> for Shown {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Deref for Shown {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

/// A table with `header`, without frames.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    table
}
