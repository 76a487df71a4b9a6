//! What a configuration must satisfy; every problem is reported at once.

use super::{
    BlockConfig, MaskMode, MaskShape, ModelConfig, OptimConfig, Positions, PredictorConfig, RunConfig, TargetKind,
    TubeConfig,
};
use crate::error::{Error, Result};

/// What no picture, no network and no run goes beyond; products of three of these are still numbers.
const SIDE: usize = 1 << 14;
const WIDTH: usize = 1 << 16;
const DEPTH: usize = 1 << 10;
const COUNT: usize = 1 << 20;
/// Tokens of one picture or clip: more than fifty times those of the largest recipe.
const TOKENS: usize = 1 << 20;
const WORKERS: usize = 256;
/// What no side of a rectangle is longer by.
const ASPECT: f64 = 1e4;

/// What cannot work, each in half a sentence.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn must(&mut self, holds: bool, problem: String) {
        if !holds {
            self.0.push(problem);
        }
    }

    fn count(&mut self, key: &str, value: usize, most: usize) {
        self.must((1..=most).contains(&value), format!("{key} = {value} must be from 1 to {most}"));
    }

    /// Of the blocks of one of the networks of `model`, which is called `what`.
    fn blocks(&mut self, what: &str, model: &ModelConfig, [dim, depth, heads, mlp]: [usize; 4]) {
        for (key, value, most) in
            [("dim", dim, WIDTH), ("depth", depth, DEPTH), ("heads", heads, WIDTH), ("mlp", mlp, 4 * WIDTH)]
        {
            self.count(&format!("{what}.{key}"), value, most);
        }
        self.must(
            heads > 0 && dim % heads == 0,
            format!("{what}.dim = {dim} is no multiple of {what}.heads = {heads}"),
        );
        let least = position_channels(model);
        self.must(
            dim % least == 0,
            format!("{what}.dim = {dim} is no multiple of {least}, which its position embedding needs"),
        );
        let size = dim.checked_div(heads).unwrap_or(0);
        self.must(
            model.positions != Positions::Rope || (size % 2 == 0 && size >= ROTATED),
            format!("{what}'s heads of {size} values cannot be rotated: they must be even and at least {ROTATED}"),
        );
    }
}

impl RunConfig {
    /// Checks every value and every pair of values that depend on each other.
    ///
    /// # Errors
    /// A usage error that lists all problems.
    pub fn validate(&self) -> Result<()> {
        let model = &self.model;
        let mut problems = Problems(model.problems());
        for (key, value, most) in [
            ("data.resize", self.data.resize, SIDE),
            ("train.batch", self.train.batch, COUNT),
            ("train.accumulate", self.train.accumulate, COUNT),
            ("train.log_every", self.train.log_every, COUNT),
            ("train.checkpoint_every", self.train.checkpoint_every, COUNT),
        ] {
            problems.count(key, value, most);
        }
        let workers = self.train.workers;
        problems.must(workers <= WORKERS, format!("train.workers = {workers} must be at most {WORKERS}"));

        problems.must(matches!(model.channels, 1 | 3), format!("model.channels = {} must be 1 or 3", model.channels));

        let data = &self.data;
        let image = model.image_size;
        for (key, values) in [("data.mean", &data.mean), ("data.std", &data.std)] {
            problems.must(
                values.len() == model.channels,
                format!("{key} has {} values, model.channels is {}", values.len(), model.channels),
            );
        }
        problems.must(data.mean.iter().all(|mean| mean.is_finite()), "data.mean must be finite".into());
        problems
            .must(data.std.iter().all(|std| positive((*std).into())), "data.std must be finite and positive".into());
        problems
            .must((0.0..=1.0).contains(&data.flip), format!("data.flip = {} is a probability, from 0 to 1", data.flip));
        problems.must(
            data.resize >= image,
            format!("data.resize = {} is below model.image_size = {image}, so no centre crop fits", data.resize),
        );

        for (key, range, most) in
            [("data.crop_scale", data.crop_scale, 1.0), ("data.crop_aspect", data.crop_aspect, ASPECT)]
        {
            problems.must(is_range(range, most), range_problem(key, range, most));
        }
        problems.0.extend(data.sampling.problems().into_iter().map(|problem| format!("data.sampling.{problem}")));
        let there = (1..=SIDE).contains(&image) && model.patch_size > 0 && model.tubelet > 0;
        problems.0.extend(match &self.mask.shape {
            MaskShape::Blocks(blocks) => blocks.problems(self.mask.mode, model, there),
            MaskShape::Tubes(tubes) => tubes.problems(self.mask.mode),
        });
        problems.0.extend(self.optim.problems());
        let (optim, loss) = (&self.optim, &self.loss);
        for (key, value) in [("loss.variance", loss.variance), ("loss.covariance", loss.covariance)] {
            problems.must(not_negative(value), format!("{key} = {value} must be finite and not negative"));
        }
        problems.must(
            optim.warmup_epochs < optim.epochs as f64 * optim.schedule_scale.min(1.0),
            format!(
                "optim.warmup_epochs = {} is not shorter than the run of optim.epochs = {} and its schedule",
                optim.warmup_epochs, optim.epochs
            ),
        );
        problems.must(
            loss.target == TargetKind::Features || loss.variance + loss.covariance == 0.0,
            "loss.variance and loss.covariance go with loss.target = \"features\" only".into(),
        );

        if problems.0.is_empty() {
            return Ok(());
        }
        Err(Error::usage(format!("the configuration {} cannot work: {}", self.name, problems.0.join("; ")))
            .with_remedy(format!("`anyjepa inspect {}` shows values that work", self.name)))
    }
}

