//! Labels as directions of motion, by the names of their classes, in whatever order the data number these.

use super::super::Part;
use crate::data::DIRECTIONS;
use crate::error::{Error, Result};

/// How many clips of each direction a part of the data needs.
pub(super) struct Needed<'a> {
    /// What the data and the part are called.
    pub name: &'a str,
    /// The first so many clips are taken.
    pub clips: usize,
    /// So many of each direction must be among them.
    pub least: usize,
}

/// `part` with labels that are numbers of [`DIRECTIONS`].
///
/// # Errors
/// A usage error where its classes are not the directions, or too few of its first clips move in one of them.
pub(super) fn of(part: Part, needed: &Needed) -> Result<Part> {
    let numbers = numbers(part.data.classes()).ok_or_else(|| not_directions(needed.name, part.data.classes()))?;
    let labels: Vec<u32> = part.labels.iter().map(|label| numbers[*label as usize]).collect();
    for (direction, number) in DIRECTIONS.iter().zip(0..) {
        let found = labels.iter().take(needed.clips).filter(|label| **label == number).count();
        if found < needed.least {
            let Needed { name, clips, least } = needed;
            let message = format!("of the first {clips} clips of {name} {found} move {direction}, {least} are needed");
            return Err(Error::usage(message).with_remedy(
                "take more with --clips, or give clips in mixed order, such as in tar shards called train-0.tar and \
                 test-0.tar",
            ));
        }
    }
    Ok(Part { labels, ..part })
}

/// For each class the number of its direction; none where the classes are not the directions.
fn numbers(classes: &[String]) -> Option<Vec<u32>> {
    let number = |class: &String| DIRECTIONS.iter().position(|direction| direction == class).map(|at| at as u32);
    // Classes have different names, so that as many as there are directions are all of them.
    classes.iter().map(number).collect::<Option<Vec<u32>>>().filter(|numbers| numbers.len() == DIRECTIONS.len())
}

fn not_directions(name: &str, classes: &[String]) -> Error {
    let lacking = || DIRECTIONS.iter().filter(|direction| !classes.iter().any(|class| class == *direction));
    let other = classes.iter().find(|class| !DIRECTIONS.contains(&class.as_str()));
    let other = other.map(|class| format!("a class `{class}`"));
    let lacking = lacking().next().map(|direction| format!("no class `{direction}`"));
    let found: Vec<String> = lacking.into_iter().chain(other).collect();
    Error::usage(format!("the classes of {name} are not the directions of motion: there is {}", found.join(", and ")))
        .with_remedy(format!(
            "name the classes {}: a folder with `train` and `test` in it, and in both a folder of clips for each; or \
             take synthetic:photopan or synthetic:sprites",
            DIRECTIONS.join(", ")
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn classes_are_directions_in_whatever_order_they_are_numbered() {
        assert_eq!(numbers(&texts(&DIRECTIONS)), Some((0..8).collect()));
        let mut sorted = DIRECTIONS;
        sorted.sort_unstable();
        let numbered = numbers(&texts(&sorted)).unwrap();
        assert!(numbered.iter().zip(sorted).all(|(number, name)| DIRECTIONS[*number as usize] == name));
        assert_eq!(sorted[0], "down");
        assert_eq!(numbered[0], 6);
        assert_eq!(numbers(&texts(&DIRECTIONS[1..])), None);
        assert_eq!(numbers(&texts(&[&DIRECTIONS[1..], &["sideways"]].concat())), None);
    }
}
