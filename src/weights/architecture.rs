//! Which encoder a set of shapes is, and how it differs from the one that is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::abridged;
use crate::config::{Grid, ModelConfig, PRESETS, Positions, PredictorConfig, Preset};

/// The shape of each tensor, by the parameter's name.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// What shapes say of an encoder; they do not say its number of heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    dim: usize,
    depth: usize,
    mlp: usize,
    patch: usize,
    tubelet: usize,
    channels: usize,
    /// None where positions are rotations, which have no table.
    tokens: Option<usize>,
}

/// The sizes that have a name: width, depth, name.
const SIZES: &[(usize, usize, &str)] =
    &[(192, 12, "Ti"), (384, 12, "S"), (768, 12, "B"), (1024, 24, "L"), (1280, 32, "H"), (1408, 40, "G")];

/// The epsilon of every published I-JEPA.
const NORM_EPS: f64 = 1e-6;

impl Seen {
    /// Reads the sizes off the tensors that show them; none where one of these is missing or has other axes.
    pub fn of(shapes: &Shapes) -> Option<Self> {
        let (dim, channels, tubelet, patch) = match *shapes.get("patch_embed.proj.weight")?.as_slice() {
            [dim, channels, patch, _] => (dim, channels, 1, patch),
            [dim, channels, tubelet, patch, _] => (dim, channels, tubelet, patch),
            _ => return None,
        };
        let tokens = match (shapes.get("pos_embed").map(Vec::as_slice), tubelet) {
            (Some([_, tokens, _]), _) => Some(*tokens),
            // Only V-JEPA 2 has no table.
            (None, 2..) => None,
            _ => return None,
        };
        let [mlp, _] = *shapes.get("blocks.0.mlp.fc1.weight")?.as_slice() else { return None };
        Some(Self { dim, depth: blocks(shapes, "blocks."), mlp, patch, tubelet, channels, tokens })
    }

    /// The grid: a picture's is known by its tokens, a clip's by what a preset of this kind has.
    fn grid(self) -> Option<Grid> {
        if self.tubelet == 1 {
            return self.tokens.map(|tokens| Grid::from(tokens.isqrt()));
        }
        let like = self.like()?.grid();
        let side = self.tokens.map_or(like.side, |tokens| (tokens / like.time).isqrt());
        Some(Grid { side, ..like })
    }

    /// The encoder of the preset with these shapes, or else of one with this width, depth and kind.
    fn like(self) -> Option<ModelConfig> {
        let models = || PRESETS.iter().map(|preset| preset.config().model);
        let kind = |seen: Self| (seen.dim, seen.depth, seen.tubelet, seen.tokens.is_some());
        let exact = models().find(|model| Self::from(model) == self);
        exact.or_else(|| models().find(|model| kind(Self::from(model)) == kind(self)))
    }

    /// The preset whose encoder has these shapes.
    pub fn preset(self) -> Option<(Preset, ModelConfig)> {
        let all = PRESETS.iter().map(|preset| (*preset, preset.config().model));
        all.into_iter().find(|(_, model)| Self::from(model) == self)
    }

    /// The encoder with these shapes, where a preset of this width and depth says how many heads it has.
    pub fn model(self, predictor: Option<PredictorConfig>) -> Option<ModelConfig> {
        let (like, grid) = (self.like()?, self.grid()?);
        Some(ModelConfig {
            image_size: grid.side * self.patch,
            patch_size: self.patch,
            frames: grid.time * self.tubelet,
            tubelet: self.tubelet,
            channels: self.channels,
            dim: self.dim,
            depth: self.depth,
            heads: like.heads,
            mlp: self.mlp,
            norm_eps: NORM_EPS,
            positions: like.positions,
            predictor: predictor.unwrap_or(like.predictor),
        })
    }
}

