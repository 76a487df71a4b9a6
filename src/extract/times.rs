//! When what a row holds is seen in its film: the first and the last frame of each tubelet, or of the whole clip.

use super::Tokens;
use crate::data::Batch;

/// How the times of frames become those of a row's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Rows have none: of pictures, and of tokens that are means over several clips.
    None,
    /// One pair a row: when the first of its frames is shown, and the last.
    Whole,
    /// A pair for each of so many times.
    Each(usize),
}

impl Times {
    /// Those of features of `tokens` of clips of so many frames and times, of films of which `clips` clips are seen.
    pub fn of([frames, times]: [usize; 2], tokens: Tokens, clips: usize) -> Self {
        match tokens {
            _ if frames < 2 => Self::None,
            Tokens::Pooled => Self::Whole,
            Tokens::Patch | Tokens::Time if clips > 1 => Self::None,
            Tokens::Patch | Tokens::Time => Self::Each(times),
        }
    }

    /// Pairs of a row.
    pub fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::Whole => 1,
            Self::Each(times) => times,
        }
    }

    /// The pairs of the inputs of `batch` at `inputs`, all of one sample, one after the other, in seconds.
    pub(super) fn pairs(self, batch: &Batch, inputs: std::ops::Range<usize>) -> Vec<f64> {
        let frames = batch.times.len() / batch.shape[0].max(1);
        let seen = batch.times.get(inputs.start * frames..inputs.end * frames).unwrap_or_default();
        let pair = |times: &[f64]| {
            let first = times.iter().copied().fold(f64::INFINITY, f64::min);
            [first, times.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
        };
        match self {
            Self::None => Vec::new(),
            Self::Whole => pair(seen).to_vec(),
            // Views of one clip show the same frames.
            Self::Each(times) => seen[..frames].chunks((frames / times.max(1)).max(1)).flat_map(pair).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    #[test]
    fn features_of_clips_have_times_and_those_of_pictures_none() {
        let of = |preset: &str, tokens, clips| {
            let model = Preset::find(preset).unwrap().config().model;
            Times::of([model.frames, model.grid().time], tokens, clips).count()
        };
        assert_eq!(of("ijepa-vit-b16", Tokens::Patch, 1), 0);
        assert_eq!(
            [Tokens::Pooled, Tokens::Patch, Tokens::Time].map(|tokens| of("vjepa-vit-l16", tokens, 1)),
            [1, 8, 8]
        );
        assert_eq!(
            [Tokens::Pooled, Tokens::Patch, Tokens::Time].map(|tokens| of("vjepa-vit-l16", tokens, 8)),
            [1, 0, 0]
        );
    }

    #[test]
    fn a_tubelet_is_seen_from_its_first_frame_to_its_last() {
        let times = vec![0.0, 0.5, 1.0, 1.5, 8.0, 8.5, 9.0, 9.5];
        let batch = Batch { times, shape: [2, 12, 8, 8], ..Batch::default() };
        assert_eq!(Times::Each(2).pairs(&batch, 1..2), [8.0, 8.5, 9.0, 9.5]);
        assert_eq!(Times::Whole.pairs(&batch, 0..2), [0.0, 9.5]);
        assert_eq!(Times::None.pairs(&batch, 0..1), [0.0; 0]);
    }
}
