//! Which stored tensors make which of the encoder's parameters, in each of the published layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Which;
use crate::error::{Error, Result};

/// For each parameter of the encoder, the stored tensors that make it, joined along the first axis.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Stored names by the parameter's name.
    pub sources: BTreeMap<String, Vec<String>>,
    /// Stored names that belong to the encoder and are none of its parameters' names.
    pub left_over: Vec<String>,
    /// Which encoder it is, where the names say so.
    pub encoder: Option<Which>,
}

/// The parameter that every layout has once an encoder.
const PATCH_EMBED: &str = "patch_embed.proj.weight";

/// Hugging Face's names of one model.
struct Layout {
    /// The prefix of models that have a head over it.
    model: &'static str,
    /// The prefix of the network.
    network: &'static str,
    /// Hugging Face's name of a layer outside the blocks, and ours.
    outside: &'static [(&'static str, &'static str)],
    /// The prefix of a block's number, and ours.
    layers: (&'static str, &'static str),
    /// Hugging Face's name of a layer of a block, and ours; what shares a name here is joined in this order.
    block: &'static [(&'static str, &'static str)],
    /// A parameter that is not a layer's, and ours.
    own: Option<(&'static str, &'static str)>,
    /// The prefix of the other network of the same file.
    sibling: Option<&'static str>,
    /// What else stands beside it in Hugging Face's models and is no part of it.
    beside: &'static [&'static str],
}

const IJEPA: Layout = Layout {
    model: "ijepa.",
    network: "",
    outside: &[("embeddings.patch_embeddings.projection", "patch_embed.proj"), ("layernorm", "norm")],
    layers: ("encoder.layer.", "blocks."),
    block: &[
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
        ("attention.attention.query", "attn.qkv"),
        ("attention.attention.key", "attn.qkv"),
        ("attention.attention.value", "attn.qkv"),
        ("attention.output.dense", "attn.proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ],
    own: Some(("embeddings.position_embeddings", "pos_embed")),
    sibling: None,
    beside: &["pooler.", "classifier.", "embeddings.mask_token"],
};

/// The layers of a block of V-JEPA 2.
const VJEPA2_BLOCK: &[(&str, &str)] = &[
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("attention.query", "attn.qkv"),
    ("attention.key", "attn.qkv"),
    ("attention.value", "attn.qkv"),
    ("attention.proj", "attn.proj"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
];

const VJEPA2: Layout = Layout {
    model: "vjepa2.",
    network: "encoder.",
    outside: &[("embeddings.patch_embeddings.proj", "patch_embed.proj"), ("layernorm", "norm")],
    layers: ("layer.", "blocks."),
    block: VJEPA2_BLOCK,
    own: None,
    sibling: Some("predictor."),
    beside: &["pooler.", "classifier."],
};

/// V-JEPA 2's predictor, which stands in the same file.
const VJEPA2_PREDICTOR: Layout = Layout {
    model: "vjepa2.",
    network: "predictor.",
    outside: &[
        ("embeddings.predictor_embeddings", "predictor_embed"),
        ("layernorm", "predictor_norm"),
        ("proj", "predictor_proj"),
    ],
    layers: ("layer.", "predictor_blocks."),
    block: VJEPA2_BLOCK,
    own: Some(("embeddings.mask_tokens", "mask_tokens")),
    sibling: Some("encoder."),
    beside: &["pooler.", "classifier."],
};

/// Hugging Face's layout in which the names are, if it is one of theirs.
fn layout<'a>(names: impl Iterator<Item = &'a String> + Clone) -> Option<&'static Layout> {
    let has = |layout: &Layout| {
        let (theirs, _) = layout.outside[0];
        let patch_embed = format!("{}{theirs}.weight", layout.network);
        names.clone().any(|name| name.strip_prefix(layout.model).unwrap_or(name) == patch_embed)
    };
    [&IJEPA, &VJEPA2].into_iter().find(|layout| has(layout))
}

/// Whether the names are Hugging Face's.
pub(super) fn is_hugging_face<'a>(names: impl Iterator<Item = &'a String> + Clone) -> bool {
    layout(names).is_some()
}

/// What the names of an optimizer's tensors begin with: AdamW's first and second moment of what follows.
pub const MOMENTS: [&str; 2] = ["first", "second"];

