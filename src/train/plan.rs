//! What a run will cost, before it is begun: parameters, arithmetic, memory, steps, and recipes that cannot work.

use serde::Serialize;

use super::schedule::{Rates, Schedule};
use crate::config::{MaskMode, Precision, RunConfig, TargetKind};
use crate::error::Result;
use crate::masks::{MaskSampler, Masks};

/// Mask draws that the mean numbers of tokens are taken over.
const MASK_DRAWS: u64 = 64;
/// Share of a context's tokens that the cut to the shortest of a batch must leave. The published recipes, with 128 images
/// a GPU, keep 62 %; 2,048 images would keep 52 %.
const LEAST_KEPT: f64 = 0.5;
/// Share of images whose context may show targets, which is what the samplers resort to where nothing else fits.
const MOST_SHOWN: f64 = 0.05;
/// Bytes of an f32.
const FLOAT: f64 = 4.0;

/// The cost of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The configuration's name.
    pub name: String,
    /// Parameters of one encoder, fixed position embeddings left out.
    pub encoder_parameters: usize,
    /// Parameters of the predictor, likewise.
    pub predictor_parameters: usize,
    /// Tokens of an image.
    pub tokens: usize,
    /// Mean tokens of a context mask, after the cut to a common size.
    pub context_tokens: f64,
    /// Mean tokens of a target mask, likewise.
    pub target_tokens: f64,
    /// Floating-point operations of one encoder's forward pass over one image, matrix products only.
    pub encoder_flops: f64,
    /// Those of a training step, by image: the target encoder once, what learns three times.
    pub step_flops_per_image: f64,
    /// Images of one step over all GPUs.
    pub global_batch: usize,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Images seen by the run.
    pub images: f64,
    /// Bytes on one GPU for parameters, gradients and optimizer.
    pub state_bytes: f64,
    /// Those of the optimizer's moments among them.
    pub optimizer_bytes: f64,
    /// Bytes on one GPU for the activations that one micro-batch keeps for its backward pass, an estimate.
    pub activation_bytes: f64,
    /// The schedules at their corners.
    pub schedule: Corners,
    /// What cannot work, and so is refused, and what does not work as it seems.
    pub warnings: Vec<String>,
    /// The first of them that cannot work.
    #[serde(skip)]
    pub problem: Option<String>,
}

/// The schedules at their corners.
#[derive(Debug, Clone, Serialize)]
pub struct Corners {
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps after which the schedules have reached their ends.
    pub end: usize,
    /// At the first step.
    pub first: Rates,
    /// At the end of the warm-up.
    pub peak: Rates,
    /// At the last step of the run.
    pub last: Rates,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// GPUs that share a step.
    pub gpus: usize,
    /// Memory of one GPU in bytes, if it is to be checked.
    pub memory: Option<f64>,
    /// Images of the data set.
    pub images: usize,
}

impl Plan {
    /// The plan of `config` on `machine`.
    ///
    /// # Errors
    /// A usage error where no mask fits the grid.
    pub fn new(config: &RunConfig, machine: Machine) -> Result<Self> {
        let (model, train) = (&config.model, &config.train);
        let sampler = MaskSampler::new(&config.mask, model.grid())?;
        let samples: Vec<u64> = (0..train.batch as u64).collect();
        let draws: Vec<_> = (0..MASK_DRAWS).map(|step| sampler.sample(train.seed, step, &samples)).collect();
        let mean = |keep: &dyn Fn(usize) -> usize| {
            draws.iter().enumerate().map(|(i, _)| keep(i) as f64).sum::<f64>() / draws.len() as f64
        };
        let context_tokens = mean(&|i| draws[i].context.first().map_or(0, |mask| mask.keep));
        let target_tokens = mean(&|i| draws[i].targets.first().map_or(0, |mask| mask.keep));

        let (encoder, predictor) = shapes(config);
        let (values, output) = (model.patch_values(), output_values(config));
        let small = &model.predictor;
        let sequence = context_tokens + target_tokens;
        let sequences = (config.mask.targets * config.mask.contexts) as f64;
        let flops = Flops::new(config, context_tokens, target_tokens);

        let encoder_parameters = encoder.parameters() + (values + 1) * model.dim;
        let predictor_parameters =
            predictor.parameters() + (model.dim + 1) * small.dim + small.dim + (small.dim + 1) * output;
        let kept = config.mask.contexts as f64 * encoder.kept(context_tokens) + sequences * predictor.kept(sequence);
        let width = if train.precision == Precision::Bf16 { 0.75 } else { 1.0 };

        let global_batch = train.batch * train.accumulate * machine.gpus;
        let steps_per_epoch = machine.images / global_batch;
        let schedule = Schedule::new(&config.optim, steps_per_epoch);
        let mut plan = Self {
            name: config.name.clone(),
            encoder_parameters,
            predictor_parameters,
            tokens: model.tokens(),
            context_tokens,
            target_tokens,
            encoder_flops: flops.encoder,
            step_flops_per_image: flops.step,
            global_batch,
            steps_per_epoch,
            steps: schedule.steps,
            images: (schedule.steps * global_batch) as f64,
            // An encoder, its average, its gradient and two moments; a predictor without the average.
            state_bytes: FLOAT * (5 * encoder_parameters + 4 * predictor_parameters) as f64,
            optimizer_bytes: FLOAT * (2 * encoder_parameters + 2 * predictor_parameters) as f64,
            activation_bytes: FLOAT * width * train.batch as f64 * kept,
            schedule: Corners {
                warmup_steps: schedule.warmup_steps,
                end: schedule.end,
                first: schedule.at(0),
                peak: schedule.at(schedule.warmup_steps.saturating_sub(1)),
                last: schedule.at(schedule.steps.saturating_sub(1)),
            },
            warnings: Vec::new(),
            problem: None,
        };
        let problems = plan.problems(config, machine, &draws);
        plan.problem = problems.first().cloned();
        plan.warnings = problems.into_iter().chain(plan.warnings(machine)).collect();
        Ok(plan)
    }

