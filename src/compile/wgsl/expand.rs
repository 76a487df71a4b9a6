//! The shaders' text: files that the binary carries, `#import` and `#ifdef`, and the list of variants.

use crate::error::{Error, Kind, Result};

/// Every shader and what shaders import, by name.
pub const FILES: &[(&str, &str)] = &[
    ("attention", include_str!("../../../shaders/attention.wgsl")),
    ("gather", include_str!("../../../shaders/gather.wgsl")),
    ("matmul", include_str!("../../../shaders/matmul.wgsl")),
    ("norm", include_str!("../../../shaders/norm.wgsl")),
    ("patchify", include_str!("../../../shaders/patchify.wgsl")),
    ("pool", include_str!("../../../shaders/pool.wgsl")),
    ("shared/cooperative", include_str!("../../../shaders/shared/cooperative.wgsl")),
    ("shared/gelu", include_str!("../../../shaders/shared/gelu.wgsl")),
    ("shared/stored", include_str!("../../../shaders/shared/stored.wgsl")),
    ("shared/tile", include_str!("../../../shaders/shared/tile.wgsl")),
];

const PERMUTATIONS: &str = include_str!("../../../shaders/permutations");

/// A variant of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    /// Its name.
    pub name: &'static str,
    /// Its file among [`FILES`].
    pub file: &'static str,
    defines: &'static str,
}

/// Every variant that is ever built.
pub fn permutations() -> impl Iterator<Item = Permutation> {
    let lines = PERMUTATIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (file, defines) = rest.split_once(' ').unwrap_or((rest, ""));
        Permutation { name, file, defines }
    })
}

/// The variant of this name.
pub(super) fn named(name: &str) -> Result<Permutation> {
    permutations()
        .find(|permutation| permutation.name == name)
        .ok_or_else(|| Error::usage(format!("no variant `{name}` stands in shaders/permutations")))
}

impl Permutation {
    /// Its text, with nothing left to expand.
    ///
    /// # Errors
    /// A failure that names the file whose directives are broken.
    pub fn source(self) -> Result<String> {
        let defined: Vec<&str> = self.defines.split_whitespace().collect();
        let mut source = String::new();
        expand(self.file, &defined, &mut source)?;
        Ok(source)
    }
}

fn expand(name: &str, defined: &[&str], source: &mut String) -> Result<()> {
    let broken = |line: &str| Error::new(Kind::Other, format!("shaders/{name}.wgsl: `{line}` cannot be expanded"));
    let Some((_, text)) = FILES.iter().find(|(file, _)| *file == name) else {
        return Err(Error::new(Kind::Other, format!("there is no shaders/{name}.wgsl")));
    };
    // Whether each `#ifdef` around a line takes it.
    let mut taken: Vec<bool> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("#ifdef"), Some(word)) => taken.push(defined.contains(&word)),
            (Some("#else"), None) => {
                let last = taken.last_mut().ok_or_else(|| broken(line))?;
                *last = !*last;
            }
            (Some("#endif"), None) => {
                taken.pop().ok_or_else(|| broken(line))?;
            }
            _ if taken.contains(&false) => {}
            (Some("#import"), Some(file)) => expand(file, defined, source)?,
            (Some(word), _) if word.starts_with('#') => return Err(broken(line)),
            _ => {
                source.push_str(line);
                source.push('\n');
            }
        }
    }
    if taken.is_empty() { Ok(()) } else { Err(broken("#endif")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_expands_to_plain_wgsl() {
        for permutation in permutations() {
            let source = permutation.source().unwrap();
            assert!(!source.contains("#i") && !source.contains("#e"), "{}", permutation.name);
        }
    }

    #[test]
    fn no_variant_stands_in_the_list_twice() {
        let mut names: Vec<&str> = permutations().map(|permutation| permutation.name).collect();
        let mut sources: Vec<String> = permutations().map(|permutation| permutation.source().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        sources.sort_unstable();
        sources.dedup();
        assert_eq!([names.len(), sources.len()], [count; 2]);
    }

    #[test]
    fn a_missing_file_or_variant_is_named() {
        let said = [expand("relu", &[], &mut String::new()).unwrap_err(), named("matmul_bf16").unwrap_err()];
        insta::assert_snapshot!(format!("{}\n{}", said[0], said[1]), @r"
        there is no shaders/relu.wgsl
        no variant `matmul_bf16` stands in shaders/permutations
        ");
    }
}
