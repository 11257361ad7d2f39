//! Every default value of the configuration. What has none here must be written in the file.

use crate::curve::Curve;
use crate::events::{Evaluation, Events};
use crate::experiment::Assets;
use crate::pretrain::{KindShares, Prediction, PreferenceModel, TeacherModel, WorldClipModel};
use crate::time::TimeDistribution;

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
