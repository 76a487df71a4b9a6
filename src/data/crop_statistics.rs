//! Statistics of torchvision's random crops over thousands of pictures, beside those of [`RandomCrop`].

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::crop::RandomCrop;
use super::picture::MAX_SIDE;
use super::resize::Region;
use crate::chance::{Counts, Sample, Values};
use crate::error::{Error, Kind, Result};
use crate::random::{Purpose, Stream};

/// `random_resized_crop_stats.json` of a reference case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CropStatistics {
    image_wh: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    n: u64,
    area_fraction: Distribution,
    aspect_w_over_h: Distribution,
    /// Crops for which no drawn shape did fit.
    fallback_share: f64,
    #[serde(default, rename = "note")]
    _note: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distribution {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
    hist_edges: Vec<f64>,
    hist: Vec<u64>,
}

impl CropStatistics {
    /// The statistics of as many crops of this crate beside the golden ones.
    ///
    /// # Errors
    /// A data error where the golden values ask for crops that cannot be drawn.
    pub fn compare(&self) -> Result<Vec<Sample>> {
        self.check()?;
        let [width, height] = self.image_wh;
        let crop = RandomCrop { scale: self.scale, aspect: self.ratio };
        let mut fallbacks = 0_u64;
        let mut draw = |sample| {
            let mut stream = Stream::new(0, 0, sample, Purpose::Augment);
            crop.drawn(&mut stream, width, height).unwrap_or_else(|| {
                fallbacks += 1;
                crop.fallback(width, height)
            })
        };
        let crops: Vec<Region> = (0..self.n).map(&mut draw).collect();
        let area = |crop: &Region| (crop.width * crop.height) as f64 / (width * height) as f64;
        let aspect = |crop: &Region| crop.width as f64 / crop.height as f64;
        let mut samples = self.area_fraction.compare("area_fraction", crops.iter().map(area).collect());
        samples.extend(self.aspect_w_over_h.compare("aspect_w_over_h", crops.iter().map(aspect).collect()));
        let n = self.n as f64;
        samples.push(Sample::shares("fallback_share", vec![fallbacks as f64 / n], vec![self.fallback_share], n));
        Ok(samples)
    }

    fn check(&self) -> Result<()> {
        /// Far above every golden value, and a matter of seconds.
        const MOST: u64 = 1 << 22;
        let range = |[low, high]: [f64; 2], most: f64| 0.0 < low && low <= high && high <= most;
        let sides = self.image_wh.iter().all(|side| (1..=MAX_SIDE as usize).contains(side));
        let problem = if !sides {
            format!("image_wh is {:?}, expected sides of 1 to {MAX_SIDE}", self.image_wh)
        } else if !range(self.scale, 1.0) || !range(self.ratio, f64::MAX) {
            format!("scale is {:?} and ratio {:?}, expected ranges above 0", self.scale, self.ratio)
        } else if !(1..=MOST).contains(&self.n) {
            format!("n is {}, expected 1 to {MOST} crops", self.n)
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Data, problem))
    }
}

impl Distribution {
    fn compare(&self, name: &str, values: Vec<f64>) -> Vec<Sample> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        // A value at an edge belongs to the bin above it, but the last bin has both its edges.
        let last = self.hist_edges.len().saturating_sub(2);
        let inside = |bin: usize, low: f64, high: f64, v: f64| low <= v && (v < high || bin == last && v == high);
        let within = |(bin, edge): (usize, &[f64])| {
            values.iter().filter(|value| inside(bin, edge[0], edge[1], **value)).count() as u64
        };
        let bins = self.hist_edges.windows(2).enumerate();
        let named = |counts: &mut dyn Iterator<Item = u64>| -> Counts {
            counts.enumerate().map(|(bin, count)| (format!("{bin:03}"), count)).collect()
        };
        let (found, golden) = (named(&mut bins.map(within)), named(&mut self.hist.iter().copied()));
        // Extremes move with the seed, but they lie in the outermost bins that hold any of the golden values.
        let first = self.hist.iter().position(|count| *count > 0);
        let last = self.hist.iter().rposition(|count| *count > 0);
        let holds = |bin: Option<usize>, value: f64| {
            let edges = bin.and_then(|bin| Some([self.hist_edges.get(bin)?, self.hist_edges.get(bin + 1)?]));
            f64::from(u8::from(edges.is_some_and(|[low, high]| *low <= value && value <= *high)))
        };
        vec![
            Sample::moment(format!("{name}.mean"), mean, self.mean, self.std, count),
            Sample::moment(format!("{name}.std"), std, self.std, self.std, count),
            Sample::counts(format!("{name}.hist"), &found, &golden, Values::Any, 1),
            Sample::exact(
                format!("{name}.min_max_in_outer_bins"),
                vec![holds(first, self.min), holds(last, self.max)],
                vec![1.0; 2],
            ),
        ]
    }
}
