//! Which frames of a film make its clips, and which part of them is seen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How clips are taken from films; how many frames a clip has, the model says.
///
/// A picture is a film of one frame, and is repeated to a clip's length. A model of pictures sees the frame in the middle
/// of a film.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Frames of the film from one frame of a clip to the next, where `fps` is 0.
    pub stride: usize,
    /// Frames of a clip in a second, whatever the film's rate is; 0 counts frames by `stride`.
    pub fps: f64,
    /// Clips of a film whose features are averaged, evenly spread over its time; training draws one.
    pub clips: usize,
    /// Squares of a clip whose features are averaged, evenly spread along its longer side; one is the centre.
    pub views: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::ONE
    }
}

impl Sampling {
    /// One clip of frames that follow each other; of a film that is seen as a picture, the frame in the middle.
    pub const ONE: Self = Self { stride: 1, fps: 0.0, clips: 1, views: 1 };

    /// Clips of one film that go through the network outside training.
    pub fn inputs(&self) -> usize {
        self.clips.saturating_mul(self.views)
    }

    /// What is wrong with it, key by key.
    pub fn problems(&self) -> Vec<String> {
        /// Far above every recipe.
        const MOST: usize = 4096;
        let counts = [("stride", self.stride), ("clips", self.clips), ("views", self.views)];
        let wrong = counts.iter().filter(|(_, count)| !(1..=MOST).contains(count));
        let mut problems: Vec<String> =
            wrong.map(|(key, count)| format!("{key} = {count} must be from 1 to {MOST}")).collect();
        if problems.is_empty() && self.inputs() > MOST {
            let Self { clips, views, .. } = self;
            problems.push(format!("clips = {clips} times views = {views} must be at most {MOST}"));
        }
        if !(self.fps == 0.0 || (1e-3..=1e3).contains(&self.fps)) {
            problems.push(format!("fps = {} must be from 0.001 to 1000, or 0 to count frames by stride", self.fps));
        }
        problems
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stride, fps, clips, views } = self;
        match (*fps > 0.0, stride) {
            (true, _) => write!(f, "{fps} a second")?,
            (false, 1) => write!(f, "every one")?,
            (false, stride) => write!(f, "one in {stride}")?,
        }
        match self.inputs() {
            1 => Ok(()),
            _ => write!(f, ", {clips} clips x {views} views"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampling_that_cannot_work_says_what_is_wrong() {
        assert!(Sampling::ONE.problems().is_empty());
        let many = Sampling { clips: 64, views: 64, ..Sampling::ONE };
        assert!(many.problems().is_empty());
        let wrong = Sampling { clips: 65, ..many };
        insta::assert_snapshot!(wrong.problems().join("\n"), @"clips = 65 times views = 64 must be at most 4096");
        let wrong = Sampling { stride: 0, fps: f64::NAN, views: 5000, ..Sampling::ONE };
        insta::assert_snapshot!(wrong.problems().join("\n"), @r"
        stride = 0 must be from 1 to 4096
        views = 5000 must be from 1 to 4096
        fps = NaN must be from 0.001 to 1000, or 0 to count frames by stride
        ");
    }
}
