//! `[[rewards]]`: the weighted mix of reward models the student is trained on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};
use crate::range;

/// One reward of the mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// Weight in the mix over student updates.
    #[serde(default = "default_weight", deserialize_with = "curve::non_negative")]
    pub weight: Curve,
    /// Copies of each image, shifted, scaled, blurred and noised at random, whose mean score is the reward: harder to
    /// fool. 0 = the image itself.
    #[serde(default)]
    pub augmentations: usize,
    /// The score above which it no longer counts: `-relu(hinge - score)` takes the place of the score in the loss. Metrics
    /// show the score itself. Absent = the score counts everywhere.
    #[serde(
        default,
        deserialize_with = "range::optional_finite",
        skip_serializing_if = "Option::is_none"
    )]
    pub hinge: Option<f64>,
    /// Words that this reward reads before each prompt, with the space behind them: `"Realistic photo "`.
    #[serde(
        default,
        deserialize_with = "range::prefix",
        skip_serializing_if = "Option::is_none"
    )]
    pub prefix: Option<String>,
    /// The model that scores an image and its prompt.
    pub model: RewardModel,
}

fn default_weight() -> Curve {
    Curve::Constant(1.0)
}

/// A reward model by kind. The first three belong to the emoji world, the others score images of published models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardModel {
    /// Text alignment: cosine of the emoji world's CLIP.
    WorldClip(RewardWeights),
    /// Human-like preference, trained on ranked pairs.
    Preference(RewardWeights),
    /// The world's exact judge: 1 if the image shows what the prompt asks for, else 0. Without gradient.
    Judge,
    /// Text alignment: cosine of published CLIP towers.
    Clip(ClipReward),
    /// `HPSv2` or `HPSv2.1`.
    Hps(CaptionReward),
    /// `PickScore`.
    PickScore(CaptionReward),
    /// `ImageReward`.
    ImageReward(CaptionReward),
    /// LAION's aesthetic predictor.
    Aesthetic(HeadReward),
    /// `DINOv2`'s classifier, for worlds of classes.
    Dino(HeadReward),
    /// A server that scores images (docs/rewards.md). Without gradient.
    Remote(RemoteReward),
    /// A vision-language model that is asked for a number (docs/rewards.md). Without gradient.
    Vlm(VlmReward),
}

/// Where the weights of a reward model of the emoji world are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardWeights {
    /// A safetensors file.
    pub weights: PathBuf,
}

/// CLIP towers and what they read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipReward {
    /// Which towers; that fixes what is done to an image first, and the sizes of towers in a file.
    pub checkpoint: ClipCheckpoint,
    /// A folder as transformers saves it, or a safetensors file with the names of `open_clip`.
    pub weights: PathBuf,
    /// Folder of the tokenizer.
    pub tokenizer: PathBuf,
}

/// Published CLIP towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipCheckpoint {
    /// `openai/clip-vit-base-patch32`.
    OpenaiB32,
    /// `openai/clip-vit-base-patch16`.
    OpenaiB16,
    /// `openai/clip-vit-large-patch14`.
    OpenaiL14,
    /// `laion/CLIP-ViT-B-32-laion2B-s34B-b79K`.
    LaionB32,
    /// `laion/CLIP-ViT-L-14-laion2B-s32B-b82K`.
    LaionL14,
    /// `laion/CLIP-ViT-g-14-laion2B-s12B-b42K` and `s34B-b88K`.
    LaionG14,
    /// `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`.
    LaionH14,
    /// `apple/DFN5B-CLIP-ViT-H-14`.
    DfnH14,
    /// `apple/DFN5B-CLIP-ViT-H-14-378`.
    #[serde(rename = "dfn_h14_378")]
    DfnH14At378,
}

impl ClipCheckpoint {
    /// As in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenaiB32 => "openai_b32",
            Self::OpenaiB16 => "openai_b16",
            Self::OpenaiL14 => "openai_l14",
            Self::LaionB32 => "laion_b32",
            Self::LaionL14 => "laion_l14",
            Self::LaionH14 => "laion_h14",
            Self::LaionG14 => "laion_g14",
            Self::DfnH14 => "dfn_h14",
            Self::DfnH14At378 => "dfn_h14_378",
        }
    }
}

/// A network that reads captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionReward {
    /// A safetensors file, for `pick_score` a folder as transformers saves it.
    pub weights: PathBuf,
    /// Folder of the tokenizer.
    pub tokenizer: PathBuf,
}

/// A head on the features of an image tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadReward {
    /// The tower: a folder of CLIP's, for `dino` a safetensors file.
    pub tower: PathBuf,
    /// The head, a safetensors file.
    pub head: PathBuf,
}