    /// What cannot work.
    fn problems(&self, config: &RunConfig, machine: Machine, draws: &[Masks]) -> Vec<String> {
        let mut problems = Vec::new();
        if self.steps == 0 {
            problems.push(format!("{} images do not fill one step of {}", machine.images, self.global_batch));
        }
        if self.schedule.warmup_steps >= self.steps {
            problems.push(format!(
                "the warm-up of {} steps is as long as the run of {} (optim.warmup_epochs, optim.epochs): the learning rate \
                 never reaches its peak",
                self.schedule.warmup_steps, self.steps
            ));
        }
        let shown = share_of_shown_targets(draws);
        if !config.mask.allow_overlap && shown > MOST_SHOWN {
            problems.push(format!(
                "the grid of {0}x{0} tokens is too small for its masks: in {1:.0} % of the images the context must show \
                 targets to keep more than mask.min_keep = {2} tokens (mask.target_scale, mask.targets)",
                config.model.grid(),
                100.0 * shown,
                config.mask.min_keep
            ));
        }
        let mean = |of: &dyn Fn(&Masks) -> f64| draws.iter().map(of).sum::<f64>() / draws.len() as f64;
        let (before, after) = (mean(&|masks| masks.cut.context_before), mean(&|masks| masks.cut.context_after));
        if config.mask.mode == MaskMode::Reference && after < LEAST_KEPT * before {
            problems.push(format!(
                "masks are cut to the shortest of train.batch = {} images: of a context's {before:.1} tokens {after:.1} are \
                 kept, less than {:.0} % (mask.mode = \"unbiased\" does not depend on the batch)",
                config.train.batch,
                100.0 * LEAST_KEPT
            ));
        }
        problems
    }

    fn warnings(&self, machine: Machine) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.schedule.end > self.steps {
            let share = 100 * self.steps / self.schedule.end.max(1);
            warnings.push(format!("the run stops at {share} % of its schedules (optim.schedule_scale)"));
        }
        if self.schedule.end < self.steps {
            warnings.push("the schedules end before the run: its last steps run at their final values".to_owned());
        }
        if let Some(memory) = machine.memory {
            let need = self.state_bytes + self.activation_bytes;
            if need > memory {
                warnings.push(format!(
                    "{:.1} GB are needed on a GPU of {:.1} GB: lower train.batch and raise train.accumulate",
                    need / 1e9,
                    memory / 1e9
                ));
            }
        }
        warnings
    }
}

/// The share of images of which a context shows a token of a target.
fn share_of_shown_targets(draws: &[Masks]) -> f64 {
    let (mut shown, mut images) = (0, 0);
    for masks in draws {
        let rows = masks.context.first().map_or(0, |mask| mask.batch);
        images += rows;
        shown += (0..rows).filter(|&row| masks.shown_targets(row)[0] > 0).count();
    }
    shown as f64 / images.max(1) as f64
}

/// Floating-point operations of one image, those of matrix products only.
#[derive(Debug, Clone, Copy)]
pub struct Flops {
    /// Of an encoder's forward pass over all tokens.
    pub encoder: f64,
    /// Of a training step: the target encoder once, what learns three times.
    pub step: f64,
}

