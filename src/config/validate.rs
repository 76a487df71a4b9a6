//! What a configuration must satisfy; every problem is reported at once.

use super::{BlockConfig, MaskMode, MaskShape, ModelConfig, OptimConfig, Positions, RunConfig, TargetKind, TubeConfig};
use crate::error::{Error, Result};

/// What no picture, no network and no run goes beyond; products of three of these are still numbers.
const SIDE: usize = 1 << 14;
const WIDTH: usize = 1 << 16;
const DEPTH: usize = 1 << 10;
const COUNT: usize = 1 << 20;
/// What no side of a rectangle is longer by.
const ASPECT: f64 = 1e4;

impl RunConfig {
    /// Checks every value and every pair of values that depend on each other.
    ///
    /// # Errors
    /// A usage error that lists all problems.
    pub fn validate(&self) -> Result<()> {
        let model = &self.model;
        let mut problems = model.problems();
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        const WORKERS: usize = 256;
        for (key, value, most) in [
            ("data.resize", self.data.resize, SIDE),
            ("train.batch", self.train.batch, COUNT),
            ("train.accumulate", self.train.accumulate, COUNT),
            ("train.log_every", self.train.log_every, COUNT),
            ("train.checkpoint_every", self.train.checkpoint_every, COUNT),
        ] {
            must((1..=most).contains(&value), format!("{key} = {value} must be from 1 to {most}"));
        }
        let workers = self.train.workers;
        must(workers <= WORKERS, format!("train.workers = {workers} must be at most {WORKERS}"));

        must(matches!(model.channels, 1 | 3), format!("model.channels = {} must be 1 or 3", model.channels));

        let data = &self.data;
        let image = model.image_size;
        for (key, values) in [("data.mean", &data.mean), ("data.std", &data.std)] {
            must(
                values.len() == model.channels,
                format!("{key} has {} values, model.channels is {}", values.len(), model.channels),
            );
        }
        must(data.mean.iter().all(|mean| mean.is_finite()), "data.mean must be finite".into());
        must(data.std.iter().all(|std| positive((*std).into())), "data.std must be finite and positive".into());
        must((0.0..=1.0).contains(&data.flip), format!("data.flip = {} is a probability, from 0 to 1", data.flip));
        must(
            data.resize >= image,
            format!("data.resize = {} is below model.image_size = {image}, so no centre crop fits", data.resize),
        );

        for (key, range, most) in
            [("data.crop_scale", data.crop_scale, 1.0), ("data.crop_aspect", data.crop_aspect, ASPECT)]
        {
            must(is_range(range, most), range_problem(key, range, most));
        }
        problems.extend(data.sampling.problems().into_iter().map(|problem| format!("data.sampling.{problem}")));
        let there = (1..=SIDE).contains(&image) && model.patch_size > 0 && model.tubelet > 0;
        problems.extend(match &self.mask.shape {
            MaskShape::Blocks(blocks) => blocks.problems(self.mask.mode, model, there),
            MaskShape::Tubes(tubes) => tubes.problems(self.mask.mode),
        });
        problems.extend(self.optim.problems());
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let (optim, loss) = (&self.optim, &self.loss);
        for (key, value) in [("loss.variance", loss.variance), ("loss.covariance", loss.covariance)] {
            must(not_negative(value), format!("{key} = {value} must be finite and not negative"));
        }
        must(
            optim.warmup_epochs < optim.epochs as f64 * optim.schedule_scale.min(1.0),
            format!(
                "optim.warmup_epochs = {} is not shorter than the run of optim.epochs = {} and its schedule",
                optim.warmup_epochs, optim.epochs
            ),
        );
        must(
            loss.target == TargetKind::Features || loss.variance + loss.covariance == 0.0,
            "loss.variance and loss.covariance go with loss.target = \"features\" only".into(),
        );

        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::usage(format!("the configuration {} cannot work: {}", self.name, problems.join("; ")))
            .with_remedy(format!("`anyjepa inspect {}` shows values that work", self.name)))
    }
}

impl ModelConfig {
    /// What no network can be made of.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let model = self;
        for (key, value, most) in [
            ("model.image_size", model.image_size, SIDE),
            ("model.patch_size", model.patch_size, SIDE),
            ("model.frames", model.frames, SIDE),
            ("model.tubelet", model.tubelet, SIDE),
            ("model.channels", model.channels, COUNT),
            ("model.dim", model.dim, WIDTH),
            ("model.depth", model.depth, DEPTH),
            ("model.heads", model.heads, WIDTH),
            ("model.mlp", model.mlp, 4 * WIDTH),
            ("model.predictor.dim", model.predictor.dim, WIDTH),
            ("model.predictor.depth", model.predictor.depth, DEPTH),
            ("model.predictor.heads", model.predictor.heads, WIDTH),
            ("model.predictor.mlp", model.predictor.mlp, 4 * WIDTH),
            ("model.predictor.mask_tokens", model.predictor.mask_tokens, DEPTH),
        ] {
            must((1..=most).contains(&value), format!("{key} = {value} must be from 1 to {most}"));
        }
        for (what, dim, heads) in
            [("model", model.dim, model.heads), ("model.predictor", model.predictor.dim, model.predictor.heads)]
        {
            must(heads > 0 && dim % heads == 0, format!("{what}.dim = {dim} is no multiple of {what}.heads = {heads}"));
            let least = position_channels(model);
            must(
                dim % least == 0,
                format!("{what}.dim = {dim} is no multiple of {least}, which its position embedding needs"),
            );
        }
        let (image, patch) = (model.image_size, model.patch_size);
        let (frames, tubelet) = (model.frames, model.tubelet);
        must(
            tubelet > 0 && frames % tubelet == 0,
            format!("model.frames = {frames} is no multiple of model.tubelet = {tubelet}"),
        );
        must(
            model.positions != Positions::Ijepa || frames == 1,
            format!("model.positions = \"ijepa\" knows no time, and model.frames is {frames}"),
        );
        must(
            patch > 0 && image % patch == 0,
            format!("model.image_size = {image} is no multiple of model.patch_size = {patch}"),
        );
        must(positive(model.norm_eps), format!("model.norm_eps = {} must be finite and positive", model.norm_eps));
        problems
    }
}

impl OptimConfig {
    /// What no step can be made with.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let optim = self;
        let epochs = optim.epochs;
        must((1..=COUNT).contains(&epochs), format!("optim.epochs = {epochs} must be from 1 to {COUNT}"));
        for (key, value) in [
            ("optim.warmup_epochs", optim.warmup_epochs),
            ("optim.start_lr", optim.start_lr),
            ("optim.lr", optim.lr),
            ("optim.final_lr", optim.final_lr),
            ("optim.weight_decay", optim.weight_decay),
            ("optim.final_weight_decay", optim.final_weight_decay),
            ("optim.clip_norm", optim.clip_norm),
        ] {
            must(not_negative(value), format!("{key} = {value} must be finite and not negative"));
        }
        must(positive(optim.eps), format!("optim.eps = {} must be finite and positive", optim.eps));
        must(
            positive(optim.schedule_scale),
            format!("optim.schedule_scale = {} must be finite and positive", optim.schedule_scale),
        );
        // Both are divided by: 1 - beta^t.
        must(optim.betas.iter().all(|beta| *beta < 1.0), format!("optim.betas = {:?} must be below 1", optim.betas));
        for (key, values) in [("optim.ema", optim.ema), ("optim.betas", optim.betas)] {
            must(values.iter().all(|v| (0.0..=1.0).contains(v)), format!("{key} = {values:?} must be from 0 to 1"));
        }
        problems
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
