//! `[teacher]`, `[student]` and `[fake_score]`: the networks of a distillation as a file describes them.

use std::ffi::OsStr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::range;

/// `[teacher]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Teacher {
    /// A safetensors file of a single network, or a published pipeline: a folder in diffusers' layout, or a repository of
    /// the Hugging Face hub.
    pub weights: PathBuf,
    /// Commit, tag or branch of a repository; the run keeps the commit it stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Text encoder of the emoji world's teacher: a safetensors file of a World-CLIP, whose text tower is used; absent =
    /// `assets.world_clip`. Pipelines bring their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<PathBuf>,
    /// Autoencoder of a class-conditional teacher, a folder in diffusers' layout. Pipelines bring their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vae: Option<PathBuf>,
    /// Tokens of a prompt that the encoder for long texts reads, as diffusers' argument of that name: T5 or Qwen3.
    /// Longer prompts are cut, shorter ones padded. Absent = diffusers' default for the pipeline.
    #[serde(
        deserialize_with = "range::sequence_length",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_sequence_length: Option<usize>,
    /// Euler steps when the teacher is sampled; with guidance each costs two network evaluations.
    #[serde(deserialize_with = "range::count")]
    pub num_steps: usize,
    /// Timestep shift `s` of its time grid, `s t / (1 + (s - 1) t)`; above 0, 1 = none.
    #[serde(deserialize_with = "range::positive")]
    pub shift: f64,
    /// Classifier-free guidance `w` in `u + w (c - u)`, of the teacher and, unless `method.dmdr.dm.guidance` is set, of the
    /// real score; 1 = none.
    #[serde(deserialize_with = "range::guidance")]
    pub guidance: f64,
}

/// `[student]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Student {
    /// Number of sampling steps, 1 to 8.
    #[serde(deserialize_with = "range::few_steps")]
    pub num_steps: usize,
    /// Timestep shift `s` of the time grid, `s t / (1 + (s - 1) t)`; above 0, 1 = none.
    #[serde(deserialize_with = "range::positive")]
    pub shift: f64,
    /// The time in (0, 1] that a student of one step is told its pure noise has. 0.4 is timestep 399 of 1000, `DMD2`'s
    /// `conditioning_timestep`; absent = 1, where the noise is pure.
    #[serde(
        deserialize_with = "range::optional_share",
        skip_serializing_if = "Option::is_none"
    )]
    pub conditioning_time: Option<f64>,
    /// Which of its weights are trained.
    pub tuning: Tuning,
    /// A student of an earlier run to go on from; absent = the teacher's weights, or an adapter that does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

/// Which weights of the student are trained.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Tuning {
    /// All of them, starting from the teacher's.
    #[default]
    Full,
    /// A low-rank adapter on the frozen teacher.
    Lora(Lora),
}

/// A low-rank adapter: `W + alpha / rank * B A`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Rank of the product.
    #[serde(deserialize_with = "range::count")]
    pub rank: usize,
    /// Numerator of the adapter's built-in factor `alpha / rank`.
    #[serde(deserialize_with = "range::positive")]
    pub alpha: f64,
    /// How its first factor starts.
    #[serde(skip_serializing_if = "LoraInit::is_default")]
    pub init_lora_weights: LoraInit,
    /// Glob patterns on the names of layers; one that matches nothing is an error. Absent = what the network's family is
    /// usually adapted at (docs/your-model.md).
    #[serde(
        deserialize_with = "range::targets",
        skip_serializing_if = "Option::is_none"
    )]
    pub targets: Option<Vec<String>>,
}

/// How the first factor `A` of an adapter starts, under PEFT's name for the choice; `B` starts at 0 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Uniform in `+-1 / sqrt(fan_in)`, PEFT's default.
    #[default]
    KaimingUniform,
    /// Normal with the standard deviation `1 / rank`, PEFT's `"gaussian"`.
    Gaussian,
}

