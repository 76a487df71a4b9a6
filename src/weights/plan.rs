//! A compiled encoder's weights from named tensors.

use std::borrow::Cow;

use super::{HostTensor, Tensors};
use crate::compile::{Buffer, Role};
use crate::error::{Error, Kind, Result};
use crate::kernels::rotation;

/// The values of a plan's constant, in its layout: of a parameter from `tensors`, of a rule by the rule.
///
/// # Errors
/// A data error where its parameter is missing or has another shape.
pub fn of_plan(tensors: &Tensors, buffer: &Buffer) -> Result<Vec<f32>> {
    constant(buffer, |parameter| tensors.get(parameter).map(Cow::Borrowed))
}

/// The same, taken out of `tensors`: what is on its device already no longer takes memory here. Each parameter is there
/// once.
///
/// # Errors
/// As [`of_plan`].
pub fn taken_by_plan(tensors: &mut Tensors, buffer: &Buffer) -> Result<Vec<f32>> {
    constant(buffer, |parameter| tensors.remove(parameter).map(Cow::Owned))
}

fn constant<'a>(buffer: &Buffer, find: impl FnOnce(&str) -> Option<Cow<'a, HostTensor>>) -> Result<Vec<f32>> {
    let (parameter, transposed) = match &buffer.role {
        Role::Weight { parameter, transposed } => (parameter, transposed),
        Role::Angles { grid } => return Ok(rotation::table(*grid, buffer.shape.last().map_or(0, |row| row / 2))),
        Role::Input | Role::Output | Role::Kept | Role::Scratch { .. } => {
            return Err(Error::new(Kind::Other, format!("{} is no constant", buffer.label)));
        }
    };
    let misfit =
        |problem: String| Error::new(Kind::Data, format!("the weights do not fit the model: {parameter} {problem}"));
    let tensor = find(parameter).ok_or_else(|| misfit("is missing".into()))?;
    let mut shape = tensor.shape.clone();
    if *transposed {
        shape = vec![shape.iter().skip(1).product(), shape.first().copied().unwrap_or(1)];
    }
    if shape != buffer.shape {
        return Err(misfit(format!("has the shape {:?}, which does not make {:?}", tensor.shape, buffer.shape)));
    }
    Ok(if *transposed { tensor.transposed().values } else { tensor.into_owned().values })
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::compile::{Dtype, Outputs, Take, compile};
    use crate::config::PRESETS;

    #[test]
    fn no_plan_of_a_preset_names_a_parameter_twice() {
        for preset in PRESETS {
            let outputs = Outputs { layers: 1, take: Take::Mean };
            let plan = compile(&preset.config().model, 1, outputs, Dtype::F32).unwrap();
            let mut seen = HashSet::new();
            for buffer in &plan.buffers {
                if let Role::Weight { parameter, .. } = &buffer.role {
                    assert!(seen.insert(parameter), "{parameter}");
                }
            }
            assert!(seen.len() > 10);
        }
    }

    #[test]
    fn what_is_taken_is_what_is_found_and_is_gone() {
        let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
        let mut tensors = Tensors::from([("w".to_owned(), HostTensor::new(vec![2, 3], values).unwrap())]);
        let role = Role::Weight { parameter: "w".into(), transposed: true };
        let buffer = Buffer { label: "w".into(), shape: vec![3, 2], dtype: Dtype::F32, role };
        let found = of_plan(&tensors, &buffer).unwrap();
        assert_eq!(found, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(taken_by_plan(&mut tensors, &buffer).unwrap(), found);
        assert!(taken_by_plan(&mut tensors, &buffer).unwrap_err().to_string().contains("w is missing"));
    }
}
