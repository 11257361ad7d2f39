//! [`Experiment`]: what `dmdr train` runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::document::{self, Kind, ReferencedFile};
use crate::error::ConfigError;
use crate::events::{Evaluation, Events};
use crate::guard::Guard;
use crate::method::Method;
use crate::optimizer::{Ema, Optim};
use crate::precision::Precision;
use crate::pretrain::KindShares;
use crate::reward::{Reward, RewardModel};
use crate::world::World;
use crate::{check, metric, range};

/// A distillation experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
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
    /// Whether the blocks of the denoising networks compute their activations again for the gradient instead of keeping
    /// them: a third more work, in a fraction of the memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Source of prompts and ground truth.
    #[serde(default)]
    pub world: World,
    /// How often each kind of prompt is trained on.
    #[serde(default)]
    pub kinds: KindShares,
    /// The model that is distilled; also the base of both scores.
    #[serde(default)]
    pub teacher: Teacher,
    /// The few-step generator.
    #[serde(default)]
    pub student: Student,
    /// The score of the student's distribution.
    #[serde(default)]
    pub fake_score: FakeScore,
    /// What is optimised.
    pub method: Method,
    /// Rewards of the reinforcement learning term; empty without one.
    #[serde(default)]
    pub rewards: Vec<Reward>,
    /// Optimisers of the student and the fake score.
    pub optim: Optim,
    /// Averaged student weights; absent = none.
    pub ema: Option<Ema>,
    /// When the run logs, samples, evaluates and saves.
    #[serde(default)]
    pub events: Events,
    /// The periodic evaluation.
    #[serde(default)]
    pub evaluation: Evaluation,
    /// The stop rule on it; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Models that evaluation needs.
    #[serde(default)]
    pub assets: Assets,
}

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
    /// Tokens of a prompt that the encoder for long texts reads, as diffusers' argument of that name: T5 of SD3 (256 by
    /// default) and Qwen3 of Z-Image (512). Longer prompts are cut, shorter ones padded. Absent = diffusers' default.
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
    /// The time in (0, 1] that a student of one step is told its pure noise has. 0.4 is timestep 399 of SDXL, `DMD2`'s
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

/// `[assets]`: what evaluation needs besides the rewards that are trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Assets {
    /// Text alignment metric; a safetensors file.
    pub world_clip: PathBuf,
    /// Preference metric; a safetensors file.
    pub preference: PathBuf,
    /// Preference metric that no run is trained on; a safetensors file.
    pub preference_heldout: PathBuf,
}

