//! [`Pretrain`]: what `dmdr pretrain` runs, to make the networks a distillation starts from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::events::Events;
use crate::optimizer::{Ema, Optimizer};
use crate::precision::Precision;
use crate::range;
use crate::referenced::ReferencedFile;
use crate::time::TimeDistribution;
use crate::world::EmojiWorld;

/// The training of a teacher or of a reward model on the emoji world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Name of the run's folder.
    #[serde(deserialize_with = "range::folder_name")]
    pub name: String,
    /// Seed of every random number of the run.
    #[serde(default)]
    pub seed: u64,
    /// Device of the run.
    #[serde(default)]
    pub device: Device,
    /// Number format of large matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Number of updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Samples per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Source of images and captions.
    #[serde(default)]
    pub world: EmojiWorld,
    /// The network and its loss.
    pub model: PretrainModel,
    /// The optimiser.
    pub optim: Optimizer,
    /// Averaged weights, the ones that are exported; absent = none.
    pub ema: Option<Ema>,
    /// When the run logs, samples and saves.
    #[serde(default)]
    pub events: Events,
}

/// The network that is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PretrainModel {
    /// A text-to-image diffusion transformer.
    Teacher(TeacherModel),
    /// An image tower and a text tower, trained by contrast.
    WorldClip(WorldClipModel),
    /// An image tower and a text tower, trained on ranked pairs.
    Preference(PreferenceModel),
}

impl PretrainModel {
    /// Name of the kind as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Teacher(_) => "teacher",
            Self::WorldClip(_) => "world_clip",
            Self::Preference(_) => "preference",
        }
    }
}

/// `[model.teacher]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherModel {
    /// Safetensors file of the world's CLIP, whose text tower is the frozen text encoder.
    pub text_encoder: PathBuf,
    /// Weights to start from, of a teacher of the same sizes; absent = random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// How often each kind of scene is drawn.
    pub kinds: KindShares,
    /// Width of the transformer.
    #[serde(deserialize_with = "range::count")]
    pub dim: usize,
    /// Number of blocks.
    #[serde(deserialize_with = "range::count")]
    pub depth: usize,
    /// Number of attention heads; divides `dim`.
    #[serde(deserialize_with = "range::count")]
    pub heads: usize,
    /// Side of a patch in pixels; divides the canvas.
    #[serde(deserialize_with = "range::count")]
    pub patch: usize,
    /// The network's raw output.
    pub prediction: Prediction,
    /// Probability that a caption is replaced by the empty one, for guidance; in `[0, 1)`.
    #[serde(deserialize_with = "range::below_one")]
    pub caption_dropout: f64,
    /// Distribution of the training time.
    pub time: TimeDistribution,
}

impl Default for TeacherModel {
    fn default() -> Self {
        Self {
            text_encoder: "assets/world-clip.safetensors".into(),
            init: None,
            kinds: KindShares::default(),
            dim: 256,
            depth: 6,
            heads: 4,
            patch: 4,
            prediction: Prediction::X0,
            caption_dropout: 0.1,
            time: TimeDistribution::Uniform,
        }
    }
}

/// `[kinds]`, `[model.*.kinds]`: shares of the kinds of prompts and scenes, in any unit; 0 leaves a kind out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindShares {
    /// "a photo of a cat"
    #[serde(deserialize_with = "range::non_negative")]
    pub single_object: f64,
    /// "a photo of a cat and a car"
    #[serde(deserialize_with = "range::non_negative")]
    pub two_object: f64,
    /// "a photo of three cats"
    #[serde(deserialize_with = "range::non_negative")]
    pub counting: f64,
    /// "a photo of a blue car"
    #[serde(deserialize_with = "range::non_negative")]
    pub colors: f64,
    /// "a photo of a cat left of a car"
    #[serde(deserialize_with = "range::non_negative")]
    pub position: f64,
    /// "a photo of a red cat and a blue car"
    #[serde(deserialize_with = "range::non_negative")]
    pub color_attr: f64,
}

impl Default for KindShares {
    fn default() -> Self {
        Self {
            single_object: 1.0,
            two_object: 1.0,
            counting: 1.0,
            colors: 1.0,
            position: 1.0,
            color_attr: 1.0,
        }
    }
}

impl KindShares {
    /// The shares in `GenEval`'s order of kinds.
    pub fn to_array(self) -> [f64; 6] {
        [
            self.single_object,
            self.two_object,
            self.counting,
            self.colors,
            self.position,
            self.color_attr,
        ]
    }
}

/// A diffusion network's raw output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The clean image.
    #[default]
    X0,
    /// The flow velocity `eps - x0`.
    #[serde(alias = "flow")] // its name in weight files of before
    Velocity,
}