/// The prefixes under which the published names of an encoder stand, and which encoder each is.
pub(super) fn encoders<'a>(names: impl Iterator<Item = &'a String>) -> Vec<(String, Option<Which>)> {
    let prefixes = names.filter_map(|name| name.strip_suffix(PATCH_EMBED));
    let whole = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    let is_moment = |prefix: &str| prefix.split('.').next().is_some_and(|first| MOMENTS.contains(&first));
    let which = |prefix: &str| {
        let parts: BTreeSet<&str> = prefix.split('.').collect();
        match (parts.contains("target_encoder"), parts.contains("encoder")) {
            (true, _) => Some(Which::Target),
            (false, true) => Some(Which::Context),
            (false, false) => None,
        }
    };
    whole.filter(|prefix| !is_moment(prefix)).map(|prefix| (prefix.to_owned(), which(prefix))).collect()
}

/// Chooses an encoder among published names; one that no prefix names is taken for the one that is asked for.
///
/// # Errors
/// A data error that says what there is instead.
pub(super) fn published(path: &Path, names: &[&String], which: Which) -> Result<Selection> {
    let found = encoders(names.iter().copied());
    let chosen = found.iter().find(|(_, encoder)| *encoder == Some(which));
    let chosen = chosen.or(match found.as_slice() {
        [only] if only.1.is_none() => Some(only),
        _ => None,
    });
    let Some((prefix, encoder)) = chosen else {
        return Err(absent(path, names, &found, which));
    };
    let inside = names.iter().filter_map(|name| Some((name.strip_prefix(prefix.as_str())?, *name)));
    // Without a prefix, a file's other networks look like the encoder's own names.
    let sources = inside.map(|(ours, stored)| (ours.to_owned(), vec![stored.clone()])).collect();
    Ok(Selection { sources, left_over: Vec::new(), encoder: *encoder })
}

fn absent(path: &Path, names: &[&String], found: &[(String, Option<Which>)], which: Which) -> Error {
    if found.is_empty() {
        let first: Vec<&str> = names.iter().take(4).map(|name| name.as_str()).collect();
        let message = format!(
            "no encoder: none of its {} tensors is a `{PATCH_EMBED}`; the first are {}",
            names.len(),
            if first.is_empty() { "none".to_owned() } else { first.join(", ") }
        );
        return Error::data(path, message).with_remedy("give the checkpoint of an image transformer such as I-JEPA's");
    }
    let there: Vec<&str> = found.iter().map(|(prefix, _)| prefix.trim_end_matches('.')).collect();
    let error = Error::data(path, format!("no {which} encoder: there is only {}", there.join(" and ")));
    match found.iter().find_map(|(_, encoder)| *encoder) {
        Some(other) => error.with_remedy(format!("take that one with --encoder {other}")),
        None => error,
    }
}

/// Reads Hugging Face's names of an encoder, with and without the prefix of a model that has a head.
pub(super) fn hugging_face(names: &[&String]) -> Selection {
    layout(names.iter().copied()).unwrap_or(&IJEPA).select(names)
}

/// Reads Hugging Face's names of a predictor.
pub(super) fn hugging_face_predictor(names: &[&String]) -> Selection {
    VJEPA2_PREDICTOR.select(names)
}

impl Layout {
    fn select(&self, names: &[&String]) -> Selection {
        let mut parts: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
        let mut selection = Selection::default();
        for name in names {
            let plain = name.strip_prefix(self.model).unwrap_or(name);
            if self.sibling.is_some_and(|sibling| plain.starts_with(sibling)) {
                continue;
            }
            if self.beside.iter().any(|beside| plain.starts_with(beside)) {
                tracing::warn!("{name} is no part of the encoder and was left out");
            } else if let Some((ours, slot)) = plain.strip_prefix(self.network).and_then(|name| self.ours(name)) {
                parts.entry(ours).or_default().insert(slot, (*name).clone());
            } else {
                selection.left_over.push((*name).clone());
            }
        }
        for (ours, stored) in parts {
            if stored.len() == self.theirs(&ours).len() {
                selection.sources.insert(ours, stored.into_values().collect());
            } else {
                selection.left_over.extend(stored.into_values());
            }
        }
        selection
    }

