//! Every default value of the configuration. What has none here must be written in the file.

use crate::curve::Curve;
use crate::events::{Evaluation, Events};
use crate::experiment::{Assets, FakeForm, FakeScore, Lora, LoraInit, Student, Teacher, Tuning};
use crate::method::{Augmentation, DistributionMatching, Dmdr, Score};
use crate::pretrain::{KindShares, Prediction, PreferenceModel, TeacherModel, WorldClipModel};
use crate::rl::{
    Dpo, Groups, Grpo, ReinforcementLearning, RlAlgorithm, RlOnly, StepWeighting, Transition,
};
use crate::time::TimeDistribution;

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

/// Plain DMD: no dynamic guidance, uniform renoise, no reinforcement learning.
impl Default for Dmdr {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            ttur: 3,
            dm: DistributionMatching::default(),
            score: Score::default(),
            rl: None,
        }
    }
}

impl Default for DistributionMatching {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            real_scale: Curve::Constant(0.0),
            renoise: TimeDistribution::Uniform,
            normalize: true,
            guidance: None,
            augmentation: None,
        }
    }
}

/// The hybrid that works best in the Decoupled DMD paper.
impl Default for Augmentation {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            renoise: TimeDistribution::Uniform,
            below_input: true,
        }
    }
}

impl Default for ReinforcementLearning {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            algorithm: RlAlgorithm::Refl,
        }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            num_prompts: 4,
            size: 8,
        }
    }
}

/// `beta` as in Flow-GRPO's online DPO.
impl Default for Dpo {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            beta: 100.0,
            refresh_every: 0,
        }
    }
}

/// Inside DMDR: no KL, distribution matching is the regulariser.
impl Default for Grpo {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            transition: Transition::CoefficientPreserving(0.9),
            shared_noise: true,
            step_weighting: StepWeighting::Variance,
            max_advantage: 5.0,
            clip: 1e-4,
            kl: 0.0,
            num_train_steps: 0,
            num_inner_updates: 1,
        }
    }
}

impl Default for RlOnly {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            algorithm: RlAlgorithm::Refl,
            pretraining: Curve::Constant(0.0),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            log_every: 1,
            sample_every: 0,
            evaluate_every: 0,
            checkpoint_every: 0,
            keep_checkpoints: 2,
            num_sample_prompts: 16,
        }
    }
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            num_prompts: 60,
            num_seeds: 2,
            detectors: Vec::new(),
            metrics: Vec::new(),
            diversity: None,
        }
    }
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

/// PyTorch's `AdamW`.
pub(crate) fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

/// PyTorch's `AdamW`.
pub(crate) fn eps() -> f64 {
    1e-8
}

pub(crate) fn weight_decay() -> f64 {
    0.0
}

pub(crate) fn clip_norm() -> f64 {
    1.0
}

pub(crate) fn remote_name() -> String {
    "remote".to_owned()
}

pub(crate) fn remote_timeout() -> u64 {
    120
}

pub(crate) fn vlm_name() -> String {
    "vlm".to_owned()
}

pub(crate) fn vlm_attempts() -> u64 {
    5
}

pub(crate) fn vlm_max_tokens() -> u64 {
    16
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
pub(crate) fn is_vlm_max_tokens(tokens: &u64) -> bool {
    *tokens == vlm_max_tokens()
}

pub(crate) fn reward_weight() -> Curve {
    Curve::Constant(1.0)
}

pub(crate) fn table_seeds() -> Vec<u64> {
    vec![0]
}

pub(crate) fn table_batch_size() -> usize {
    8
}

pub(crate) fn diversity_size() -> usize {
    256
}

pub(crate) fn prompt_column() -> String {
    "prompt".to_owned()
}
