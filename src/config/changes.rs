//! What differs between two configurations, where it changes what a run computes.

use toml::Value;

use super::RunConfig;
use super::resolve::leaf_values;

/// Keys that decide how often something is said or saved, and how many threads read; a run may go on with others.
const FREE: &[&str] = &[
    "train.workers",
    "train.log_every",
    "train.health_every",
    "train.on_collapse",
    "train.checkpoint_every",
    "train.keep_every",
];

impl RunConfig {
    /// The keys that `other` has otherwise and that change the numbers of a run, as `optim.lr: 0.001, now 0.002`.
    pub fn changes(&self, other: &Self) -> Vec<String> {
        let values = |config: &Self| -> Vec<(String, Value)> {
            let table: toml::Table = config.to_toml().parse().expect("a configuration is written as TOML");
            leaf_values(&table).into_iter().filter(|(key, _)| !FREE.contains(&key.as_str())).collect()
        };
        let found = values(other);
        let find = |key: &str| found.iter().find(|(other, _)| other == key).map(|(_, value)| value);
        values(self)
            .iter()
            .filter(|(key, value)| find(key) != Some(value))
            .map(|(key, value)| match find(key) {
                Some(now) => format!("{key}: {value}, now {now}"),
                None => format!("{key}: {value}, now missing"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;

    #[test]
    fn changes_of_numbers_are_named_and_those_of_cadence_are_free() {
        let config = Preset::find("animals28").unwrap().config();
        let mut other = config.clone();
        other.train.workers += 1;
        other.train.checkpoint_every += 1;
        assert!(config.changes(&other).is_empty());
        other.optim.lr = 0.5;
        other.mask.mode = super::super::MaskMode::Block;
        assert_eq!(config.changes(&other), ["mask.mode: \"unbiased\", now \"block\"", "optim.lr: 0.001, now 0.5"]);
    }
}
