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
/// The same in Hugging Face's layout.
const HF_PATCH_EMBED: &str = "embeddings.patch_embeddings.projection.weight";
/// The prefix of models that have a head over the encoder.
const HF_MODEL: &str = "ijepa.";

/// Hugging Face's name of a layer outside the blocks, and ours.
const OUTSIDE: &[(&str, &str)] =
    &[("embeddings.patch_embeddings.projection", "patch_embed.proj"), ("layernorm", "norm")];
/// Hugging Face's name of a layer of a block, and ours; what shares a name here is joined in this order.
const BLOCK: &[(&str, &str)] = &[
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.attention.query", "attn.qkv"),
    ("attention.attention.key", "attn.qkv"),
    ("attention.attention.value", "attn.qkv"),
    ("attention.output.dense", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
];
/// What stands beside the encoder in Hugging Face's models and is no part of it.
const BESIDE: &[&str] = &["pooler.", "classifier.", "embeddings.mask_token"];

/// Whether the names are Hugging Face's.
pub(super) fn is_hugging_face<'a>(mut names: impl Iterator<Item = &'a String>) -> bool {
    names.any(|name| name.strip_prefix(HF_MODEL).unwrap_or(name) == HF_PATCH_EMBED)
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

/// Reads Hugging Face's names, with and without the prefix `ijepa.`.
pub(super) fn hugging_face(names: &[&String]) -> Selection {
    let mut parts: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    let mut selection = Selection::default();
    for name in names {
        let plain = name.strip_prefix(HF_MODEL).unwrap_or(name);
        if BESIDE.iter().any(|beside| plain.starts_with(beside)) {
            tracing::warn!("{name} is no part of the encoder and was left out");
        } else if let Some((ours, slot)) = ours(plain) {
            parts.entry(ours).or_default().insert(slot, (*name).clone());
        } else {
            selection.left_over.push((*name).clone());
        }
    }
    for (ours, stored) in parts {
        if stored.len() == theirs(&ours).len() {
            selection.sources.insert(ours, stored.into_values().collect());
        } else {
            selection.left_over.extend(stored.into_values());
        }
    }
    selection
}

/// Our name for Hugging Face's, and its place among those that are joined.
fn ours(theirs: &str) -> Option<(String, usize)> {
    if theirs == "embeddings.position_embeddings" {
        return Some(("pos_embed".to_owned(), 0));
    }
    let (layer, parameter) = theirs.rsplit_once('.')?;
    if !matches!(parameter, "weight" | "bias") {
        return None;
    }
    if let Some((_, ours)) = OUTSIDE.iter().find(|(theirs, _)| *theirs == layer) {
        return Some((format!("{ours}.{parameter}"), 0));
    }
    let (block, layer) = layer.strip_prefix("encoder.layer.")?.split_once('.')?;
    block.parse::<usize>().ok()?;
    let at = BLOCK.iter().position(|(theirs, _)| *theirs == layer)?;
    Some((format!("blocks.{block}.{}.{parameter}", BLOCK[at].1), at))
}

/// Hugging Face's names for ours; several where they keep apart what is one tensor here.
pub(super) fn theirs(ours: &str) -> Vec<String> {
    if ours == "pos_embed" {
        return vec!["embeddings.position_embeddings".to_owned()];
    }
    let Some((layer, parameter)) = ours.rsplit_once('.') else { return Vec::new() };
    let named = |table: &[(&str, &str)], layer: &str, before: &str| -> Vec<String> {
        let rows = table.iter().filter(|(_, ours)| *ours == layer);
        rows.map(|(theirs, _)| format!("{before}{theirs}.{parameter}")).collect()
    };
    match layer.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
        Some((block, layer)) => named(BLOCK, layer, &format!("encoder.layer.{block}.")),
        None => named(OUTSIDE, layer, ""),
    }
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
            assert_eq!(ours(&there[0]).unwrap().0, name);
        }
        let joined = theirs("blocks.3.attn.qkv.bias");
        insta::assert_snapshot!(joined.join("\n"), @r"
        encoder.layer.3.attention.attention.query.bias
        encoder.layer.3.attention.attention.key.bias
        encoder.layer.3.attention.attention.value.bias
        ");
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
