//! Which of a run's checkpoints is the newest.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Manifest, Whole};
use crate::error::{Error, IoContext as _, Result};

/// The file in a run's folder that names the newest checkpoint.
pub(crate) const LATEST: &str = "latest";

/// The checkpoint that `latest` names in the run's folder `run`; none where there is no such file.
///
/// # Errors
/// A data error where it cannot be read, or names no checkpoint that is there.
pub(crate) fn latest(run: &Path) -> Result<Option<PathBuf>> {
    let (latest, parent) = (run.join(LATEST), run.join("checkpoints"));
    let damaged = |path: &Path, problem: &dyn Display| Whole::Checkpoint.damaged(path, problem);
    let name = match fs::read_to_string(&latest) {
        Ok(name) => name,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(&latest, &error)),
    };
    let path = parent.join(name.trim());
    // The text is a name beside the others, not a way to anywhere else.
    match path.parent() == Some(parent.as_path()) {
        true if path.is_dir() => Ok(Some(path)),
        true => Err(damaged(&path, &"the folder is missing, and `latest` names it")),
        false => Err(damaged(&latest, &format!("{name:?} is no checkpoint's name"))),
    }
}

/// The newest checkpoint of the run in the folder `run`: the one that `latest` names, or the last one that has a manifest.
///
/// # Errors
/// A data error where there is none.
pub(super) fn newest(run: &Path) -> Result<PathBuf> {
    match latest(run) {
        Ok(Some(path)) => return Ok(path),
        Ok(None) => {}
        Err(error) => tracing::warn!("passed over a checkpoint: {error}"),
    }
    let parent = run.join("checkpoints");
    let entries = fs::read_dir(&parent).at("list", &parent)?.flatten().map(|entry| entry.path());
    let whole = entries.filter(|path| path.join(Manifest::FILE).is_file());
    whole.max().ok_or_else(|| Error::data(run, "the run holds no whole checkpoint"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_latest_names_is_a_checkpoint_beside_the_others_or_said_to_be_none() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        fs::create_dir_all(run.join("checkpoints/step-00000002")).unwrap();
        fs::write(run.join("checkpoints/step-00000002/manifest.json"), "").unwrap();
        let whole = run.join("checkpoints/step-00000002");
        assert_eq!(latest(run).unwrap(), None);
        fs::write(run.join(LATEST), "step-00000002\n").unwrap();
        assert_eq!(latest(run).unwrap(), Some(whole.clone()));
        let mut said = String::new();
        for content in [&b"step-00000009"[..], b"../checkpoints", b"", b"\xff\xfe"] {
            fs::write(run.join(LATEST), content).unwrap();
            said += &latest(run).unwrap_err().to_string().replace(&run.display().to_string(), "RUN");
            said += "\n";
            assert_eq!(newest(run).unwrap(), whole);
        }
        insta::assert_snapshot!(said, @r#"
        RUN/checkpoints/step-00000009: the checkpoint is damaged: the folder is missing, and `latest` names it
        RUN/latest: the checkpoint is damaged: "../checkpoints" is no checkpoint's name
        RUN/latest: the checkpoint is damaged: "" is no checkpoint's name
        RUN/latest: the checkpoint is damaged: stream did not contain valid UTF-8
        "#);
    }
}
