//! The rows that a plan keeps of its tokens, where it keeps some: named before it runs, and checked.

use crate::compile::{BufferId, Kernel, Plan, Role};
use crate::error::{Error, Result};

/// Which rows a plan must be told, and whether it was.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Where their numbers go, how many there are, and of how many; nothing where the plan takes all tokens.
    wanted: Option<(BufferId, usize, usize)>,
    named: bool,
}

impl Kept {
    /// What a checked plan must be told.
    pub fn of(plan: &Plan) -> Self {
        let place = plan.buffers.iter().position(|buffer| buffer.role == Role::Kept).map(BufferId);
        let from = plan.dispatches.iter().filter_map(|dispatch| match dispatch.kernel {
            Kernel::Gather { from, .. } => Some(from),
            _ => None,
        });
        // A table of one image's tokens has fewer, and stands again and again.
        let from = from.max().unwrap_or(0);
        Self { wanted: place.map(|place| (place, plan.buffer(place).len(), from)), named: false }
    }

    /// Takes note that `rows` were named, and says where they go.
    ///
    /// # Errors
    /// A usage error where the plan keeps none, or more or fewer, or has no such row.
    pub fn name(&mut self, rows: &[u32]) -> Result<BufferId> {
        let Some((place, count, from)) = self.wanted else {
            return Err(Error::usage("the plan takes all tokens, and some were named"));
        };
        if rows.len() != count {
            return Err(Error::usage(format!("the plan keeps {count} rows, and {} were named", rows.len())));
        }
        if let Some(row) = rows.iter().find(|row| **row as usize >= from) {
            return Err(Error::usage(format!("row {row} is to be kept, of {from}")));
        }
        self.named = true;
        Ok(place)
    }

    /// # Errors
    /// A usage error where rows must be named and none were.
    pub fn check(&self) -> Result<()> {
        match self.wanted {
            Some((_, count, _)) if !self.named => {
                Err(Error::usage(format!("the plan keeps {count} rows of its tokens, and none were named"))
                    .with_remedy("compile the encoder for all tokens"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Buffer, Dispatch, Dtype};
    use crate::runtime::cpu::CpuEngine;
    use crate::runtime::twin::TwinEngine;
    use crate::runtime::{Engine, check};

    /// Three of the four rows of each of two images.
    fn plan() -> Plan {
        let buffer = |label: &str, role, shape: &[usize], dtype| Buffer {
            label: label.into(),
            role,
            shape: shape.to_vec(),
            dtype,
        };
        let buffers = vec![
            buffer("images", Role::Input, &[2, 4, 2], Dtype::F32),
            buffer("kept rows", Role::Kept, &[6], Dtype::U32),
            buffer("features", Role::Output, &[2, 3, 2], Dtype::F32),
        ];
        let operands = [0, 1, 2].map(BufferId).to_vec();
        let kernel = Kernel::Gather { from: 8, rows: 6, dim: 2 };
        let dispatches = vec![Dispatch { label: "gather".into(), kernel, operands }];
        Plan { batch: 2, dtype: Dtype::F32, buffers, dispatches }
    }

    #[test]
    fn rows_are_kept_as_they_are_named() {
        let images: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let engines: [Box<dyn Engine>; 2] = [
            Box::new(CpuEngine::new(plan(), &mut |_| Ok(Vec::new())).unwrap()),
            Box::new(TwinEngine::new(plan(), &|_| Ok(Vec::new())).unwrap()),
        ];
        for mut engine in engines {
            for rows in [[7, 0, 3, 3, 5, 1], [0, 1, 2, 3, 4, 5]] {
                engine.keep(&rows).unwrap();
                let expected: Vec<f32> = rows.iter().flat_map(|row| [2 * row, 2 * row + 1]).map(|i| i as f32).collect();
                assert_eq!(engine.run(&images).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_table_of_one_image_stands_again_for_each_whichever_gather_comes_first() {
        let table: Vec<f32> = (0..8).map(|i| i as f32).collect();
        for at in [0, 1] {
            let mut plan = plan();
            let buffer = |label: &str, role, rows: usize| Buffer {
                label: label.into(),
                role,
                shape: vec![rows, 2],
                dtype: Dtype::F32,
            };
            plan.buffers.push(buffer("angles", Role::Angles { grid: [1, 2, 2] }, 4));
            plan.buffers.push(buffer("kept angles", Role::Scratch { slot: 0 }, 6));
            let kernel = Kernel::Gather { from: 4, rows: 6, dim: 2 };
            let operands = [3, 1, 4].map(BufferId).to_vec();
            plan.dispatches.insert(at, Dispatch { label: "angles".into(), kernel, operands });
            let engines: [Box<dyn Engine>; 2] = [
                Box::new(CpuEngine::new(plan.clone(), &mut |_| Ok(table.clone())).unwrap()),
                Box::new(TwinEngine::new(plan, &|_| Ok(table.clone())).unwrap()),
            ];
            for mut engine in engines {
                let rows = [7, 0, 3, 4, 5, 1];
                engine.keep(&rows).unwrap();
                let mut found = Vec::new();
                let mut see = |dispatch: &Dispatch, values: &[f32]| {
                    if dispatch.label == "angles" {
                        found = values.to_vec();
                    }
                    Ok(())
                };
                engine.trace(&[0.0; 16], &mut see).unwrap();
                let expected: Vec<f32> =
                    rows.iter().flat_map(|row| [row % 4 * 2, row % 4 * 2 + 1]).map(|i| i as f32).collect();
                assert_eq!(found, expected);
                assert!(engine.keep(&[7, 0, 3, 4, 5, 8]).is_err());
            }
        }
    }

    #[test]
    fn rows_that_are_missing_or_do_not_exist_are_mistakes() {
        let mut engine = TwinEngine::new(plan(), &|_| Ok(Vec::new())).unwrap();
        let mut whole = plan();
        whole.buffers[1].role = Role::Input;
        let said = [
            engine.run(&[0.0; 16]).unwrap_err(),
            engine.keep(&[0; 5]).unwrap_err(),
            engine.keep(&[0, 1, 2, 3, 4, 8]).unwrap_err(),
            Kept::of(&whole).name(&[0]).unwrap_err(),
            check(&whole).unwrap_err(),
        ];
        insta::assert_snapshot!(said.map(|error| error.to_string()).join("\n"), @"
        the plan keeps 6 rows of its tokens, and none were named
        the plan keeps 6 rows, and 5 were named
        row 8 is to be kept, of 8
        the plan takes all tokens, and some were named
        the plan cannot be run: kept rows: numbers of rows, and nothing else, are whole numbers
        ");
    }
}
