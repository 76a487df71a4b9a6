//! Labels as texts say them: numbers, or names that are numbered in alphabetical order.

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};

/// That the sample `name` has no label where each needs one.
pub fn unlabelled(name: &str) -> Error {
    Error::new(Kind::Data, format!("{name} has no label"))
        .with_remedy("extract from a folder with one subfolder a class, from IDX files, or give a list of labels")
}

/// The `labels` of samples whose classes are called `own`, numbered as in `classes`: by name, or by number where neither
/// knows names.
///
/// # Errors
/// Of kind [`Kind::Data`] if a sample's class is none of `classes`, or only one of both knows the names of its classes.
pub fn renumber(labels: Vec<u32>, own: &[String], classes: &[String]) -> Result<Vec<u32>> {
    if own == classes {
        return Ok(labels);
    }
    if own.is_empty() || classes.is_empty() {
        let without = if own.is_empty() { "to be tested on" } else { "to learn from" };
        let message = format!("the samples {without} do not name their classes, and the others do");
        return Err(Error::new(Kind::Data, message).with_remedy(
            "give both as pictures or films with classes, or as the whole folders that `anyjepa extract` wrote of such; \
             a probe that knows no names is tested on labels without names",
        ));
    }
    let places: HashMap<&String, u32> = classes.iter().zip(0..).collect();
    let places: Vec<Option<u32>> = own.iter().map(|class| places.get(class).copied()).collect();
    let number = |label: u32| {
        places.get(label as usize).copied().flatten().ok_or_else(|| {
            let class = own.get(label as usize).map_or(label.to_string(), |class| format!("`{class}`"));
            let (count, known) = (classes.len(), classes.iter().take(5).cloned().collect::<Vec<_>>());
            let message = format!("the class {class} is none of the {count} to learn from: {}", known.join(", "));
            Error::new(Kind::Data, message).with_remedy("give both parts the same names of classes")
        })
    };
    labels.into_iter().map(number).collect()
}

/// Numbers `texts`, one a sample; gives each sample's label and the names of the labels.
///
/// Where every text is a whole number below 65,536 it is the label itself, and all numbers up to the largest are labels.
/// Larger ones, such as a catalogue's, are names like any other, so that one line does not make a million labels.
pub(super) fn number(texts: &[Option<String>]) -> (Vec<Option<u32>>, Vec<String>) {
    const MOST: u32 = 1 << 16;
    let given = || texts.iter().flatten();
    let as_number = |text: &String| text.parse::<u32>().ok().filter(|number| *number < MOST);
    if let Some(numbers) = given().map(as_number).collect::<Option<Vec<u32>>>() {
        let count = numbers.iter().max().map_or(0, |most| most + 1);
        let labels = texts.iter().map(|text| text.as_ref().and_then(as_number)).collect();
        return (labels, (0..count).map(|number| number.to_string()).collect());
    }
    name(texts)
}

/// As [`number`], but numbers are names too, as those of folders are.
pub(super) fn name(texts: &[Option<String>]) -> (Vec<Option<u32>>, Vec<String>) {
    let mut classes: Vec<String> = texts.iter().flatten().cloned().collect();
    classes.sort_unstable();
    classes.dedup();
    let place = |text: &String| classes.binary_search(text).ok().map(|place| place as u32);
    (texts.iter().map(|text| text.as_ref().and_then(place)).collect(), classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(texts: &[&str]) -> (Vec<Option<u32>>, Vec<String>) {
        let given = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        number(&texts.iter().map(given).collect::<Vec<_>>())
    }

    #[test]
    fn samples_have_the_numbers_that_their_classes_have_elsewhere() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let (own, classes) = (names(&["ant", "bee", "cow"]), names(&["cow", "ant"]));
        assert_eq!(renumber(vec![2, 0, 0], &own, &classes).unwrap(), [0, 1, 1]);
        assert_eq!(renumber(vec![5, 1], &[], &[]).unwrap(), [5, 1]);
        let refused = [
            (vec![0, 1], &own[..], &classes[..]),
            (vec![0, 3], &own, &classes),
            (vec![0], &[], &classes),
            (vec![0], &own, &[]),
        ];
        let said = refused.map(|(labels, own, classes)| renumber(labels, own, classes).unwrap_err().to_string());
        insta::assert_snapshot!(said.join("\n"), @"
        the class `bee` is none of the 2 to learn from: cow, ant
        the class 3 is none of the 2 to learn from: cow, ant
        the samples to be tested on do not name their classes, and the others do
        the samples to learn from do not name their classes, and the others do
        ");
    }

    #[test]
    fn numbers_are_labels_and_names_are_numbered() {
        assert_eq!(numbered(&["2", "", "0"]), (vec![Some(2), None, Some(0)], ["0", "1", "2"].map(String::from).into()));
        assert_eq!(
            numbered(&["dog", "7", "dog"]),
            (vec![Some(1), Some(0), Some(1)], ["7", "dog"].map(String::from).into())
        );
        assert_eq!(
            numbered(&["999999", "65536"]),
            (vec![Some(1), Some(0)], ["65536", "999999"].map(String::from).into())
        );
        assert_eq!(numbered(&["65535"]).1.len(), 65_536);
        assert_eq!(numbered(&["", ""]), (vec![None, None], vec![]));
    }
}
