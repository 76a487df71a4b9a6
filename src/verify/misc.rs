//! A case of the kind `misc`: schedules, position tables and the gathering of tokens, apart from any model.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

use super::Tolerance;
use super::case::{Case, masks};
use super::report::Report;
use super::tolerance::{INTERPOLATED, RATE, TABLE};
use crate::config::{OptimConfig, Preset};
use crate::error::{Error, Kind, Result};
use crate::masks::IndexMask;
use crate::model::{Gather, interpolate, sincos_2d};
use crate::train::{Rates, Schedule};
use crate::weights::{HostTensor, Tensors};

/// Files of statistics and of draws, with what compares them.
const ELSEWHERE: [(&str, &str); 3] = [
    ("mask_stats.json", "mask statistics are compared by the tests of `masks`, over as many draws"),
    ("rng_goldens.json", "masks to the bit are compared by the tests of `masks`, from the reference's own generator"),
    ("random_resized_crop_stats.json", "crop statistics are compared by the tests of `data`"),
];

/// One setting of `schedulers.json`.
#[derive(Deserialize)]
struct Golden {
    params: Params,
    warmup_steps: usize,
    #[serde(rename = "T_max_total")]
    end: usize,
    lr: Vec<f64>,
    wd: Vec<f64>,
    momentum: Vec<f64>,
}

#[derive(Deserialize)]
struct Params {
    /// Whose schedules they are: `ijepa`, or `jepa` for V-JEPA's.
    repo: String,
    ipe: usize,
    epochs: usize,
    ipe_scale: f64,
    warmup: f64,
    start_lr: f64,
    lr: f64,
    final_lr: f64,
    wd: f64,
    final_wd: f64,
    ema: [f64; 2],
}

/// Runs the case; `device` gathers.
///
/// # Errors
/// A data error where the case is incomplete, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let mut expected = case.tensors("pos_embed.safetensors")?;
    let utils = case.tensors("utils.safetensors")?;
    let computed = |name: &str| name == "apply_masks" || name.starts_with("repeat_interleave_batch");
    expected.extend(utils.iter().filter(|(name, _)| computed(name)).map(|(name, x)| (name.clone(), x.clone())));
    let mut report = Report::new(expected);
    schedules(&mut report, case)?;
    tables(&mut report);
    gathering(&mut report, &utils, device)?;
    for (file, why) in ELSEWHERE {
        if case.path(file).is_file() {
            report.note(format!("{file}: {why}"));
        }
    }
    Ok(report)
}

fn schedules(report: &mut Report, case: &Case) -> Result<()> {
    let goldens: BTreeMap<String, Golden> = case.json("schedulers.json")?;
    for (name, golden) in goldens {
        let schedule = Schedule::new(&optim(&golden.params)?, golden.params.ipe);
        let corners = [("warmup_steps", schedule.warmup_steps, golden.warmup_steps), ("end", schedule.end, golden.end)];
        for (key, found, golden) in corners {
            report.value(&format!("schedulers.{name}.{key}"), found as f64, golden as f64, Tolerance::Exact);
        }
        let lr: fn(Rates) -> f64 = |rates| rates.lr;
        let series = [
            ("lr", &golden.lr, lr),
            ("wd", &golden.wd, |rates| rates.weight_decay),
            ("momentum", &golden.momentum, |rates| rates.momentum),
        ];
        let mut beyond = 0;
        for (key, golden, rate) in series {
            // The momentum's list has one value more than it has steps, which no step uses.
            let steps = golden.len().min(schedule.end + usize::from(key == "momentum"));
            beyond = beyond.max(golden.len() - steps);
            let vector = |values: Vec<f64>| HostTensor {
                shape: vec![values.len()],
                values: values.into_iter().map(|value| value as f32).collect(),
            };
            let found = vector((0..steps).map(|step| rate(schedule.at(step))).collect());
            report.against(&format!("schedulers.{name}.{key}"), &found, &vector(golden[..steps].to_vec()), RATE);
        }
        if golden.params.repo == "jepa" {
            let scale = golden.params.ipe_scale;
            report.note(format!("schedulers.{name} is V-JEPA's: the same functions, stretched by {scale}"));
        }
        if beyond > 0 {
            report.note(format!(
                "schedulers.{name}: {beyond} steps past the end of {} are left out, where the reference's cosines rise \
                 again and ours stay",
                schedule.end
            ));
        }
    }
    Ok(())
}

