//! The second stage on the emoji world: from one cold-started student, distillation and reinforcement learning, apart
//! and together. Table 5, Table 6 and Fig. 10 look at the same runs.

use dmdr_config::{Dpo, Groups, Grpo, RlAlgorithm};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::Effort;
use crate::{
    LabError,
    emoji::{self, Emoji, EmojiOutcome, cold_start, joint, rl_only},
    study::Metrics,
    units::Units,
};

/// The student that all arms start from.
pub(super) const INIT: &str = "cold start";
/// Distribution matching goes on.
pub(super) const DISTIL: &str = "distil only";
/// Algorithm alone, with distillation.
pub(super) const PAIRS: [(&str, &str); 3] = [
    ("ReFL only", "distil + ReFL"),
    ("DPO only", "distil + DPO"),
    ("GRPO only", "distil + GRPO"),
];
/// What the studies say of it.
pub(super) const SETUP: &str = "On the emoji world: from one cold-started student a seed, every arm has the same number of \
    updates on the same batches. \"Only\" arms have their authors' regulariser instead of distribution matching: ReFL a \
    pretraining loss on true images, DPO its frozen reference, GRPO a KL to that reference. Rewards are World-CLIP and the \
    preference model; no arm is trained on the held-out preference model. 4 network evaluations an image, test prompts.";

/// Updates of the cold start, and of every arm after it.
const COLD: u64 = 160;
const UPDATES: u64 = 150;
const GROUPS: Groups = Groups {
    num_prompts: 4,
    size: 6,
};
/// Weight of the reinforcement learning term beside distribution matching.
const RL_WEIGHT: f64 = 0.3;
/// Weight of the pretraining loss that regularises `ReFL` when it is alone.
const PRETRAINING: f64 = 1.0;
/// Weight of the KL that regularises GRPO when it is alone.
const KL: f64 = 0.04;

/// Runs arms by name.
pub(super) struct JointStage<'a> {
    emoji: Emoji<'a>,
    cold: u64,
    updates: u64,
}

impl<'a> JointStage<'a> {
    pub(super) fn new(
        units: &'a Units,
        effort: Effort,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, LabError> {
        let mut base = emoji::base()?;
        let (cold, updates, num_prompts) = if effort.is_quick {
            (2, 2, 6)
        } else {
            (COLD, UPDATES, 120)
        };
        // Fig. 10 looks at the students on their way.
        base.events.checkpoint_every = updates.div_ceil(6);
        base.events.keep_checkpoints = 6;
        let set = EvalSet {
            split: Split::Test,
            num_prompts,
            seeds: vec![0, 1, 2],
        };
        Ok(Self {
            emoji: Emoji {
                units,
                base,
                set,
                observer,
            },
            cold,
            updates,
        })
    }

    /// The outcome of an arm with a seed; the cold start it needs is run first.
    pub(super) fn outcome(
        &mut self,
        arm: &str,
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) -> Result<EmojiOutcome, LabError> {
        let experiment = if arm == INIT {
            cold_start(&self.emoji.base, self.cold)
        } else {
            let init = self.outcome(INIT, seed, say)?.run;
            let base = &self.emoji.base;
            let updates = self.updates;
            let (only, both) = (
                PAIRS.iter().position(|(only, _)| *only == arm),
                PAIRS.iter().position(|(_, both)| *both == arm),
            );
            match (only, both) {
                (Some(index), _) => {
                    let algorithm = algorithm(index, KL);
                    let pretraining = if algorithm == RlAlgorithm::Refl {
                        PRETRAINING
                    } else {
                        0.0
                    };
                    rl_only(base, &init, updates, algorithm, pretraining)
                }
                (_, Some(index)) => {
                    let rl = (RL_WEIGHT, algorithm(index, 0.0));
                    joint(base, &init, updates, Some(rl))
                }
                _ => joint(base, &init, updates, None),
            }
        };
        say(&format!("{arm}, seed {seed}"));
        self.emoji.arm(arm, seed, experiment)
    }

    /// The student of an arm at `count` evenly spaced points of its training, without start and end.
    pub(super) fn way(
        &mut self,
        arm: &str,
        seed: u64,
        outcome: &EmojiOutcome,
        count: u64,
    ) -> Result<Vec<Metrics>, LabError> {
        let every = self.emoji.base.events.checkpoint_every;
        let checkpoints = (1..).map(|index| index * every);
        checkpoints
            .take_while(|update| *update < self.updates)
            .take(count as usize)
            .map(|update| self.emoji.checkpoint(arm, seed, outcome, update))
            .collect()
    }

    /// The teacher on the same prompts and noise.
    pub(super) fn teacher(
        &mut self,
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) -> Result<Metrics, LabError> {
        let init = self.outcome(INIT, seed, say)?;
        self.emoji.teacher(&init)
    }
}

fn algorithm(index: usize, kl: f64) -> RlAlgorithm {
    match index {
        0 => RlAlgorithm::Refl,
        1 => RlAlgorithm::Dpo(Dpo {
            groups: GROUPS,
            ..Dpo::default()
        }),
        _ => RlAlgorithm::Grpo(Grpo {
            groups: GROUPS,
            kl,
            ..Grpo::default()
        }),
    }
}
