//! Groups: several samples of the same prompt from the current student, scored and compared with each other.

use dmdr_models::Conditioning;
use dmdr_tensor::{Kind, Numbers, Ranks, Tensor, TensorError};

use super::pairs;
use crate::Share;

/// `P` prompts with `G` samples each, `B = P G`; the samples of a prompt follow each other.
#[derive(Debug)]
pub struct Group {
    /// Encoded prompts, `[B, ..]`.
    pub cond: Conditioning,
    /// Sampler states at the grid times but the last: `[B, C, H, W]` each.
    pub states: Vec<Tensor>,
    /// `log p(states[i + 1] | states[i])` under the student that sampled, `[B]` each.
    pub log_probs: Vec<Tensor>,
    /// The last prediction, `[B, C, H, W]`.
    pub x0: Tensor,
    /// Rewards normalised within the group, then weighted and added: `[P, G]`.
    pub advantages: Tensor,
    /// 1 for samples with rewards, 0 for those without and for the only one of its group, which has nothing to be compared
    /// with (`[P, G]`, f32). None where all have rewards.
    pub present: Option<Tensor>,
    /// What means are taken over.
    pub counted: Counted,
    /// What is worth logging of the rewards.
    pub numbers: Numbers,
}

/// What counts in the means over a group. A part of a batch divides by the average of all parts, so that the mean over parts is
/// that over the batch.
#[derive(Debug)]
pub struct Counted {
    /// Which part of the batch it is.
    pub share: Share,
    /// How many samples have rewards, a scalar; none where all have.
    present: Option<Tensor>,
    /// How many prompts have a best and a worst sample, a scalar.
    valid: Tensor,
}

impl Counted {
    /// Of `advantages [P, G]`, of which those count that are 1 in `present [P, G]` where that is given.
    pub fn of(share: Share, advantages: &Tensor, present: Option<&Tensor>) -> Self {
        Self {
            share,
            present: present.map(|present| present.sum(Kind::Float)),
            valid: pairs(advantages, present).valid.sum(Kind::Float),
        }
    }

    /// As all processes divide, if samples of `size` may be left out in some.
    ///
    /// # Errors
    /// A process that is gone or hangs.
    pub(super) fn over(
        &mut self,
        ranks: Ranks,
        size: i64,
        may_leave_out: bool,
    ) -> Result<(), TensorError> {
        if ranks == Ranks::ALONE {
            return Ok(());
        }
        let all = || Tensor::full_like(&self.valid, size as f64);
        let present = self.present.as_ref();
        let present = present.map_or_else(all, Tensor::shallow_clone);
        let mut counts = [Tensor::stack(&[&present, &self.valid], 0)];
        ranks.mean(&mut counts)?;
        self.present = may_leave_out.then(|| counts[0].get(0));
        self.valid = counts[0].get(1);
        Ok(())
    }

    /// As part `share` of so many divides.
    fn part(&self, share: Share, parts: f64) -> Self {
        Self {
            share,
            present: self.present.as_ref().map(|count| count / parts),
            valid: &self.valid / parts,
        }
    }

    /// A count that something is divided by: at least 1 in the whole batch.
    fn at_least(&self, count: &Tensor) -> Tensor {
        count.clamp_min(1.0 / self.share.num_shares() as f64)
    }
}

impl Group {
    /// The mean of numbers of samples, `[B]`, over those with rewards: what is left out neither counts nor dilutes. 0 where
    /// all are left out, with a gradient of 0. The mean over parts is that over the whole batch.
    pub(super) fn mean(&self, of_samples: &Tensor) -> Tensor {
        let Some(count) = &self.counted.present else {
            return of_samples.mean(Kind::Float);
        };
        let present = self.present.as_ref();
        let there = present.map_or_else(
            || of_samples.shallow_clone(),
            |present| of_samples * present.reshape([-1]),
        );
        there.sum(Kind::Float) / self.counted.at_least(count)
    }

    /// The mean of numbers of groups, `[P]`, over those whose `valid [P]` is 1, as in [`Self::mean`].
    pub(super) fn mean_of_valid(&self, of_groups: &Tensor, valid: &Tensor) -> Tensor {
        (of_groups * valid).sum(Kind::Float) / self.counted.at_least(&self.counted.valid)
    }

    /// One group from those of its parts.
    ///
    /// # Panics
    /// Without any part.
    pub(super) fn of_parts(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let cat = |of: &dyn Fn(&Self) -> &Tensor| {
            Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0)
        };
        let steps = |of: fn(&Self) -> &Vec<Tensor>| {
            let num_steps = of(&parts[0]).len();
            (0..num_steps)
                .map(|step| cat(&|part| &of(part)[step]))
                .collect()
        };
        let conds = parts[1..].iter().map(|part| &part.cond);
        let cond = conds.fold(parts[0].cond.clone(), |all, cond| all.concat(cond));
        // Where one part lacks a sample, all of another's are there.
        let is_complete = parts.iter().all(|part| part.present.is_none());
        let present = (!is_complete).then(|| {
            let of_part = |part: &Self| {
                let present = part.present.as_ref().map(Tensor::shallow_clone);
                present.unwrap_or_else(|| part.advantages.ones_like())
            };
            Tensor::cat(&parts.iter().map(of_part).collect::<Vec<_>>(), 0)
        });
        let advantages = cat(&|part| &part.advantages);
        let process = parts[0].counted.share.process();
        Self {
            cond,
            states: steps(|part| &part.states),
            log_probs: steps(|part| &part.log_probs),
            x0: cat(&|part| &part.x0),
            counted: Counted::of(process, &advantages, present.as_ref()),
            advantages,
            present,
            numbers: Numbers::of_parts(parts.into_iter().map(|part| part.numbers).collect()),
        }
    }

    /// Part `share` of it.
    ///
    /// # Panics
    /// If its groups cannot be divided evenly.
    #[must_use]
    pub fn part(&self, share: Share) -> Self {
        let (p, g) = self.advantages.size2().expect("[P, G]");
        let rows = share.rows(p as usize);
        let parts = (p as usize / rows.len()) as f64;
        let (start, len) = (rows.start as i64 * g, rows.len() as i64 * g);
        let narrow = |x: &Tensor| x.narrow(0, start, len);
        Self {
            cond: self.cond.narrow(start, len),
            states: self.states.iter().map(narrow).collect(),
            log_probs: self.log_probs.iter().map(narrow).collect(),
            x0: narrow(&self.x0),
            advantages: share.of(&self.advantages),
            present: self.present.as_ref().map(|present| share.of(present)),
            counted: self.counted.part(share, parts),
            numbers: Numbers::default(),
        }
    }
}