impl Experiment {
    /// Reads a file, applies `--set` overrides (`a.b.c=value`) and checks all rules.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a value out of range (with line and
    /// caret), an override does not fit, or keys contradict each other.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::parse(path, &document::read(path)?, overrides)
    }

    /// Reads a document from text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn parse(path: &Path, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let experiment: Self = document::parse(path, text, overrides, Kind::Experiment)?;
        experiment.check().map_err(|error| error.in_file(path))?;
        Ok(experiment)
    }

    /// Rules that tie several keys together.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems(check::experiment(self))
    }

    /// What is allowed but probably not meant; for the start of a run's log.
    pub fn warnings(&self) -> Vec<String> {
        check::experiment_warnings(self)
    }

    /// The resolved configuration, defaults included; loading it gives an equal value.
    ///
    /// # Panics
    /// If an integer was set in code above `i64::MAX`, which TOML cannot hold.
    pub fn to_toml(&self) -> String {
        document::render(self)
    }

    /// Short stable hash (16 hexadecimal digits of SHA-256) of [`Experiment::to_toml`].
    pub fn hash(&self) -> String {
        document::hash(&self.to_toml())
    }

    /// What a run that goes on must share with its beginning: all but where reward models elsewhere are and how they are
    /// asked.
    #[must_use]
    pub fn resumable(&self) -> Self {
        let mut same = self.clone();
        for model in same.models_mut() {
            *model = model.placeless();
        }
        same
    }

    /// Hash of [`Self::resumable`]; [`Self::hash`] where no reward model is elsewhere.
    pub fn identity(&self) -> String {
        self.resumable().hash()
    }

    /// Keys of reward models elsewhere that are asked otherwise than in `begun`, though they are the same models.
    pub fn moved_judges(&self, begun: &Self) -> Vec<String> {
        let rewards = self.rewards.iter().map(|reward| &reward.model);
        let begun_rewards = begun.rewards.iter().map(|reward| &reward.model);
        let metrics = self.evaluation.metrics.iter().map(|metric| &metric.model);
        let begun_metrics = begun.evaluation.metrics.iter().map(|metric| &metric.model);
        let rewards = rewards.zip(begun_rewards).enumerate();
        let metrics = metrics.zip(begun_metrics).enumerate();
        let named = |table: &'static str| {
            move |(index, (now, begun)): (usize, (&RewardModel, &RewardModel))| {
                let is_moved = now != begun && now.placeless() == begun.placeless();
                is_moved.then(|| format!("{table}.{index}.model.{}", now.name()))
            }
        };
        let rewards = rewards.filter_map(named("rewards"));
        rewards
            .chain(metrics.filter_map(named("evaluation.metrics")))
            .collect()
    }

    fn models_mut(&mut self) -> impl Iterator<Item = &mut RewardModel> {
        let rewards = self.rewards.iter_mut().map(|reward| &mut reward.model);
        let metrics = self
            .evaluation
            .metrics
            .iter_mut()
            .map(|metric| &mut metric.model);
        rewards.chain(metrics)
    }

    /// Text encoder of the emoji world's teacher, and the key that names it.
    pub fn text_encoder(&self) -> (&'static str, &Path) {
        match &self.teacher.text_encoder {
            Some(path) => ("teacher.text_encoder", path),
            None => ("assets.world_clip", &self.assets.world_clip),
        }
    }

    /// Every file the configuration names, with its key; the caller checks that they exist.
    ///
    /// Keys that start with `assets.` are needed by evaluation only, except that `assets.world_clip` may be the text encoder.
    pub fn referenced_files(&self) -> Vec<ReferencedFile> {
        let mut files = Vec::new();
        let mut named = |key: &str, path: Option<&PathBuf>| {
            files.extend(path.map(|path| ReferencedFile::new(key, path)));
        };
        if !self.teacher.is_on_hub() {
            named("teacher.weights", Some(&self.teacher.weights));
        }
        named("teacher.text_encoder", self.teacher.text_encoder.as_ref());
        named("teacher.vae", self.teacher.vae.as_ref());
        named("student.init", self.student.init.as_ref());
        named("fake_score.init", self.fake_score.init.as_ref());
        for (index, reward) in self.rewards.iter().enumerate() {
            for (field, path) in reward.model.files() {
                let key = format!("rewards.{index}.model.{}.{field}", reward.model.name());
                named(&key, Some(&path.to_owned()));
            }
        }
        match &self.world {
            World::Preset(_) => {
                let assets = &self.assets;
                named("assets.world_clip", Some(&assets.world_clip));
                named("assets.preference", Some(&assets.preference));
                named(
                    "assets.preference_heldout",
                    Some(&assets.preference_heldout),
                );
            }
            World::Prompts(prompts) => {
                for (set, paths) in [
                    ("train", &prompts.train),
                    ("validation", &prompts.validation),
                ] {
                    for (key, path) in paths.keyed(&format!("world.prompts.{set}")) {
                        named(&key, Some(&path.to_owned()));
                    }
                }
            }
            World::Classes(_) => {}
        }
        let Evaluation {
            metrics, diversity, ..
        } = &self.evaluation;
        let measured = metric::referenced_files("evaluation.", metrics, diversity.as_ref());
        files.extend(measured);
        files
    }
}

/// Endings of weight files, ours and those that are refused.
const FILES: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

impl Teacher {
    /// Whether `weights` names a repository of the hub: `owner/name`, and nothing of that name lies here. Names of
    /// repositories have dots (`stable-diffusion-xl-base-1.0`), so only the endings of weight files tell that one was meant.
    pub fn is_on_hub(&self) -> bool {
        let is_file = |ending: &OsStr| FILES.iter().any(|file| ending.eq_ignore_ascii_case(file));
        let parts: Vec<_> = self.weights.iter().collect();
        parts.len() == 2
            && self.weights.is_relative()
            && !self.weights.extension().is_some_and(is_file)
            && !self.weights.exists()
    }
}
