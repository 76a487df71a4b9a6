//! A case of the kind `misc`: schedules, position tables, the gathering of tokens and all draws, apart from any model.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

use super::Tolerance;
use super::case::{Case, Fit};
use super::draws;
use super::report::Report;
use super::schedule::CaseSchedule;
use super::tolerance::{INTERPOLATED, RATE, TABLE};
use crate::config::{Positions, Preset};
use crate::error::Result;
use crate::masks::IndexMask;
use crate::model::{Axis, Gather, Kernel, clip_axes, interpolate, picture_axes, sincos};
use crate::train::{Rates, Schedule};
use crate::weights::{HostTensor, Tensors};

const TABLES: &str = "pos_embed.safetensors";
const UTILS: &str = "utils.safetensors";
const SCHEDULES: &str = "schedulers.json";

/// One setting of `schedulers.json`.
#[derive(Deserialize)]
struct Golden {
    params: CaseSchedule,
    warmup_steps: usize,
    #[serde(rename = "T_max_total")]
    end: usize,
    lr: Vec<f64>,
    wd: Vec<f64>,
    momentum: Vec<f64>,
}

impl Golden {
    /// Why there are no such schedules.
    fn problem(&self) -> Option<String> {
        /// Epochs, and steps of an epoch; far above every run's.
        const MOST: usize = 1 << 20;
        let CaseSchedule { ipe, epochs, ipe_scale, warmup, .. } = self.params;
        let lengths = [self.lr.len(), self.wd.len(), self.momentum.len()];
        if !(1..=MOST).contains(&ipe) || !(1..=MOST).contains(&epochs) {
            return Some(format!("ipe is {ipe} and epochs {epochs}, expected 1 to {MOST}"));
        }
        if !(ipe_scale > 0.0 && ipe_scale <= MOST as f64 && (0.0..=MOST as f64).contains(&warmup)) {
            return Some(format!("ipe_scale is {ipe_scale:e} and warmup {warmup:e}, expected 0 to {MOST}"));
        }
        lengths.contains(&0).then(|| format!("lr, wd and momentum have {lengths:?} values, expected at least one each"))
    }
}

/// Runs the case; `device` gathers.
///
/// # Errors
/// A data error where the case is incomplete, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let mut expected = case.tensors(TABLES)?;
    let utils = case.tensors(UTILS)?;
    let computed = |name: &str| name == "apply_masks" || name.starts_with("repeat_interleave_batch");
    expected.extend(utils.iter().filter(|(name, _)| computed(name)).map(|(name, x)| (name.clone(), x.clone())));
    let mut report = Report::new(expected);
    schedules(&mut report, case)?;
    tables(&mut report, case)?;
    gathering(&mut report, case, &utils, device)?;
    draws::verify(&mut report, case)?;
    Ok(report)
}

