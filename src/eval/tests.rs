//! Probes of the raw pixels of animals28 give what scikit-learn and NumPy give.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::tensor::Device;
use flate2::read::GzDecoder;

use super::*;

/// The images that scikit-learn and we may classify differently: those on the border between two classes. Our products
/// are f32, theirs f64, and both stop at a gradient that is small but not 0.
const BORDERLINE: usize = 5;

struct Pixels {
    features: Matrix,
    labels: Vec<u32>,
}

impl Pixels {
    fn labelled(&self) -> Labelled<'_> {
        Labelled { features: &self.features, labels: &self.labels }
    }
}

fn animals28(part: &str) -> Pixels {
    let labels: Vec<u32> = unpacked(&format!("{part}-labels-idx1-ubyte.gz"))[8..].iter().map(|&b| b.into()).collect();
    let pixels = unpacked(&format!("{part}-images-idx3-ubyte.gz"));
    let values = pixels[16..].iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Pixels { features: Matrix::new(labels.len(), 28 * 28, values).unwrap(), labels }
}

fn unpacked(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/animals28").join(name);
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// `LogisticRegression(C=0.01, tol=1e-6, max_iter=5000)` of scikit-learn 1.9.1 behind a `StandardScaler`.
#[test]
fn the_logistic_probe_is_that_of_scikit_learn() {
    const CORRECT: usize = 1559;
    const OBJECTIVE: f64 = 4_194.328_145_533_87;
    /// Where no component of the gradient is above 1e-4 a sample, the objective is this near to its minimum.
    const OBJECTIVE_TOLERANCE: f64 = 1e-4;

    let (train, test) = (animals28("train"), animals28("t10k"));
    let config = LogisticConfig { l2: 1.0 / 0.01, ..Default::default() };
    let probe = Logistic::fit(train.labelled(), 10, &config, &Device::flex()).unwrap();
    assert!(probe.converged);
    assert!((probe.objective / OBJECTIVE - 1.0).abs() < OBJECTIVE_TOLERANCE, "{}", probe.objective);
    let predictions = probe.predict(&test.features, &Device::flex()).unwrap();
    let accuracy = Accuracy::count(&predictions, &test.labels);
    assert!(accuracy.correct.abs_diff(CORRECT) <= BORDERLINE, "{accuracy:?}");
}

/// NumPy in f64 with our rule for ties. scikit-learn gives ties to the lowest class, and with it 1,660 and 1,781.
#[test]
fn the_nearest_neighbour_probe_is_that_of_numpy() {
    let (train, test) = (animals28("train"), animals28("t10k"));
    for (metric, correct) in [(Metric::Cosine, 1692), (Metric::Euclidean, 1793)] {
        let config = KnnConfig { metric, ..Default::default() };
        let accuracy = knn(train.labelled(), test.labelled(), &config, &Device::flex()).unwrap();
        assert!(accuracy.correct.abs_diff(correct) <= BORDERLINE, "{metric:?}: {accuracy:?}");
    }
}
