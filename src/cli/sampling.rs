//! `--sampling KEY=VALUE,..`: other frames of a film than the weights ask for.

#[cfg(feature = "train")]
use anyjepa::config::{ModelConfig, Positions, Sampling};
use anyjepa::error::{Error, Result};
#[cfg(feature = "train")]
use anyjepa::weights::{Clips, Loaded};

/// One thing that is sampled otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Frames of a clip, for encoders that turn queries and keys instead of adding a table of positions.
    Frames(usize),
    /// Frames of the film from one of a clip to the next.
    Stride(usize),
    /// Frames of a clip in a second.
    Fps(f64),
    /// Clips of a film, whose features are averaged.
    Clips(usize),
    /// Squares of a clip, whose features are averaged.
    Views(usize),
}

impl Change {
    #[cfg(feature = "train")]
    fn key(self) -> &'static str {
        match self {
            Self::Frames(_) => "frames",
            Self::Stride(_) => "stride",
            Self::Fps(_) => "fps",
            Self::Clips(_) => "clips",
            Self::Views(_) => "views",
        }
    }
}

/// Reads `KEY=VALUE`.
pub fn parse(text: &str) -> Result<Change> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let count = |of: fn(usize) -> Change| value.parse().ok().map(of);
    let change = match key.trim() {
        "frames" => count(Change::Frames),
        "stride" => count(Change::Stride),
        "fps" => value.parse().ok().map(Change::Fps),
        "clips" => count(Change::Clips),
        "views" => count(Change::Views),
        _ => None,
    };
    change.ok_or_else(|| {
        Error::usage(format!("`{text}` says nothing of frames, stride, fps, clips or views"))
            .with_remedy("write numbers, such as --sampling clips=8,views=3, or stride=4, or fps=4")
    })
}

/// Samples for `loaded` as `changes` say, and as the weights do where they say nothing.
///
/// # Errors
/// A usage error for weights of pictures, for a key that comes twice or that another excludes, for a sampling that cannot
/// be, and for a number of frames that the encoder's
/// positions do not allow.
#[cfg(feature = "train")]
pub fn apply(changes: &[Change], loaded: &mut Loaded) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = changes.iter().map(|change| change.key()).collect();
    if let Some((_, key)) = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key)) {
        return Err(
            Error::usage(format!("--sampling says twice what {key} is")).with_remedy(format!("give {key}= once"))
        );
    }
    if keys.contains(&"stride") && keys.contains(&"fps") {
        return Err(Error::usage(
            "--sampling takes frames by number, with stride, or by time, with fps, and not by both",
        )
        .with_remedy("leave out stride= or fps="));
    }
    let ModelConfig { frames, tubelet, positions, .. } = &mut loaded.model;
    if *frames < 2 {
        return Err(Error::usage("the weights are of pictures: of a film they see the frame in the middle")
            .with_remedy("leave out --sampling"));
    }
    let clips = &mut loaded.provenance.preprocessing.clips;
    let mut sampling = clips.as_ref().map_or(Sampling::ONE, |clips| clips.sampling);
    for change in changes {
        match *change {
            Change::Frames(count) if count == *frames => {}
            Change::Frames(count) if *positions != Positions::Rope => {
                let message =
                    format!("the encoder's table of positions is of clips of {frames} frames, not of {count}");
                return Err(Error::usage(message).with_remedy("leave out frames=; V-JEPA 2's encoders take any number"));
            }
            Change::Frames(count) if count < 2 || !count.is_multiple_of(*tubelet) || count > MOST_FRAMES => {
                let message = format!("{count} frames are no clip of tubelets of {tubelet}");
                return Err(
                    Error::usage(message).with_remedy(format!("take a multiple of {tubelet}, from 2 to {MOST_FRAMES}"))
                );
            }
            Change::Frames(count) => *frames = count,
            Change::Stride(stride) => (sampling.stride, sampling.fps) = (stride, 0.0),
            Change::Fps(fps) => sampling.fps = fps,
            Change::Clips(count) => sampling.clips = count,
            Change::Views(count) => sampling.views = count,
        }
    }
    let problems = sampling.problems();
    if !problems.is_empty() {
        return Err(Error::usage(format!("no clips can be sampled so: {}", problems.join("; ")))
            .with_remedy("write --sampling as data.sampling is in docs/CONFIGURATION.md"));
    }
    *clips = Some(Clips { frames: *frames, sampling });
    Ok(())
}

/// Far above every recipe.
#[cfg(feature = "train")]
const MOST_FRAMES: usize = 1024;
