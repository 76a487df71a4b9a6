//! The places at which a test can hurt a run: before every write, and at moments that a signal or a bad number can hit.
//!
//! `FAILPOINTS='file.sync=2*off->return(kill)'` ends a process before its third sync of a file; [`ANY`] counts all writes.
//! Without the feature `failpoints` every place is an empty function.

use std::io;

/// The name under which everything but moments is counted.
pub const ANY: &str = "any";

macro_rules! points {
    ($($name:ident $text:literal $kind:ident $what:literal)*) => {
        /// A place, named as `FAILPOINTS` names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $(#[doc = $what] $name,)*
        }

        impl Point {
            /// Every place.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether something is written here.
            pub fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

/// What happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something is written, for which there may be no room.
    Write,
    /// Something is read or removed, which needs no room.
    Change,
    /// Nothing is written; a signal may come, or a number be wrong.
    Moment,
}

points! {
    FileCreate "file.create" Write "Before a small file is created beside its place."
    FileWrite "file.write" Write "Before its content is written."
    FileSync "file.sync" Write "Before it is synced."
    Rename "rename" Write "Before a file or a folder gets its own name."
    FolderSync "folder.sync" Write "Before the folder around it is synced."
    CheckpointFolder "checkpoint.folder" Write "Before a checkpoint's folder is created beside its place."
    TensorsCreate "tensors.create" Write "Before a file of tensors is created."
    TensorsWrite "tensors.write" Write "Halfway through them."
    TensorsSync "tensors.sync" Write "Before it is synced."
    CheckpointCheck "checkpoint.check" Change "Before a new checkpoint is read again."
    CheckpointPrune "checkpoint.prune" Change "Before each file of an old checkpoint is removed."
    MetricsLine "metrics.line" Write "Before a line of metrics."
    EventsCreate "events.create" Write "Before a file of events is created."
    EventsRecord "events.record" Write "Before an event."
    LogsSync "logs.sync" Write "Before metrics, events and the list of unreadable pictures are each synced."
    SkippedLine "skipped.line" Write "Before the list of unreadable pictures grows."
    Sign "lock.sign" Write "Before the owner of a folder signs its lock."
    Step "train.step" Moment "At the begin of a step."
    Loss "train.loss" Moment "When a step's loss is known; where this place fails, the loss is not finite."
    Health "train.health" Moment "Before the features are looked at."
    Launch "gpu.launch" Moment "Before a plan is launched on a GPU; where this place fails, the device is lost."
}

/// Passes a place.
///
/// # Errors
/// What the test asked for; never without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn at(_: Point) -> io::Result<()> {
    Ok(())
}

/// Passes a place.
///
/// # Errors
/// What the test asked for: `return(full)` is a full disk, any other text an error with this text.
#[cfg(feature = "failpoints")]
pub fn at(point: Point) -> io::Result<()> {
    tracing::trace!("passing {}", point.name());
    if point.kind() != Kind::Moment {
        named(ANY, point)?;
    }
    named(point.name(), point)
}

#[cfg(feature = "failpoints")]
fn named(name: &str, point: Point) -> io::Result<()> {
    fail::fail_point!(name, |action| act(action.as_deref().unwrap_or_default(), point));
    Ok(())
}

/// `kill` is `kill -9`, `stop` waits for `kill -CONT`; `int`, `term` and `usr1` are signals that come here.
#[cfg(feature = "failpoints")]
fn act(action: &str, point: Point) -> io::Result<()> {
    match action {
        "kill" => raise(9),
        "int" => raise(2),
        "term" => raise(15),
        #[cfg(unix)]
        "stop" => raise(signal_hook::consts::SIGSTOP),
        #[cfg(unix)]
        "usr1" => raise(signal_hook::consts::SIGUSR1),
        "full" if point.kind() == Kind::Change => Ok(()),
        "full" => Err(io::ErrorKind::StorageFull.into()),
        other => Err(io::Error::other(other.to_owned())),
    }
}

#[cfg(feature = "failpoints")]
fn raise(signal: i32) -> io::Result<()> {
    signal_hook::low_level::raise(signal)
}