fn optim(params: &Params) -> Result<OptimConfig> {
    Ok(OptimConfig {
        epochs: params.epochs,
        warmup_epochs: params.warmup,
        schedule_scale: params.ipe_scale,
        start_lr: params.start_lr,
        lr: params.lr,
        final_lr: params.final_lr,
        weight_decay: params.wd,
        final_weight_decay: params.final_wd,
        ema: params.ema,
        ..Preset::find("ijepa-vit-tiny16")?.config().optim
    })
}

/// Compares the tables, whose names give their sizes: `ijepa_2d.dim16.grid4`, `bicubic_size.dim16.grid4.to5x7`.
fn tables(report: &mut Report) {
    for name in report.names() {
        let parts: Vec<&str> = name.split('.').collect();
        let number = |part: &str, key: &str| part.strip_prefix(key)?.parse::<usize>().ok();
        let sizes = |dim: &str, grid: &str| Some((number(dim, "dim")?, number(grid, "grid")?));
        match parts[..] {
            ["ijepa_2d", dim, grid] => {
                let Some((dim, grid)) = sizes(dim, grid) else { continue };
                let values = sincos_2d(dim, grid);
                report.host(&name, &HostTensor { shape: vec![grid * grid, dim], values }, TABLE);
            }
            [rows, "ijepa_2d", dim, grid] if rows.starts_with("rows_") => {
                let Some((dim, grid)) = sizes(dim, grid) else { continue };
                let table = sincos_2d(dim, grid);
                let rows: Vec<&[f32]> = rows["rows_".len()..]
                    .split('_')
                    .filter_map(|row| if row == "last" { Some(grid * grid - 1) } else { row.parse().ok() })
                    .filter_map(|row| table.chunks_exact(dim).nth(row))
                    .collect();
                report.host(&name, &HostTensor { shape: vec![rows.len(), dim], values: rows.concat() }, TABLE);
            }
            ["bicubic_size", dim, grid, to] => {
                let to = to.strip_prefix("to").and_then(|to| to.split_once('x'));
                let to = to.and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)));
                let (Some((dim, grid)), Some(to)) = (sizes(dim, grid), to) else { continue };
                let values = interpolate(&sincos_2d(dim, grid), dim, (grid, grid), to);
                report.host(&name, &HostTensor { shape: vec![1, to.0 * to.1, dim], values }, INTERPOLATED);
            }
            _ if parts.iter().any(|part| part.starts_with("vjepa_")) => {
                report.skip(&name, "a table of V-JEPA's, whose encoder this build does not have");
            }
            _ => {}
        }
    }
}

/// Compares the gathering of tokens, and the repetition of targets for each context, with integers.
fn gathering(report: &mut Report, utils: &Tensors, device: &Device) -> Result<()> {
    let incomplete = || Error::new(Kind::Data, "utils.safetensors holds no `x` of three axes with masks `mask.0`, ...");
    let x = utils.get("x").ok_or_else(incomplete)?;
    let [batch, tokens, dim] = x.shape[..] else { return Err(incomplete()) };
    let masks = masks(utils, "mask", tokens)?;
    if masks.is_empty() || masks.iter().any(|mask| mask.batch != batch || mask.keep != masks[0].keep) {
        return Err(incomplete());
    }
    let on_device = |x: &HostTensor, shape: [usize; 3]| -> Tensor<3> {
        Tensor::from_data(TensorData::new(x.values.clone(), shape), device)
    };
    let kept = Gather::new(&masks, tokens, device).apply(on_device(x, [batch, tokens, dim]));
    report.tensor("apply_masks", kept, Tolerance::Exact)?;

    for name in report.names() {
        let sizes = name.strip_prefix("repeat_interleave_batch_B").and_then(|rest| rest.split_once("_r"));
        let sizes = sizes.and_then(|(batch, times)| Some((batch.parse().ok()?, times.parse().ok()?)));
        let (Some((batch, times)), Some(golden)) = (sizes, report.golden("apply_masks").cloned()) else { continue };
        let batch: usize = batch;
        let times: usize = times;
        let [rows, keep, dim] = golden.shape[..] else { continue };
        if batch == 0 || !rows.is_multiple_of(batch) {
            continue;
        }
        // Groups of `batch` rows are tokens of `batch` samples; a mask that keeps one group, repeated, repeats it.
        let groups = rows / batch;
        let x = on_device(&golden, [groups, batch, keep * dim]).swap_dims(0, 1);
        let group = |group: usize| IndexMask { batch, keep: 1, indices: vec![group as u32; batch] };
        let repeated: Vec<_> = (0..groups).flat_map(|i| std::iter::repeat_n(group(i), times)).collect();
        let found = Gather::new(&repeated, groups, device).apply(x).reshape([rows * times, keep, dim]);
        report.tensor(&name, found, Tolerance::Exact)?;
    }
    Ok(())
}
