//! The second stage on the emoji world: from one cold-started student, distillation and reinforcement learning, apart
//! and together. Table 5, Table 6 and Fig. 10 look at the same runs.

use dmdr_config::{Dpo, Groups};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::arm::{Arm, GROUPS, KL, PRETRAINING, REFRESH_EVERY, Rl};
use crate::report::Effort;
use crate::{
    LabError,
    emoji::{self, Emoji, EmojiOutcome, cold_start},
    study::Metrics,
    tuning::{Candidate, Criterion, Tuning, tune},
    units::{Units, share},
};

/// The network that all students come from.
pub(super) const TEACHER: &str = "teacher, 50 evaluations";
/// The student that all arms start from.
pub(super) const INIT: &str = "cold start";
/// Updates of the cold start, and of every arm after it.
const COLD: u64 = 20;
const UPDATES: u64 = 300;
/// Checkpoints of every arm.
const POINTS: u64 = 5;

/// Arms whose students are looked at on their way, for Fig. 10: ReFL, whose gradient hacks a reward fastest.
pub(super) const WATCHED: [Arm; 2] = [Arm::Only(Rl::Refl), Arm::Both(Rl::Refl)];

/// Two training seeds, as one moves an arm by as much as its settings do.
static UNTRAINED: Criterion = Criterion::untrained(&[0, 1]);

/// Runs arms.
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
            (COLD, UPDATES, 180)
        };
        base.events.checkpoint_every = updates.div_ceil(POINTS);
        base.events.keep_checkpoints = 1;
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

    /// What the studies say of it.
    pub(super) fn setup(&self) -> String {
        let Self { cold, updates, .. } = self;
        let Groups { num_prompts, size } = GROUPS;
        let beta = Dpo::default().beta;
        format!(
            r#"On the emoji world. Every arm starts from one student a seed, after {cold} updates of cold start.
At that point distillation still has something to give. Then every arm has the same {updates} updates
on the same batches. Arms with distribution matching have one fake-score update to each.

"Only" arms have the regulariser of their authors instead of distribution matching:

| arm | regulariser |
|---|---|
| ReFL only | pretraining loss on true images, weight {PRETRAINING} |
| DPO only | frozen reference, beta {beta} |
| GRPO only | KL to the frozen reference, weight {KL} |

Beside distribution matching, DPO's reference is taken anew every {REFRESH_EVERY} updates. The
reward term's weight lambda is {} for ReFL, {} for DPO and {} for GRPO.

Rewards are World-CLIP and the preference model. ReFL has weights of 3 and .3, which make their
gradients alike. DPO and GRPO compare {size} samples of each of {num_prompts} prompts an update. They
normalise each reward in its group and have weights of 1 and 1. No arm is trained on the held-out
preference model.

These weights were set before, by trials on validation prompts. The trials were not equally many for
all arms ([log](../log/README.md)). Each arm chose its learning rate between two, in the mean of two
training seeds (below). Students make 4 network evaluations an image; prompts are test prompts."#,
            Rl::Refl.lambda(),
            Rl::Dpo.lambda(),
            Rl::Grpo.lambda(),
        )
    }

    /// The outcomes of all of `arms`, seed by seed, made together with other processes that do the same.
    pub(super) fn outcomes(
        &mut self,
        arms: &[Arm],
        seeds: &[u64],
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Vec<EmojiOutcome>>, LabError> {
        self.tunings(arms, say)?;
        let pairs: Vec<(u64, Arm)> = seeds
            .iter()
            .flat_map(|seed| arms.iter().map(|arm| (*seed, *arm)))
            .collect();
        let outcomes = share(&pairs, |&(seed, arm)| self.outcome(arm, seed, say))?;
        Ok(outcomes.chunks(arms.len()).map(<[_]>::to_vec).collect())
    }

    /// How the settings of all of `arms` were chosen.
    pub(super) fn tunings(
        &mut self,
        arms: &[Arm],
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Tuning>, LabError> {
        share(arms, |&arm| self.tuning(arm, say))
    }

    /// The student that the arms of a seed start from.
    ///
    /// # Errors
    /// [`LabError::Busy`] if another process is at it.
    pub(super) fn init(
        &mut self,
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) -> Result<EmojiOutcome, LabError> {
        let experiment = cold_start(&self.emoji.base, self.cold);
        self.emoji.arm(INIT, seed, experiment, say)
    }

    /// The outcome of an arm with a seed; the cold start that it needs is run first, and so are its candidates.
    ///
    /// # Errors
    /// [`LabError::Busy`] if another process is at something that it needs.
    fn outcome(
        &mut self,
        arm: Arm,
        seed: u64,
        say: &mut dyn FnMut(&str),
    ) -> Result<EmojiOutcome, LabError> {
        let rate = arm.rates()[self.tuning(arm, say)?.chosen()];
        let init = self.init(seed, say)?.run;
        let mut experiment = arm.experiment(&self.emoji.base, &init, self.updates, rate);
        if WATCHED.contains(&arm) {
            experiment.events.keep_checkpoints = POINTS as usize; // they are looked at on the way
        }
        self.emoji.arm(arm.name(), seed, experiment, say)
    }

    /// How the settings of an arm were chosen.
    ///
    /// # Errors
    /// As for [`Self::outcome`].
    fn tuning(&mut self, arm: Arm, say: &mut dyn FnMut(&str)) -> Result<Tuning, LabError> {
        let mut inits = Vec::new();
        for &seed in UNTRAINED.seeds {
            inits.push(self.init(seed, say)?.run);
        }
        let from = |init, lr| arm.experiment(&self.emoji.base, init, self.updates, lr);
        let candidates = arm
            .rates()
            .into_iter()
            .map(|lr| Candidate {
                settings: format!("rate {lr:e}"),
                experiments: inits.iter().map(|init| from(init, lr)).collect(),
            })
            .collect();
        tune(&mut self.emoji, arm.name(), &UNTRAINED, candidates, say)
    }

    /// The student of an arm of Fig. 10 at its checkpoints, without start and end.
    pub(super) fn way(
        &mut self,
        arm: Arm,
        seed: u64,
        outcome: &EmojiOutcome,
    ) -> Result<Vec<Metrics>, LabError> {
        let every = self.emoji.base.events.checkpoint_every;
        let updates: Vec<u64> = (1..POINTS)
            .map(|index| index * every)
            .take_while(|update| *update < self.updates)
            .collect();
        share(&updates, |&update| {
            self.emoji.checkpoint(arm.name(), seed, outcome, update)
        })
    }

    /// The teacher on the same prompts and noise, for every seed.
    pub(super) fn teachers(
        &mut self,
        seeds: &[u64],
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Metrics>, LabError> {
        share(seeds, |&seed| {
            let init = self.init(seed, say)?;
            self.emoji.teacher(&init)
        })
    }
}
