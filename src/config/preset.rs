//! The presets of `models/`, embedded in the binary.

use toml::Value;

use super::{RunConfig, Sampling};
use crate::error::{Error, Result, nearest};

/// One file of `models/`.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The file's text; its header says source, cost and expected result.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// Every preset, in the order in which they are shown.
        pub const PRESETS: &[Preset] = &[$(Preset { name: $name, text: include_str!(concat!("../../models/", $name, ".toml")) }),*];
    };
}

presets![
    "animals28",
    "photopan",
    "ijepa-vit-tiny16",
    "ijepa-vit-s16",
    "ijepa-vit-b16",
    "ijepa-vit-l16",
    "ijepa-vit-h14",
    "ijepa-vit-h16-448",
    "ijepa-vit-h14-in22k",
    "ijepa-vit-g16-in22k",
    "vjepa-vit-tiny16",
    "vjepa-vit-l16",
    "vjepa-vit-h16",
    "vjepa-vit-h16-384",
    "vjepa2-vit-tiny",
    "vjepa2-vit-l",
    "vjepa2-vit-h",
    "vjepa2-vit-g",
];

impl Preset {
    /// The preset called `name`.
    ///
    /// # Errors
    /// A usage error that names the nearest preset.
    pub fn find(name: &str) -> Result<Self> {
        if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
            return Ok(*preset);
        }
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let remedy = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? All presets: {}", names.join(", ")),
            None => format!("the presets are {}", names.join(", ")),
        };
        Err(Error::usage(format!("there is no preset `{name}`")).with_remedy(remedy))
    }

    /// The preset's table, every key of it.
    pub fn table(&self) -> toml::Table {
        let mut table: toml::Table = self.text.parse().expect("tests parse every preset");
        table.insert("name".into(), self.name.into());
        // Presets of pictures say nothing of films.
        if let Some(data) = table.get_mut("data").and_then(Value::as_table_mut) {
            let one = || Value::try_from(Sampling::ONE).expect("TOML can say it");
            data.entry("sampling").or_insert_with(one);
        }
        table
    }

    /// The preset as a configuration.
    pub fn config(&self) -> RunConfig {
        self.table().try_into().expect("tests read every preset")
    }

    /// The comment at the head of the file, without its marks.
    pub fn header(&self) -> String {
        let lines = self.text.lines().take_while(|line| line.starts_with('#'));
        lines.map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join("\n")
    }

    /// How many pictures or clips the recipe is meant for, as the header says.
    pub fn pictures(&self) -> usize {
        let header = self.header();
        let line =
            header.lines().find_map(|line| line.strip_prefix("Pictures: ")).expect("tests find it in every preset");
        let digits: String =
            line.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
        digits.parse().expect("tests read it in every preset")
    }

    /// The images or clips of a step of the published recipe, as the header says; none where nothing is published.
    pub fn images_a_step(&self) -> Option<usize> {
        let header = self.header();
        let said = [" images a step", " clips a step"].iter().find_map(|unit| header.split_once(unit))?.0;
        said.rsplit(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_complete_and_valid() {
        for preset in PRESETS {
            let config: RunConfig =
                preset.table().try_into().unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            config.validate().unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        }
    }

    #[test]
    fn every_file_of_models_is_a_preset_with_source_cost_and_result() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
        for preset in PRESETS {
            for word in ["Source:", "Cost:", "Expected:"] {
                assert!(preset.header().contains(word), "{} says no {word}", preset.name);
            }
            assert!(preset.pictures() > 1000, "{}", preset.name);
            let published =
                !["animals28", "photopan"].contains(&preset.name) && !preset.header().contains("gives FLOPs");
            assert_eq!(preset.images_a_step().is_some_and(|images| images >= 2048), published, "{}", preset.name);
        }
    }

    #[test]
    fn a_misspelt_preset_is_answered_with_the_nearest() {
        let error = Preset::find("ijepa-vit-h41").unwrap_err();
        assert!(error.remedy().unwrap().contains("`ijepa-vit-h14`"));
    }
}