impl LoraInit {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What of the fake score is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FakeForm {
    /// An adapter beside the weights of the frozen teacher, `W + alpha / rank * B A`.
    #[default]
    Lora,
    /// One behind the queries and values of the frozen teacher's attentions, `q + alpha / rank * q A B` with `A` standard
    /// normal: the authors' class-conditional demo. For networks with fused projections (SiT and the emoji world's).
    OutputLora,
    /// All weights, starting from the teacher's.
    Full,
}

impl FakeForm {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[fake_score]`: the frozen teacher plus an adapter, or a copy of it, that is trained on the student's samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeScore {
    /// What is trained. `rank`, `alpha` and `scale` are an adapter's, `targets` only of one beside the weights.
    #[serde(skip_serializing_if = "FakeForm::is_default")]
    pub form: FakeForm,
    /// Rank of the adapter.
    #[serde(deserialize_with = "range::count")]
    pub rank: usize,
    /// Numerator of the adapter's built-in factor `alpha / rank`.
    #[serde(deserialize_with = "range::positive")]
    pub alpha: f64,
    /// How the adapter's first factor starts; only of one beside the weights.
    #[serde(skip_serializing_if = "LoraInit::is_default")]
    pub init_lora_weights: LoraInit,
    /// Glob patterns on the names of layers; one that matches nothing is an error. Absent = what the network's family is
    /// usually adapted at (docs/your-model.md).
    #[serde(
        deserialize_with = "range::targets",
        skip_serializing_if = "Option::is_none"
    )]
    pub targets: Option<Vec<String>>,
    /// Scale `s_f` of the adapter in the fake score.
    #[serde(deserialize_with = "range::positive")]
    pub scale: f64,
    /// The fake score of an earlier run to go on from; absent = an adapter that does nothing, or the teacher's weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

impl FakeScore {
    /// Whether it says how an adapter is to be other than by default.
    pub(crate) fn adapts(&self) -> bool {
        let Self {
            rank, alpha, scale, ..
        } = self.clone();
        let default = Self::default();
        Self {
            rank,
            alpha,
            scale,
            ..default.clone()
        } != default
    }

    /// The adapter without its scale.
    pub fn lora(&self) -> Lora {
        Lora {
            rank: self.rank,
            alpha: self.alpha,
            init_lora_weights: self.init_lora_weights,
            targets: self.targets.clone(),
        }
    }
}

impl Default for Teacher {
    fn default() -> Self {
        Self {
            weights: "assets/teacher.safetensors".into(),
            revision: None,
            text_encoder: None,
            vae: None,
            max_sequence_length: None,
            num_steps: 25,
            shift: 1.0,
            guidance: 3.0,
        }
    }
}

impl Default for Student {
    fn default() -> Self {
        Self {
            num_steps: 4,
            shift: 1.0,
            conditioning_time: None,
            tuning: Tuning::Full,
            init: None,
        }
    }
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 16.0,
            init_lora_weights: LoraInit::default(),
            targets: None,
        }
    }
}

impl Default for FakeScore {
    fn default() -> Self {
        let Lora {
            rank,
            alpha,
            init_lora_weights,
            targets,
        } = Lora::default();
        Self {
            form: FakeForm::default(),
            rank,
            alpha,
            init_lora_weights,
            targets,
            scale: 1.0,
            init: None,
        }
    }
}

/// Endings of weight files, ours and those that are refused.
const FILES: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

impl Teacher {
    /// Whether `weights` names a repository of the hub: `owner/name`, and nothing of that name lies here. Names of
    /// repositories have dots (`FLUX.1-dev`), so only the endings of weight files tell that one was meant.
    pub fn is_on_hub(&self) -> bool {
        let is_file = |ending: &OsStr| FILES.iter().any(|file| ending.eq_ignore_ascii_case(file));
        let parts: Vec<_> = self.weights.iter().collect();
        parts.len() == 2
            && self.weights.is_relative()
            && !self.weights.extension().is_some_and(is_file)
            && !self.weights.exists()
    }
}