impl ModelConfig {
    /// What no network can be made of, neither the encoder nor the predictor.
    pub(crate) fn problems(&self) -> Vec<String> {
        let PredictorConfig { dim, depth, heads, mlp, mask_tokens } = self.predictor;
        let mut problems = Problems(self.encoder_problems());
        problems.blocks("model.predictor", self, [dim, depth, heads, mlp]);
        problems.count("model.predictor.mask_tokens", mask_tokens, DEPTH);
        problems.0
    }

    /// What no encoder can be made of, whatever the predictor is.
    pub(crate) fn encoder_problems(&self) -> Vec<String> {
        let mut problems = Problems::default();
        for (key, value, most) in [
            ("model.image_size", self.image_size, SIDE),
            ("model.patch_size", self.patch_size, SIDE),
            ("model.frames", self.frames, SIDE),
            ("model.tubelet", self.tubelet, SIDE),
            ("model.channels", self.channels, COUNT),
        ] {
            problems.count(key, value, most);
        }
        problems.blocks("model", self, [self.dim, self.depth, self.heads, self.mlp]);
        let (image, patch) = (self.image_size, self.patch_size);
        let (frames, tubelet) = (self.frames, self.tubelet);
        problems.must(
            tubelet > 0 && frames % tubelet == 0,
            format!("model.frames = {frames} is no multiple of model.tubelet = {tubelet}"),
        );
        problems.must(
            self.positions != Positions::Ijepa || frames == 1,
            format!("model.positions = \"ijepa\" knows no time, and model.frames is {frames}"),
        );
        problems.must(
            patch > 0 && image % patch == 0,
            format!("model.image_size = {image} is no multiple of model.patch_size = {patch}"),
        );
        let grid = [frames.checked_div(tubelet), image.checked_div(patch), image.checked_div(patch)];
        let tokens = grid.into_iter().try_fold(1usize, |tokens, side| tokens.checked_mul(side?));
        // What cannot be divided or counted is said already.
        if let Some(tokens) = tokens {
            let cut = format!("model.image_size = {image}, model.patch_size = {patch} and model.frames = {frames}");
            problems.must(tokens <= TOKENS, format!("{cut} make {tokens} tokens, more than {TOKENS}"));
        }
        // Kernels take it so.
        let eps = f64::from(self.norm_eps as f32);
        problems.must(positive(eps), format!("model.norm_eps = {:?} must be finite and positive", self.norm_eps));
        problems.0
    }
}

