//! The demonstration on clips: pre-train, probe the direction of motion before and after, with controls, and report.

mod controls;
mod directions;
mod page;
mod probes;

pub use controls::Control;
pub use probes::{Features, Motion, MotionRow, Pooling};

use controls::Controlled;
use directions::Needed;
use probes::{Clips, Confusion, Fitted};

use super::{Demo, Learned, Outcome, Part, no_seed};
use crate::config::Layers;
use crate::data::{EvalPlan, EvalTransform};
use crate::error::Result;
use crate::extract::{BurnEngine, FeatureEngine as _, ReadOut, Tokens, Views, encode_all};
use crate::model::Encoder;
use crate::train::Observer;

const READ_OUT: ReadOut = ReadOut { layers: Layers::LastOf(1), tokens: Tokens::Patch, views: Views::One };
/// Clips of one forward pass in extraction.
const BATCH: usize = 64;

/// The run of the first seed, which the report shows.
struct First {
    learned: Learned,
    /// How often the attentive probe of the trained encoder took each direction for each.
    confusion: Confusion,
}

/// Runs the demonstration: probes learn from the first `clips` clips of the training part, and from `few` of each direction
/// among them, and are tested on half as many of the test part; `say` hears what comes next after the training.
///
/// # Errors
/// As training does; a usage error where the classes are not the directions of motion, or too few clips move in one of them.
pub fn run(
    demo: &Demo,
    [clips, few]: [usize; 2],
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome<MotionRow>> {
    let (data, test) = demo.parts()?;
    let of_part = |part: &str| format!("the {part} part of {}", demo.data.display());
    let data = directions::of(data, &Needed { name: &of_part("training"), clips, least: few })?;
    let test = directions::of(test, &Needed { name: &of_part("test"), clips: clips / 2, least: 1 })?;
    let mut probes = Vec::new();
    let mut first: Option<First> = None;
    for &seed in demo.seeds {
        let learned = demo.learn(seed, &data, observer)?;
        let encoders = [(Features::Untrained, &learned.pair.untrained), (Features::Trained, &learned.pair.trained)];
        let mut confusion = Confusion::default();
        for (features, encoder) in encoders {
            demo.go_on()?;
            say(&format!("probing the {} encoder, seed {seed}", features.name()));
            let known = encode(demo, encoder, &data, clips, Control::None)?;
            let mut seen = encode(demo, encoder, &test, clips / 2, Control::None)?;
            let of_all = Fitted::both(&known, &seen, seed, demo)?;
            let of_few = Fitted::both(&known.few(few, seed)?, &seen, seed, demo)?;
            drop(known);
            for control in Control::ALL {
                demo.go_on()?;
                if control != Control::None {
                    seen = encode(demo, encoder, &test, clips / 2, control)?;
                }
                let of_few = of_few.iter().filter(|_| control == Control::None).map(|fitted| (Some(few), fitted));
                for (labels_per_class, fitted) in of_all.iter().map(|fitted| (None, fitted)).chain(of_few) {
                    let (pooling, scores) = (fitted.pooling(), fitted.scores(&seen, demo.device)?);
                    if (pooling, control, labels_per_class) == (Pooling::Attentive, Control::None, None) {
                        // The trained encoder comes last.
                        confusion = probes::confusion(&scores, &seen.labels);
                    }
                    let motion = Motion::of(&scores, &seen.labels);
                    probes.push(MotionRow { features, pooling, labels_per_class, control, seed, motion });
                }
            }
        }
        first.get_or_insert(First { learned, confusion });
    }
    let first = first.ok_or_else(no_seed)?;
    let page = page::render(demo, &first, &test, &data, &probes)?;
    demo.finish(probes, &page, first.learned)
}

/// The features of a part's first `count` clips under a control.
fn encode(demo: &Demo, encoder: &Encoder, part: &Part, count: usize, control: Control) -> Result<Clips> {
    let engine = BurnEngine::new(encoder.clone(), demo.device.clone(), READ_OUT);
    let engine = Controlled { engine: &engine, frames: demo.config.model.frames, control };
    let samples = 0..count.min(part.data.len());
    let plan = EvalPlan { batch: BATCH, workers: 1, transform: EvalTransform::of(demo.config)?, samples };
    let encoded = encode_all(&engine, &part.data, plan, &mut |_| ())?;
    let labels = encoded.samples.iter().map(|sample| part.labels[*sample as usize]).collect();
    Clips::new(engine.shape(), encoded.features, labels)
}
