//! What a run will cost, before it is begun: parameters, arithmetic, memory, steps, and recipes that cannot work.

use serde::Serialize;

use super::cost::{Flops, PassTokens, output_values, shapes};
use super::schedule::{Rates, Schedule};
use crate::config::{MaskMode, Precision, Preset, RunConfig};
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
    /// Tokens of an image or a clip.
    pub tokens: usize,
    /// Mean tokens of a context mask, after the cut to a common size; of a clip, those of all passes together.
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
        // The masks of a large batch fill the memory, and are not kept.
        let drawn = |step| Drawn::of(&sampler.sample(train.seed, step, &samples));
        let draws: Vec<Drawn> = (0..MASK_DRAWS).map(drawn).collect();
        let passes = PassTokens::mean(draws.iter().map(|draw| draw.passes.as_slice()));

        let (encoder, predictor) = shapes(config);
        let (values, output) = (model.patch_values(), output_values(config));
        let small = &model.predictor;
        let flops = Flops::new(config, &passes);

        let encoder_parameters = encoder.parameters() + (values + 1) * model.dim;
        let predictor_parameters =
            predictor.parameters() + (model.dim + 1 + small.mask_tokens) * small.dim + (small.dim + 1) * output;
        let kept = |pass: &PassTokens| {
            pass.contexts as f64 * encoder.kept(pass.context_tokens)
                + pass.sequences() * predictor.kept(pass.context_tokens + pass.target_tokens)
        };
        let kept: f64 = passes.iter().map(kept).sum();
        let width = if train.precision == Precision::Bf16 { 0.75 } else { 1.0 };

        let global_batch = train.batch * train.accumulate * machine.gpus;
        let steps_per_epoch = machine.images / global_batch;
        let schedule = Schedule::new(&config.optim, steps_per_epoch);
        let mut plan = Self {
            name: config.name.clone(),
            encoder_parameters,
            predictor_parameters,
            tokens: model.tokens(),
            context_tokens: passes.iter().map(|pass| pass.context_tokens).sum(),
            target_tokens: passes.iter().map(|pass| pass.target_tokens).sum(),
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
        plan.warnings = problems.into_iter().chain(plan.warnings(config, machine)).collect();
        Ok(plan)
    }

    /// What cannot work.
    fn problems(&self, config: &RunConfig, machine: Machine, draws: &[Drawn]) -> Vec<String> {
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
        let sum = |of: fn(&Drawn) -> f64| draws.iter().map(of).sum::<f64>();
        let shown = sum(|draw| draw.shown) / sum(|draw| draw.images).max(1.0);
        if let Some(blocks) = config.mask.blocks().filter(|blocks| !blocks.allow_overlap && shown > MOST_SHOWN) {
            problems.push(format!(
                "the grid of {} tokens is too small for its masks: in {:.0} % of the images the context must show \
                 targets to keep more than mask.min_keep = {} tokens (mask.target_scale, mask.targets)",
                config.model.grid(),
                100.0 * shown,
                blocks.min_keep
            ));
        }
        let count = draws.len() as f64;
        let (before, after) = (sum(|draw| draw.before) / count, sum(|draw| draw.after) / count);
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

    fn warnings(&self, config: &RunConfig, machine: Machine) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.schedule.end > self.steps {
            let share = 100 * self.steps / self.schedule.end.max(1);
            warnings.push(format!("the run stops at {share} % of its schedules (optim.schedule_scale)"));
        }
        if self.schedule.end < self.steps {
            warnings.push("the schedules end before the run: its last steps run at their final values".to_owned());
        }
        let published = Preset::find(&self.name).ok().and_then(|preset| preset.images_a_step());
        if let Some(published) = published.filter(|images| self.global_batch * 2 <= *images) {
            warnings.push(format!(
                "a step has {} images (train.batch, train.accumulate, {} GPUs), and the rates are those of the published \
                 recipe for {published}: set train.accumulate={}, or find rates for fewer",
                self.global_batch,
                machine.gpus,
                published.div_ceil(config.train.batch * machine.gpus)
            ));
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

/// What is kept of a draw of a step's masks.
struct Drawn {
    passes: Vec<PassTokens>,
    /// Tokens of a context before the cut, and after it, over all passes together.
    before: f64,
    after: f64,
    /// Images, once for each pass.
    images: f64,
    /// Those of which a context shows a token of a target.
    shown: f64,
}

impl Drawn {
    fn of(masks: &[Masks]) -> Self {
        let rows = |masks: &Masks| masks.context.first().map_or(0, |mask| mask.batch);
        let shown = |masks: &Masks| (0..rows(masks)).filter(|&row| masks.shown_targets(row)[0] > 0).count();
        Self {
            passes: masks.iter().map(PassTokens::of).collect(),
            before: masks.iter().map(|masks| masks.cut.context_before).sum(),
            after: masks.iter().map(|masks| masks.cut.context_after).sum(),
            images: masks.iter().map(rows).sum::<usize>() as f64,
            shown: masks.iter().map(shown).sum::<usize>() as f64,
        }
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
                let cost = format!("Cost: {encoder} and {predictor} parameters; ");
                assert!(preset.header().contains(&cost), "{} does not say `{cost}`", preset.name);
                format!("{:22} {encoder:>9} {predictor:>7}", preset.name)
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