impl OptimConfig {
    /// What no step can be made with.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Problems::default();
        problems.count("optim.epochs", self.epochs, COUNT);
        for (key, value) in [
            ("optim.warmup_epochs", self.warmup_epochs),
            ("optim.start_lr", self.start_lr),
            ("optim.lr", self.lr),
            ("optim.final_lr", self.final_lr),
            ("optim.weight_decay", self.weight_decay),
            ("optim.final_weight_decay", self.final_weight_decay),
            ("optim.clip_norm", self.clip_norm),
        ] {
            problems.must(not_negative(value), format!("{key} = {value} must be finite and not negative"));
        }
        problems.must(positive(self.eps), format!("optim.eps = {} must be finite and positive", self.eps));
        problems.must(
            positive(self.schedule_scale),
            format!("optim.schedule_scale = {} must be finite and positive", self.schedule_scale),
        );
        // Both are divided by: 1 - beta^t.
        problems
            .must(self.betas.iter().all(|beta| *beta < 1.0), format!("optim.betas = {:?} must be below 1", self.betas));
        for (key, values) in [("optim.ema", self.ema), ("optim.betas", self.betas)] {
            problems.must(
                values.iter().all(|v| (0.0..=1.0).contains(v)),
                format!("{key} = {values:?} must be from 0 to 1"),
            );
        }
        problems.0
    }
}

impl BlockConfig {
    /// What cannot work with a model of sizes that are `there` to be computed with.
    fn problems(&self, mode: MaskMode, model: &ModelConfig, there: bool) -> Vec<String> {
        const MOST: usize = 256;
        let mut problems = Vec::new();
        if ![self.contexts, self.targets].iter().all(|blocks| (1..=MOST).contains(blocks)) {
            problems.push(format!("mask.contexts and mask.targets must be from 1 to {MOST}"));
        }
        for (key, range, most) in [
            ("mask.context_scale", self.context_scale, 1.0),
            ("mask.target_scale", self.target_scale, 1.0),
            ("mask.target_aspect", self.target_aspect, ASPECT),
        ] {
            problems.extend((!is_range(range, most)).then(|| range_problem(key, range, most)));
        }
        if model.frames > 1 {
            problems.push(format!(
                "a clip of model.frames = {} is masked by tubes (mask.short, mask.long), not by blocks",
                model.frames
            ));
        } else if there && matches!(mode, MaskMode::Reference | MaskMode::Unbiased) {
            let (grid, tokens) = (model.grid(), model.tokens());
            let smallest = (self.context_scale[0] * tokens as f64) as usize;
            if smallest <= self.min_keep {
                let least = self.min_keep;
                problems.push(format!(
                    "a context block of {smallest} of {tokens} tokens cannot keep more than mask.min_keep = {least}"
                ));
            }
            if grid.side < 3 {
                problems.push(format!("a grid of {grid} tokens is too small for mask blocks"));
            }
        }
        problems
    }
}

impl TubeConfig {
    fn problems(&self, mode: MaskMode) -> Vec<String> {
        const MOST: usize = 256;
        let mut problems = Vec::new();
        if matches!(mode, MaskMode::Block | MaskMode::Rasterised) {
            problems.push("mask.mode of a clip is \"reference\", \"unbiased\" or \"random\"".to_owned());
        }
        if self.ranges().iter().all(|(_, range)| range.num_blocks == 0) {
            problems.push("mask.short.num_blocks and mask.long.num_blocks are both 0: nothing is masked".to_owned());
        }
        for (name, range) in self.ranges() {
            if range.num_blocks > MOST {
                problems.push(format!("mask.{name}.num_blocks = {} must be at most {MOST}", range.num_blocks));
            }
            for (key, range, most) in [
                ("spatial_scale", range.spatial_scale, 1.0),
                ("temporal_scale", range.temporal_scale, 1.0),
                ("aspect_ratio", range.aspect_ratio, ASPECT),
                ("max_temporal_keep", [range.max_temporal_keep; 2], 1.0),
            ] {
                let key = format!("mask.{name}.{key}");
                problems.extend((!is_range(range, most)).then(|| range_problem(&key, range, most)));
            }
        }
        problems
    }
}

/// Values of a head at least, so that each of three axes turns a pair.
const ROTATED: usize = 6;

/// What a width must be a multiple of, so that each axis has as many sines as cosines.
fn position_channels(model: &ModelConfig) -> usize {
    match model.positions {
        Positions::Vjepa if model.frames > 1 => 8,
        Positions::Ijepa | Positions::Vjepa => 4,
        Positions::UniformPower | Positions::Rope => 2,
    }
}

fn is_range([low, high]: [f64; 2], most: f64) -> bool {
    0.0 < low && low <= high && high <= most && high.is_finite()
}

fn range_problem(key: &str, [low, high]: [f64; 2], most: f64) -> String {
    format!("{key} = [{low}, {high}] must be a range above 0, at most {most}, lower end first")
}

fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}