    /// Our name for Hugging Face's, and its place among those that are joined.
    fn ours(&self, theirs: &str) -> Option<(String, usize)> {
        if let Some((_, ours)) = self.own.filter(|(own, _)| *own == theirs) {
            return Some((ours.to_owned(), 0));
        }
        let (layer, parameter) = theirs.rsplit_once('.')?;
        if !matches!(parameter, "weight" | "bias") {
            return None;
        }
        if let Some((_, ours)) = self.outside.iter().find(|(theirs, _)| *theirs == layer) {
            return Some((format!("{ours}.{parameter}"), 0));
        }
        let (block, layer) = layer.strip_prefix(self.layers.0)?.split_once('.')?;
        block.parse::<usize>().ok()?;
        let at = self.block.iter().position(|(theirs, _)| *theirs == layer)?;
        Some((format!("{}{block}.{}.{parameter}", self.layers.1, self.block[at].1), at))
    }

    /// Hugging Face's names for ours; several where they keep apart what is one tensor here.
    fn theirs(&self, ours: &str) -> Vec<String> {
        let network = self.network;
        if let Some((own, _)) = self.own.filter(|(_, own)| *own == ours) {
            return vec![format!("{network}{own}")];
        }
        let Some((layer, parameter)) = ours.rsplit_once('.') else { return Vec::new() };
        let named = |table: &[(&str, &str)], layer: &str, before: &str| -> Vec<String> {
            let rows = table.iter().filter(|(_, ours)| *ours == layer);
            rows.map(|(theirs, _)| format!("{network}{before}{theirs}.{parameter}")).collect()
        };
        match layer.strip_prefix(self.layers.1).and_then(|rest| rest.split_once('.')) {
            Some((block, layer)) => named(self.block, layer, &format!("{}{block}.", self.layers.0)),
            None => named(self.outside, layer, ""),
        }
    }
}

/// Hugging Face's names in an I-JEPA model for ours; several where they keep apart what is one tensor here.
pub(super) fn theirs(ours: &str) -> Vec<String> {
    IJEPA.theirs(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_hugging_face_leads_there_and_back() {
        for name in
            ["pos_embed", "patch_embed.proj.bias", "norm.weight", "blocks.11.norm2.bias", "blocks.0.mlp.fc2.weight"]
        {
            let there = theirs(name);
            assert_eq!(there.len(), 1, "{name}");
            assert_eq!(IJEPA.ours(&there[0]).unwrap().0, name);
        }
        let joined = theirs("blocks.3.attn.qkv.bias");
        insta::assert_snapshot!(joined.join("\n"), @r"
        encoder.layer.3.attention.attention.query.bias
        encoder.layer.3.attention.attention.key.bias
        encoder.layer.3.attention.attention.value.bias
        ");
    }

    #[test]
    fn both_networks_of_a_video_model_are_told_apart() {
        for (layout, name) in [
            (&VJEPA2, "patch_embed.proj.weight"),
            (&VJEPA2, "blocks.3.attn.proj.bias"),
            (&VJEPA2_PREDICTOR, "mask_tokens"),
            (&VJEPA2_PREDICTOR, "predictor_proj.weight"),
            (&VJEPA2_PREDICTOR, "predictor_blocks.1.mlp.fc1.weight"),
        ] {
            let there = &layout.theirs(name)[0];
            let plain = there.strip_prefix(layout.network).unwrap();
            assert_eq!(layout.ours(plain).unwrap().0, name);
        }
        let names = ["encoder.embeddings.patch_embeddings.proj.weight", "predictor.proj.bias"].map(str::to_owned);
        let names: Vec<&String> = names.iter().collect();
        let keys = |selection: Selection| selection.sources.into_keys().collect::<Vec<_>>();
        assert_eq!(keys(hugging_face(&names)), ["patch_embed.proj.weight"]);
        assert_eq!(keys(hugging_face_predictor(&names)), ["predictor_proj.bias"]);
    }

    #[test]
    fn a_query_without_its_key_is_left_over() {
        let name = "encoder.layer.0.attention.attention.query.weight".to_owned();
        let selection = hugging_face(&[&name]);
        assert!(selection.sources.is_empty());
        assert_eq!(selection.left_over, [name]);
    }

    #[test]
    fn prefixes_say_which_encoder_it_is() {
        let names = ["encoder.module.", "target_encoder.module.", "module.", ""].map(|p| format!("{p}{PATCH_EMBED}"));
        let found: Vec<Option<Which>> = encoders(names.iter()).into_iter().map(|(_, which)| which).collect();
        assert_eq!(found, [Some(Which::Context), Some(Which::Target), None, None]);
    }
}