impl Flops {
    /// Those of `config` with masks that keep so many tokens.
    pub fn new(config: &RunConfig, context_tokens: f64, target_tokens: f64) -> Self {
        let model = &config.model;
        let (encoder, predictor) = shapes(config);
        let tokens = model.tokens() as f64;
        let contexts = config.mask.contexts as f64;
        let sequences = contexts * config.mask.targets as f64;
        let embed = 2.0 * tokens * (model.patch_values() * model.dim) as f64;
        let full = embed + encoder.flops(tokens);
        let narrow = 2.0 * context_tokens * (model.dim * predictor.dim) as f64;
        let widen = 2.0 * sequences * target_tokens * (predictor.dim * output_values(config)) as f64;
        let learning = embed
            + contexts * (encoder.flops(context_tokens) + narrow)
            + sequences * predictor.flops(context_tokens + target_tokens)
            + widen;
        let target = if config.loss.target == TargetKind::Features { full } else { 0.0 };
        Self { encoder: full, step: target + 3.0 * learning }
    }
}

/// The blocks of encoder and predictor.
fn shapes(config: &RunConfig) -> (Shape, Shape) {
    let (model, small) = (&config.model, &config.model.predictor);
    (
        Shape { dim: model.dim, depth: model.depth, mlp: model.mlp, heads: model.heads },
        Shape { dim: small.dim, depth: small.depth, mlp: small.mlp, heads: small.heads },
    )
}

/// Values that the predictor gives for a token.
fn output_values(config: &RunConfig) -> usize {
    match config.loss.target {
        TargetKind::Features => config.model.dim,
        TargetKind::Pixels => config.model.patch_values(),
    }
}

/// What the blocks of a network cost.
struct Shape {
    dim: usize,
    depth: usize,
    mlp: usize,
    heads: usize,
}

impl Shape {
    /// Parameters of all blocks and of the norm after them.
    fn parameters(&self) -> usize {
        let (dim, mlp) = (self.dim, self.mlp);
        let attention = dim * 3 * dim + 3 * dim + dim * dim + dim;
        let perceptron = dim * mlp + mlp + mlp * dim + dim;
        self.depth * (attention + perceptron + 4 * dim) + 2 * dim
    }

    /// Operations of all blocks over one sequence of `tokens`.
    fn flops(&self, tokens: f64) -> f64 {
        let (dim, mlp) = (self.dim as f64, self.mlp as f64);
        self.depth as f64 * (2.0 * tokens * (4.0 * dim * dim + 2.0 * dim * mlp) + 4.0 * tokens * tokens * dim)
    }

    /// Values that all blocks keep of one sequence for the backward pass: two norms, queries, keys and values with
    /// their copies by head, scores before and after the softmax, both residuals, and the MLP's hidden layer twice.
    fn kept(&self, tokens: f64) -> f64 {
        let (dim, mlp, heads) = (self.dim as f64, self.mlp as f64, self.heads as f64);
        self.depth as f64 * tokens * (12.0 * dim + 2.0 * mlp + 2.0 * heads * tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PRESETS;

    #[test]
    fn a_batch_that_halves_the_context_cannot_work_and_every_preset_can() {
        let problem = |config: &RunConfig| {
            Plan::new(config, Machine { gpus: 1, memory: None, images: 1_281_167 }).unwrap().problem
        };
        for preset in PRESETS {
            assert_eq!(problem(&preset.config()), None, "{}", preset.name);
        }
        let mut config = crate::config::Preset::find("ijepa-vit-b16").unwrap().config();
        config.train.batch = 4096;
        insta::assert_snapshot!(problem(&config).unwrap(), @r#"masks are cut to the shortest of train.batch = 4096 images: of a context's 81.9 tokens 40.8 are kept, less than 50 % (mask.mode = "unbiased" does not depend on the batch)"#);
        config.mask.mode = MaskMode::Unbiased;
        assert_eq!(problem(&config), None);
    }

    #[test]
    fn parameters_of_every_preset_are_the_published_ones() {
        let machine = Machine { gpus: 1, memory: None, images: 1_281_167 };
        let rows: Vec<String> = PRESETS
            .iter()
            .map(|preset| {
                let mut config = preset.config();
                // Masks play no part here, and a batch of one draws them quickly.
                config.train.batch = 1;
                let plan = Plan::new(&config, machine).unwrap();
                let millions = |count: usize| format!("{:.1} M", count as f64 / 1e6);
                let (encoder, predictor) = (millions(plan.encoder_parameters), millions(plan.predictor_parameters));
                format!("{:22} {encoder:>9} {predictor:>7}", preset.name)
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