/// A reward model behind HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteReward {
    /// Its name in metrics and messages.
    #[serde(default = "remote_name")]
    pub name: String,
    /// The address that batches are posted to.
    pub url: String,
    /// Seconds for one attempt; there are five.
    #[serde(default = "remote_timeout", deserialize_with = "range::positive_whole")]
    pub timeout_s: u64,
    /// The environment variable that holds a key, if the server wants one. The key itself is never written anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
}

fn remote_name() -> String {
    "remote".to_owned()
}

fn remote_timeout() -> u64 {
    120
}

/// A vision-language model behind an OpenAI-compatible `/v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmReward {
    /// Its name in metrics and messages.
    #[serde(default = "vlm_name")]
    pub name: String,
    /// The address.
    pub url: String,
    /// The model there.
    pub model: String,
    /// What it is told about an image, whose prompt takes the place of `{question}`. It must ask for one number and nothing else.
    #[serde(deserialize_with = "range::template")]
    pub template: String,
    /// The least and the greatest answer; what is no number between them is no answer.
    #[serde(deserialize_with = "range::ends")]
    pub range: [i64; 2],
    /// The most tokens of an answer. The default is enough for a number; a model that thinks first needs hundreds.
    #[serde(
        default = "vlm_max_tokens",
        deserialize_with = "range::positive_whole",
        skip_serializing_if = "is_vlm_max_tokens"
    )]
    pub max_tokens: u64,
    /// Fields that are not sent: `temperature` and `max_tokens` are, unless they are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// A folder that keeps answers by model, words and image, so that none is asked for twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Seconds for one attempt.
    #[serde(default = "remote_timeout", deserialize_with = "range::positive_whole")]
    pub timeout_s: u64,
    /// How often to ask in all.
    #[serde(default = "vlm_attempts", deserialize_with = "range::positive_whole")]
    pub attempts: u64,
    /// The environment variable that holds a key, if the server wants one. The key itself is never written anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Further fields of every request, as they are sent.
    #[serde(
        default,
        deserialize_with = "range::parameters",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub parameters: BTreeMap<String, toml::Value>,
}

fn vlm_name() -> String {
    "vlm".to_owned()
}

fn vlm_attempts() -> u64 {
    5
}

fn vlm_max_tokens() -> u64 {
    16
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_vlm_max_tokens(tokens: &u64) -> bool {
    *tokens == vlm_max_tokens()
}

impl RewardModel {
    /// Of a model elsewhere, without where it is and how it is asked: what is left says what its scores mean. A server may
    /// move, get another key or need another parameter in the middle of a run; another model, question or range would be
    /// another reward.
    pub(crate) fn placeless(&self) -> Self {
        match self {
            Self::Remote(server) => Self::Remote(RemoteReward {
                url: String::new(),
                timeout_s: 1,
                key_env: None,
                ..server.clone()
            }),
            Self::Vlm(judge) => Self::Vlm(VlmReward {
                url: String::new(),
                max_tokens: 1,
                omit: Vec::new(),
                cache: None,
                timeout_s: 1,
                attempts: 1,
                key_env: None,
                parameters: BTreeMap::new(),
                ..judge.clone()
            }),
            other => other.clone(),
        }
    }
    /// Name of the kind as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorldClip(_) => "world_clip",
            Self::Preference(_) => "preference",
            Self::Judge => "judge",
            Self::Clip(_) => "clip",
            Self::Hps(_) => "hps",
            Self::PickScore(_) => "pick_score",
            Self::ImageReward(_) => "image_reward",
            Self::Aesthetic(_) => "aesthetic",
            Self::Dino(_) => "dino",
            Self::Remote(_) => "remote",
            Self::Vlm(_) => "vlm",
        }
    }

    /// Files and folders of the model, with the keys that name them.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::WorldClip(model) | Self::Preference(model) => vec![("weights", &model.weights)],
            Self::Judge | Self::Remote(_) | Self::Vlm(_) => Vec::new(),
            Self::Clip(model) => vec![("weights", &model.weights), ("tokenizer", &model.tokenizer)],
            Self::Hps(model) | Self::PickScore(model) | Self::ImageReward(model) => {
                vec![("weights", &model.weights), ("tokenizer", &model.tokenizer)]
            }
            Self::Aesthetic(model) | Self::Dino(model) => {
                vec![("tower", &model.tower), ("head", &model.head)]
            }
        }
    }

    /// Whether it belongs to the emoji world.
    pub fn is_emoji(&self) -> bool {
        matches!(self, Self::WorldClip(_) | Self::Preference(_) | Self::Judge)
    }

    /// Whether it reads prompts as free text, so that words can be put before them.
    pub fn reads_text(&self) -> bool {
        !self.is_emoji() && !matches!(self, Self::Aesthetic(_) | Self::Dino(_))
    }

    /// Whether it runs on a server, of which no file says what it is.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Remote(_) | Self::Vlm(_))
    }

    /// Whether it can be differentiated with respect to the image.
    pub fn is_differentiable(&self) -> bool {
        !matches!(self, Self::Judge) && !self.is_elsewhere()
    }
}
