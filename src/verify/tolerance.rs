//! Every tolerance of a reference case, with its reason; `docs/PARITY.md` repeats them.

use super::Tolerance;

/// Activations: f32 itself loses about 6e-6 against f64 in the golden values; a tanh GELU would be off by 6e-4.
pub const ACTIVATION: Tolerance = Tolerance::Elements { absolute: 5e-5, relative: 1e-5 };
/// Losses: means over thousands of elements, where rounding averages out.
pub const LOSS: Tolerance = Tolerance::Elements { absolute: 0.0, relative: 1e-6 };
/// Losses after updates: the noise of near-zero gradients, which AdamW enlarges, has reached the parameters.
pub const LATER_LOSS: Tolerance = Tolerance::Elements { absolute: 0.0, relative: 2e-5 };
/// Gradients, by tensor.
pub const GRADIENT: Tolerance = Tolerance::RelativeNorm(1e-4);
/// Norms of gradients; the absolute part covers key biases, whose gradient is rounding noise around zero.
pub const GRADIENT_NORM: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 1e-4 };
/// Parameters after one step: an ulp or two of values around 1, and AdamW's first step, which is the sign of the
/// gradient times the learning rate.
pub const PARAMETER: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 1e-6 };
/// Parameters after several steps: the noise of each step's gradients adds to that of the first.
pub const LATER_PARAMETER: Tolerance = Tolerance::Elements { absolute: 1e-5, relative: 1e-6 };
/// Gradients below this are rounding noise to AdamW.
pub const QUIET_GRADIENT: f32 = 2e-6;
/// What parameters of such gradients may differ by beside what AdamW makes of the noise.
pub const QUIET_ROUNDING: f64 = 2e-6;
/// What a moving average of two equal values may change: an ulp of values up to 1.
pub const AVERAGED: Tolerance = Tolerance::Elements { absolute: 6e-8, relative: 6e-8 };
/// Position tables: angles in f64, rounded once; an ulp of values up to 1, where the libraries' sines differ.
pub const TABLE: Tolerance = Tolerance::Elements { absolute: 6e-8, relative: 0.0 };
/// Interpolated position tables: PyTorch sums 16 products in f32, whose rounding alone is 8e-7 against f64.
pub const INTERPOLATED: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 0.0 };
/// Schedules: f64 on both sides, compared as f32.
pub const RATE: Tolerance = Tolerance::Elements { absolute: 1e-12, relative: 2e-7 };
/// Means over an input: the golden values were summed in f32.
pub const MEAN: Tolerance = Tolerance::Elements { absolute: 1e-6, relative: 1e-6 };
/// Levels of 255 by which decoders may differ on a JPEG whose colour is stored at half resolution: blue shows a chroma
/// that was rounded the other way 1.77 times.
pub const DECODED_LEVELS: Tolerance = Tolerance::Elements { absolute: 4.0, relative: 0.0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::DEVIATIONS;

    /// A bound as docs/PARITY.md writes it.
    fn bound(tolerance: Tolerance) -> String {
        match tolerance {
            Tolerance::Elements { absolute, relative: 0.0 } => format!("{absolute:e}"),
            Tolerance::Elements { absolute: 0.0, relative } => format!("{relative:e} of the value"),
            Tolerance::Elements { absolute, relative } => format!("{absolute:e} + {relative:e} of the value"),
            Tolerance::RelativeNorm(share) => format!("{share:e} of the tensor's norm"),
            Tolerance::Exact => "exact".to_owned(),
        }
    }

    #[test]
    fn the_tolerances_are_those_of_the_documentation() {
        let page = include_str!("../../docs/PARITY.md");
        let Tolerance::Elements { absolute: levels, .. } = DECODED_LEVELS else { panic!("a bound on each level") };
        let rows = [
            ("activations", bound(ACTIVATION)),
            ("losses", bound(LOSS)),
            ("losses after updates", bound(LATER_LOSS)),
            ("gradients", bound(GRADIENT)),
            ("norms of gradients", bound(GRADIENT_NORM)),
            ("parameters after a step", bound(PARAMETER)),
            ("parameters after several steps", bound(LATER_PARAMETER)),
            ("the average of two equal values", bound(AVERAGED)),
            ("position tables", bound(TABLE)),
            ("interpolated position tables", bound(INTERPOLATED)),
            ("schedules", bound(RATE)),
            ("means of an input", bound(MEAN)),
            ("a decoded JPEG", format!("{levels} levels of 255")),
            ("pickled tensors, preprocessing on the u8 level", bound(Tolerance::Exact)),
            ("masks from the reference's generator, sizes of blocks", bound(Tolerance::Exact)),
            ("statistics of masks and of crops", format!("{DEVIATIONS} standard deviations of a difference by chance")),
        ];
        let table = page.split("| quantity | bound | why |\n|---|---|---|\n").nth(1).unwrap();
        let written: Vec<(&str, String)> = table
            .lines()
            .map_while(|line| line.strip_prefix("| "))
            .map(|line| {
                let mut cells = line.split(" | ");
                (cells.next().unwrap(), cells.next().unwrap().to_owned())
            })
            .collect();
        assert_eq!(written, rows);
        assert!(page.contains(&format!("elements whose gradient is below {QUIET_GRADIENT:e}")));
    }
}