impl From<&ModelConfig> for Seen {
    fn from(model: &ModelConfig) -> Self {
        let ModelConfig { dim, depth, mlp, patch_size: patch, tubelet, channels, .. } = *model;
        let tokens = (model.positions != Positions::Rope).then(|| model.tokens());
        Self { dim, depth, mlp, patch, tubelet, channels, tokens }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dim, depth, patch, channels, .. } = *self;
        match SIZES.iter().find(|(width, blocks, _)| (*width, *blocks) == (dim, depth)) {
            Some((.., name)) => write!(f, "ViT-{name}/{patch}")?,
            None => write!(f, "a ViT of {depth} blocks, {dim} wide, with patches of {patch}x{patch}")?,
        }
        match (self.grid(), self.tubelet) {
            (Some(grid), 1) => write!(f, " at {} pixels", grid.side * patch)?,
            (Some(grid), tubelet) => {
                write!(f, " of clips at {} pixels and {} frames", grid.side * patch, grid.time * tubelet)?;
            }
            (None, tubelet) => write!(f, " of clips in tubelets of {tubelet} frames")?,
        }
        match channels {
            3 => Ok(()),
            1 => f.write_str(" in grey"),
            channels => write!(f, " of {channels} channels"),
        }
    }
}

/// A model in a few words, such as "ViT-L/16 at 224 pixels with 16 heads".
pub(super) fn summary(model: &ModelConfig) -> String {
    format!("{} with {} heads", Seen::from(model), model.heads)
}

/// The parameters of a model's encoder and their shapes, as the published checkpoints name them.
pub(super) fn layout(model: &ModelConfig) -> Shapes {
    let ModelConfig { dim, mlp, patch_size, tubelet, channels, .. } = *model;
    let mut shapes = Shapes::new();
    let mut layer = |name: &str, weight: Vec<usize>| {
        shapes.insert(format!("{name}.bias"), vec![weight[0]]);
        shapes.insert(format!("{name}.weight"), weight);
    };
    let kernel = match tubelet {
        1 => vec![dim, channels, patch_size, patch_size],
        _ => vec![dim, channels, tubelet, patch_size, patch_size],
    };
    layer("patch_embed.proj", kernel);
    layer("norm", vec![dim]);
    for i in 0..model.depth {
        for (name, weight) in [
            ("norm1", vec![dim]),
            ("attn.qkv", vec![3 * dim, dim]),
            ("attn.proj", vec![dim, dim]),
            ("norm2", vec![dim]),
            ("mlp.fc1", vec![mlp, dim]),
            ("mlp.fc2", vec![dim, mlp]),
        ] {
            layer(&format!("blocks.{i}.{name}"), weight);
        }
    }
    if model.positions != Positions::Rope {
        shapes.insert("pos_embed".to_owned(), vec![1, model.tokens(), dim]);
    }
    shapes
}

/// How `shapes` differ from a model's, in one sentence, and what they look like; none where they fit.
pub(super) fn misfit(shapes: &Shapes, left_over: &[String], model: &ModelConfig) -> Option<(String, Option<String>)> {
    let expected = layout(model);
    let missing: Vec<String> = expected.keys().filter(|name| !shapes.contains_key(*name)).cloned().collect();
    let other = expected.iter().filter_map(|(name, want)| Some((name, want, shapes.get(name)?)));
    let misshaped: Vec<String> = other
        .filter(|(_, want, found)| want != found)
        .map(|(name, want, found)| format!("{name} {found:?} instead of {want:?}"))
        .collect();
    let extra = shapes.keys().filter(|name| !expected.contains_key(*name));
    let unexpected: Vec<String> = extra.chain(left_over).cloned().collect();
    let parts = [("missing", &missing), ("of another shape", &misshaped), ("not expected", &unexpected)];
    let listed: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what} ({})", names.len(), abridged(names)))
        .collect();
    (!listed.is_empty()).then(|| (listed.join(", "), look(shapes, Some(model))))
}

/// What shapes look like, in words for the reader; none where they look like what is wanted.
pub(super) fn look(shapes: &Shapes, wanted: Option<&ModelConfig>) -> Option<String> {
    if shapes.keys().any(|name| name == "cls_token" || name == "class_token") {
        return Some(
            "this looks like a transformer with a class token, such as DINO's or MAE's; I-JEPA has none".into(),
        );
    }
    let seen = Seen::of(shapes)?;
    if wanted.map(Seen::from) == Some(seen) {
        return None;
    }
    Some(match seen.preset() {
        Some((preset, _)) => format!("this looks like {seen}; try --model {}", preset.name),
        None => format!("this looks like {seen}"),
    })
}

/// The number of blocks under `prefix`.
fn blocks(shapes: &Shapes, prefix: &str) -> usize {
    let index = |name: &String| name.strip_prefix(prefix)?.split_once('.')?.0.parse::<usize>().ok();
    shapes.keys().filter_map(index).collect::<BTreeSet<usize>>().len()
}

