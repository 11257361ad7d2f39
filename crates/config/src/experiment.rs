//! [`Experiment`]: what `dmdr train` runs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpointing::Checkpointing;
use crate::device::Device;
use crate::events::{Evaluation, Events};
use crate::guard::Guard;
use crate::memory::Memory;
use crate::method::Method;
use crate::net::NetSpec;
use crate::networks::{FakeScore, Student, Teacher};
use crate::optimizer::{Ema, Optim};
use crate::precision::Precision;
use crate::pretrain::KindShares;
use crate::recipe::Setup;
use crate::referenced::ReferencedFile;
use crate::reward::{Reward, RewardModel};
use crate::world::World;
use crate::{metric, range};

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
    /// Batches of `batch_size` that one update takes together, as if they were one: `num_prompts` of groups and the spread over
    /// the student's steps grow with it, activations do not.
    #[serde(
        default = "one",
        deserialize_with = "range::accumulate",
        skip_serializing_if = "is_one"
    )]
    pub accumulate: usize,
    /// Whether the blocks of the denoising networks, or which share of them, compute their activations again for the gradient
    /// instead of keeping them: for all of them a third more work, in a fraction of the memory.
    #[serde(default, skip_serializing_if = "Checkpointing::is_off")]
    pub gradient_checkpointing: Checkpointing,
    /// How and where weights wait between their uses.
    #[serde(default, skip_serializing_if = "Memory::is_plain")]
    pub memory: Memory,
    /// Source of prompts and ground truth.
    #[serde(default)]
    pub world: World,
    /// How often each kind of prompt is trained on.
    #[serde(default)]
    pub kinds: KindShares,
    /// The model that is distilled; also what real score and fake score start from.
    #[serde(default)]
    pub teacher: Teacher,
    /// What is made of it: a network of few steps.
    #[serde(default)]
    pub student: Student,
    /// The fake score: it tracks the student's distribution.
    #[serde(default)]
    pub fake_score: FakeScore,
    /// What is optimised.
    pub method: Method,
    /// Rewards of the reinforcement learning term; empty without one.
    #[serde(default)]
    pub rewards: Vec<Reward>,
    /// An optimiser for each network that is trained.
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

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(count: &usize) -> bool {
    *count == 1
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

impl Default for Assets {
    fn default() -> Self {
        Self {
            world_clip: "assets/world-clip.safetensors".into(),
            preference: "assets/preference.safetensors".into(),
            preference_heldout: "assets/preference-heldout.safetensors".into(),
        }
    }
}

impl Experiment {
    /// What a run that goes on must share with its beginning: all but where reward models elsewhere are and how they are
    /// asked, `accumulate`, which goes with the number of processes, where weights wait, and what is computed again.
    #[must_use]
    pub fn resumable(&self) -> Self {
        let mut same = self.clone();
        same.accumulate = 1;
        same.gradient_checkpointing = Checkpointing::default();
        same.memory = same.memory.of_bits();
        for model in same.models_mut() {
            *model = model.placeless();
        }
        same
    }

    /// The same, computed as `first` is: processes that train together divide a batch, compute blocks again and keep weights
    /// alike, though no number hangs on it.
    #[must_use]
    pub fn computed_like(&self, first: &Self) -> Self {
        Self {
            accumulate: first.accumulate,
            gradient_checkpointing: first.gradient_checkpointing,
            memory: Memory {
                base_in_8_bits: self.memory.base_in_8_bits,
                ..first.memory
            },
            ..self.clone()
        }
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

    /// What its method shares with others.
    pub fn setup(&self) -> Setup<'_> {
        Setup {
            student: &self.student,
            fake_score: &self.fake_score,
            rewards: &self.rewards,
            optim: &self.optim,
            ema: self.ema,
            world: &self.world,
        }
    }

    /// The networks that its method has beside the teacher.
    pub fn nets(&self) -> Vec<NetSpec> {
        self.method.recipe().nets(&self.setup())
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