/// `[model.world_clip]`: an image tower and a text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldClipModel {
    /// Weights to start from, of towers of the same sizes; absent = random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// How often each kind of scene is drawn.
    pub kinds: KindShares,
    /// Near misses: captions an image is told from that differ from its own in one fact.
    #[serde(deserialize_with = "range::count")]
    pub contrasts: usize,
    /// Width of both towers.
    #[serde(deserialize_with = "range::count")]
    pub dim: usize,
    /// Blocks of the text tower.
    #[serde(deserialize_with = "range::count")]
    pub text_depth: usize,
    /// Blocks of the image tower.
    #[serde(deserialize_with = "range::count")]
    pub image_depth: usize,
    /// Number of attention heads; divides `dim`.
    #[serde(deserialize_with = "range::count")]
    pub heads: usize,
    /// Side of a patch of the image tower in pixels; divides the canvas.
    #[serde(deserialize_with = "range::count")]
    pub patch: usize,
    /// Width of the shared embedding.
    #[serde(deserialize_with = "range::count")]
    pub embed_dim: usize,
    /// Longest prompt in tokens.
    #[serde(deserialize_with = "range::count")]
    pub max_tokens: usize,
    /// Train on augmented images, so that the score does not hang on details a student can fake.
    pub augment: bool,
}

impl Default for WorldClipModel {
    fn default() -> Self {
        Self {
            init: None,
            kinds: KindShares::default(),
            contrasts: 1,
            dim: 128,
            text_depth: 3,
            image_depth: 3,
            heads: 4,
            patch: 4,
            embed_dim: 128,
            max_tokens: 64,
            augment: true,
        }
    }
}

/// `[model.preference]`: towers as in [`WorldClipModel`], trained on ranked pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceModel {
    /// Width of both towers.
    #[serde(deserialize_with = "range::count")]
    pub dim: usize,
    /// Blocks of the text tower.
    #[serde(deserialize_with = "range::count")]
    pub text_depth: usize,
    /// Blocks of the image tower.
    #[serde(deserialize_with = "range::count")]
    pub image_depth: usize,
    /// Number of attention heads; divides `dim`.
    #[serde(deserialize_with = "range::count")]
    pub heads: usize,
    /// Side of a patch of the image tower in pixels; divides the canvas.
    #[serde(deserialize_with = "range::count")]
    pub patch: usize,
    /// Width of the shared embedding.
    #[serde(deserialize_with = "range::count")]
    pub embed_dim: usize,
    /// Longest prompt in tokens.
    #[serde(deserialize_with = "range::count")]
    pub max_tokens: usize,
    /// Train on augmented images.
    pub augment: bool,
    /// A teacher whose mistakes are the worse side of a third of the pairs; absent = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaint: Option<Repaint>,
    /// Margin `m` of the ranking loss `-log sigmoid(s_win - s_lose - m)`.
    #[serde(deserialize_with = "range::non_negative")]
    pub margin: f64,
}

impl Default for PreferenceModel {
    fn default() -> Self {
        let towers = WorldClipModel::default();
        Self {
            dim: towers.dim,
            text_depth: towers.text_depth,
            image_depth: towers.image_depth,
            heads: towers.heads,
            patch: towers.patch,
            embed_dim: towers.embed_dim,
            max_tokens: towers.max_tokens,
            augment: towers.augment,
            repaint: None,
            margin: 0.0,
        }
    }
}

/// `[model.preference.repaint]`: a teacher that denoises scenes which were noised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repaint {
    /// Safetensors file of the teacher.
    pub teacher: PathBuf,
    /// Safetensors file of its text encoder.
    pub text_encoder: PathBuf,
}

impl PreferenceModel {
    /// The two towers, without the ranking loss.
    pub fn towers(&self) -> WorldClipModel {
        WorldClipModel {
            dim: self.dim,
            text_depth: self.text_depth,
            image_depth: self.image_depth,
            heads: self.heads,
            patch: self.patch,
            embed_dim: self.embed_dim,
            max_tokens: self.max_tokens,
            augment: self.augment,
            ..WorldClipModel::default()
        }
    }
}

impl Pretrain {
    /// Every file the configuration names, with its key; the caller checks that they exist.
    pub fn referenced_files(&self) -> Vec<ReferencedFile> {
        let named = match &self.model {
            PretrainModel::Teacher(teacher) => vec![
                ("model.teacher.text_encoder", Some(&teacher.text_encoder)),
                ("model.teacher.init", teacher.init.as_ref()),
            ],
            PretrainModel::WorldClip(clip) => vec![("model.world_clip.init", clip.init.as_ref())],
            PretrainModel::Preference(preference) => {
                let repaint = preference.repaint.as_ref();
                let teacher = repaint.map(|repaint| &repaint.teacher);
                let text_encoder = repaint.map(|repaint| &repaint.text_encoder);
                vec![
                    ("model.preference.repaint.teacher", teacher),
                    ("model.preference.repaint.text_encoder", text_encoder),
                ]
            }
        };
        named
            .into_iter()
            .filter_map(|(key, path)| Some(ReferencedFile::new(key, path?)))
            .collect()
    }
}