/// The predictor whose tensors `shapes` holds; its number of heads is `heads`.
pub(super) fn predictor(shapes: &Shapes, heads: usize) -> Option<PredictorConfig> {
    let [dim, _] = *shapes.get("predictor_embed.weight")?.as_slice() else { return None };
    let [mlp, _] = *shapes.get("predictor_blocks.0.mlp.fc1.weight")?.as_slice() else { return None };
    let mask_tokens = blocks(shapes, "mask_tokens.").max(1);
    Some(PredictorConfig { dim, depth: blocks(shapes, "predictor_blocks."), heads, mlp, mask_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> ModelConfig {
        Preset::find(name).unwrap().config().model
    }

    #[test]
    fn every_preset_is_recognised_by_its_shapes() {
        for name in PRESETS.iter().map(|preset| preset.name) {
            let model = preset(name);
            let seen = Seen::of(&layout(&model)).unwrap();
            let (_, found) = seen.preset().unwrap();
            assert_eq!(ModelConfig { predictor: model.predictor.clone(), ..found }, model, "{name}");
            assert_eq!(seen.model(Some(model.predictor.clone())).unwrap(), model, "{name}");
        }
    }

    #[test]
    fn another_model_is_called_by_its_name() {
        let (what, look) = misfit(&layout(&preset("ijepa-vit-l16")), &[], &preset("ijepa-vit-h14")).unwrap();
        insta::assert_snapshot!(what, @"
        96 missing (blocks.24.attn.proj.bias, blocks.24.attn.proj.weight, blocks.24.attn.qkv.bias, blocks.24.attn.qkv.weight, blocks.24.mlp.fc1.bias, blocks.24.mlp.fc1.weight, blocks.24.mlp.fc2.bias, blocks.24.mlp.fc2.weight and 88 more), 293 of another shape (blocks.0.attn.proj.bias [1024] instead of [1280], blocks.0.attn.proj.weight [1024, 1024] instead of [1280, 1280], blocks.0.attn.qkv.bias [3072] instead of [3840], blocks.0.attn.qkv.weight [3072, 1024] instead of [3840, 1280], blocks.0.mlp.fc1.bias [4096] instead of [5120], blocks.0.mlp.fc1.weight [4096, 1024] instead of [5120, 1280], blocks.0.mlp.fc2.bias [1024] instead of [1280], blocks.0.mlp.fc2.weight [1024, 4096] instead of [1280, 5120] and 285 more)
        ");
        insta::assert_snapshot!(look.unwrap(), @"
        this looks like ViT-L/16 at 224 pixels; try --model ijepa-vit-l16
        ");
    }

    #[test]
    fn a_class_token_and_a_video_model_are_recognised() {
        let model = preset("ijepa-vit-b16");
        let mut shapes = layout(&model);
        shapes.insert("cls_token".into(), vec![1, 1, 768]);
        insta::assert_snapshot!(misfit(&shapes, &[], &model).unwrap().1.unwrap(), @"
        this looks like a transformer with a class token, such as DINO's or MAE's; I-JEPA has none
        ");
        shapes.remove("cls_token");
        shapes.insert("patch_embed.proj.weight".into(), vec![768, 3, 2, 16, 16]);
        insta::assert_snapshot!(misfit(&shapes, &[], &model).unwrap().1.unwrap(), @"this looks like ViT-B/16 of clips in tubelets of 2 frames");
        let clips = layout(&preset("vjepa-vit-h16-384"));
        insta::assert_snapshot!(misfit(&clips, &[], &model).unwrap().1.unwrap(), @"this looks like ViT-H/16 of clips at 384 pixels and 16 frames; try --model vjepa-vit-h16-384");
        let turned = layout(&preset("vjepa2-vit-g"));
        insta::assert_snapshot!(misfit(&turned, &[], &model).unwrap().1.unwrap(), @"this looks like ViT-G/16 of clips at 256 pixels and 16 frames; try --model vjepa2-vit-g");
    }

    #[test]
    fn shapes_that_fit_are_no_misfit() {
        let model = preset("animals28");
        assert!(misfit(&layout(&model), &[], &model).is_none());
    }
}