fn schedules(report: &mut Report, case: &Case) -> Result<()> {
    let goldens: BTreeMap<String, Golden> = case.json(SCHEDULES)?;
    let base = Preset::find("ijepa-vit-tiny16")?.config().optim;
    for (name, golden) in goldens {
        let problem = golden.problem().map(|problem| case.misfit(SCHEDULES, format!("`{name}`: {problem}")));
        problem.map_or(Ok(()), Err)?;
        let schedule = Schedule::new(&golden.params.optim(base.clone()), golden.params.ipe);
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
            let steps = golden.len().min(schedule.end.saturating_add(usize::from(key == "momentum")));
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

/// A table of positions, by its name: `ijepa_2d.dim16.grid4`, `rows_0_1.vjepa_3d.dim24.grid4.depth2.uniform`,
/// `bicubic_size.dim16.grid4.to5x7`.
struct Table {
    /// Which axis the channels encode.
    axes: Vec<(Axis, usize)>,
    dim: usize,
    /// Along time, height and width.
    grid: [usize; 3],
    part: Part,
}

/// What of a table is compared.
enum Part {
    /// All of it.
    Whole,
    /// These rows.
    Rows(Vec<usize>),
    /// Resized to so many rows and columns.
    Resized(usize, usize),
}

/// Which table a name means; none where it is no table's.
fn table(name: &str) -> Option<Table> {
    let number = |part: &str, key: &str| part.strip_prefix(key)?.parse::<usize>().ok();
    let mut parts = name.split('.');
    let first = parts.next()?;
    let rows = first.strip_prefix("rows_");
    let family = if rows.is_some() { parts.next()? } else { first };
    let dim = number(parts.next()?, "dim")?;
    let rest: Vec<&str> = parts.collect();
    let square = |side: &str| number(side, "grid").map(|side| [1, side, side]);
    let (axes, grid) = match (family, rest.as_slice()) {
        ("ijepa_2d", [side]) | ("bicubic_size", [side, _]) => (picture_axes(Positions::Ijepa, dim), square(side)?),
        ("vjepa_2d", [side]) => (picture_axes(Positions::Vjepa, dim), square(side)?),
        ("vjepa_1d", [length]) => (Some(vec![(Axis::Time, dim)]), [number(length, "len")?, 1, 1]),
        ("vjepa_3d", [side, depth, power]) => {
            let positions = match *power {
                "uniform" => Positions::UniformPower,
                "nonuniform" => Positions::Vjepa,
                _ => return None,
            };
            let [_, height, width] = square(side)?;
            (clip_axes(positions, dim), [number(depth, "depth")?, height, width])
        }
        _ => return None,
    };
    let part = match (rows, rest.as_slice()) {
        (Some(rows), _) => {
            let last = positions(grid)?.checked_sub(1);
            let row = |row: &str| if row == "last" { last } else { row.parse().ok() };
            Part::Rows(rows.split('_').map(row).collect::<Option<_>>()?)
        }
        (None, [_, to]) => {
            let (rows, columns) = to.strip_prefix("to")?.split_once('x')?;
            Part::Resized(rows.parse().ok()?, columns.parse().ok()?)
        }
        (None, _) => Part::Whole,
    };
    Some(Table { axes: axes?, dim, grid, part })
}

/// All positions of a grid; none where they cannot be counted.
fn positions(grid: [usize; 3]) -> Option<usize> {
    grid.into_iter().try_fold(1usize, usize::checked_mul)
}

impl Table {
    /// The shape of what is compared; none where there is no such table.
    fn shape(&self) -> Option<Vec<usize>> {
        /// Values of a table, far above every golden one.
        const MOST: usize = 1 << 26;
        let (dim, positions) = (self.dim, positions(self.grid)?);
        let values = positions.checked_mul(dim)?;
        // As many sines as cosines, and no axis without any.
        let even = self.axes.iter().all(|(_, channels)| *channels > 0 && channels.is_multiple_of(2));
        let there = values > 0 && values <= MOST && even;
        let shape = match &self.part {
            Part::Whole => vec![positions, dim],
            Part::Rows(rows) if rows.iter().all(|row| *row < positions) => vec![rows.len(), dim],
            Part::Rows(_) => return None,
            Part::Resized(rows, columns) => vec![1, rows.checked_mul(*columns).filter(|count| *count > 0)?, dim],
        };
        there.then_some(shape)
    }
}

/// Compares the tables with the golden ones, whose names give their sizes.
fn tables(report: &mut Report, case: &Case) -> Result<()> {
    for name in report.names() {
        let Some(table) = table(&name) else { continue };
        let found = report.golden(&name).map(|golden| golden.shape.clone()).unwrap_or_default();
        let shape = table.shape().ok_or_else(|| {
            let problem = "expected a width above 0 with as many sines as cosines an axis, and a grid of 1 or more";
            case.misfit(TABLES, format!("`{name}` names no table: {problem}"))
        })?;
        if found != shape {
            return Err(case.misfit(TABLES, format!("`{name}` has the shape {found:?}, expected {shape:?}")));
        }
        let Table { axes, dim, grid, part } = table;
        let whole = sincos(dim, grid, &axes);
        let (values, tolerance) = match part {
            Part::Whole => (whole, TABLE),
            Part::Rows(rows) => (rows.iter().flat_map(|row| &whole[row * dim..][..dim]).copied().collect(), TABLE),
            Part::Resized(rows, columns) => {
                (interpolate(&whole, dim, Kernel::Cubic, grid, [1, rows, columns]), INTERPOLATED)
            }
        };
        report.host(&name, &HostTensor { shape, values }, tolerance);
    }
    Ok(())
}

/// Compares the gathering of tokens, and the repetition of targets for each context, with integers.
fn gathering(report: &mut Report, case: &Case, utils: &Tensors, device: &Device) -> Result<()> {
    let shape = |name: &str, x: Option<&HostTensor>| {
        let found = x.map_or("is missing".to_owned(), |x| format!("has the shape {:?}", x.shape));
        case.misfit(UTILS, format!("`{name}` {found}, expected three axes that are not empty"))
    };
    let sides = |x: &HostTensor| <[usize; 3]>::try_from(x.shape.as_slice()).ok().filter(|sides| !sides.contains(&0));
    let cube = |name: &str, x: Option<&HostTensor>| x.and_then(sides).ok_or_else(|| shape(name, x));
    let on_device = |x: &HostTensor, shape: [usize; 3]| -> Tensor<3> {
        Tensor::from_data(TensorData::new(x.values.clone(), shape), device)
    };
    let [batch, tokens, dim] = cube("x", utils.get("x"))?;
    let masks = case.masks(UTILS, utils, "mask", Fit { batch, tokens })?;
    let kept = Gather::new(&masks, tokens, device).apply(on_device(&utils["x"], [batch, tokens, dim]));
    report.tensor("apply_masks", kept, Tolerance::Exact)?;

    let Some(golden) = report.golden("apply_masks").cloned() else { return Ok(()) };
    let [rows, keep, dim] = cube("apply_masks", Some(&golden))?;
    for name in report.names() {
        let Some(sizes) = name.strip_prefix("repeat_interleave_batch_") else { continue };
        let sizes = sizes.strip_prefix('B').and_then(|rest| rest.split_once("_r"));
        let sizes = sizes.and_then(|(batch, times)| Some((batch.parse::<usize>().ok()?, times.parse::<usize>().ok()?)));
        let found = report.golden(&name).map(|golden| golden.shape.clone()).unwrap_or_default();
        let fits = |(batch, times): &(usize, usize)| {
            let repeated = rows.checked_mul(*times).filter(|count| *count > 0);
            *batch > 0 && rows.is_multiple_of(*batch) && repeated.is_some_and(|repeated| found == [repeated, keep, dim])
        };
        let (batch, times) = sizes.filter(fits).ok_or_else(|| {
            let problem = format!("has the shape {found:?}, expected {rows} rows of [{keep}, {dim}], r times");
            case.misfit(UTILS, format!("`{name}` {problem}, in groups of B that divide the rows"))
        })?;
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
