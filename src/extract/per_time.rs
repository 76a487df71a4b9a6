//! The mean over the places of each time of a clip, by any engine.

use super::{FeatureEngine, Shape};
use crate::data::Batch;
use crate::error::Result;
use crate::matrix::Matrix;

/// An engine whose rows hold one vector a time, the mean over its places.
///
/// `T` times, `P` places of a time, `D` values.
pub struct PerTime {
    /// Gives every token, `[B, T P D]`, the places of a time side by side.
    pub engine: Box<dyn FeatureEngine>,
    /// `T`, which divides the engine's tokens.
    pub times: usize,
}

impl FeatureEngine for PerTime {
    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        let tokens = self.engine.encode(batch)?;
        let (dim, of_time) = (self.engine.shape().dim, tokens.cols / self.times.max(1));
        let places = (of_time / dim.max(1)).max(1);
        let mut values = Vec::with_capacity(tokens.rows * self.times * dim);
        for time in tokens.values.chunks_exact(of_time.max(1)) {
            let mean = |d: usize| {
                let sum: f64 = time.iter().skip(d).step_by(dim).map(|value| f64::from(*value)).sum();
                (sum / places as f64) as f32
            };
            values.extend((0..dim).map(mean));
        }
        Matrix::new(tokens.rows, self.times * dim, values)
    }

    fn shape(&self) -> Shape {
        Shape { tokens: self.times, ..self.engine.shape() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two times of two places of two values.
    struct Tokens;

    impl FeatureEngine for Tokens {
        fn encode(&self, batch: &Batch) -> Result<Matrix> {
            let row = [1.0, 10.0, 3.0, 30.0, 5.0, 50.0, 9.0, 90.0];
            Matrix::new(batch.shape[0], 8, row.repeat(batch.shape[0]))
        }

        fn shape(&self) -> Shape {
            Shape { tokens: 4, dim: 2 }
        }
    }

    #[test]
    fn each_time_is_the_mean_over_its_places() {
        let engine = PerTime { engine: Box::new(Tokens), times: 2 };
        let batch = Batch { shape: [2, 3, 8, 8], ..Batch::default() };
        let rows = engine.encode(&batch).unwrap();
        assert_eq!((engine.shape(), rows.rows, rows.cols), (Shape { tokens: 2, dim: 2 }, 2, 4));
        assert_eq!(rows.values, [2.0, 20.0, 7.0, 70.0].repeat(2));
    }
}
