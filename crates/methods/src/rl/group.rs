//! Groups: several samples of the same prompt from the current student, scored and compared with each other.

use dmdr_config::Groups;
use dmdr_config::Transition;
use dmdr_diffusion::{
    loss,
    sampler::batch_time,
    transition::{self, log_prob},
};
use dmdr_models::Conditioning;
use dmdr_tensor::{Kind, Numbers, Ranks, Tensor, TensorError, no_grad_guard, phase};

use super::{Context, pairs};
use crate::{MethodError, Share};

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

/// Runs the student down its grid and scores what it made of the first prompts of the batch; of those it takes what is of the
/// context's share.
///
/// Every reward is normalised by itself, so that none rules by its scale. A sample that a reward left out is none of its
/// group: the others are compared as if it had not been drawn.
///
/// With noise of its own a sample's reward depends on something that no transition probability answers for; noise that a
/// prompt's samples share keeps that out of the advantages (DanceGRPO, arXiv 2505.07818).
///
/// # Errors
/// If a reward cannot be computed.
pub fn sample_group(
    context: &Context<'_>,
    transition: Transition,
    groups: Groups,
    shares_noise: bool,
) -> Result<Group, MethodError> {
    let _guard = no_grad_guard();
    let Context {
        student,
        rollout,
        share,
        rewards,
        times,
        update,
        ..
    } = context;
    let rows = share.rows(groups.num_prompts);
    let (p, g) = (rows.len() as i64, groups.size as i64);
    let noise = noise(*share, p, g, &rollout.x_t, shares_noise);
    let cond = rollout.cond.narrow(rows.start as i64, p).repeat(g);
    let prompts = rollout.prompts.rows(rows);
    let prompts = prompts.groups(prompts.len(), groups.size);

    let mut states = vec![noise.shallow_clone()];
    let mut log_probs = Vec::new();
    let mut x0 = noise.shallow_clone();
    for (step, pair) in times.windows(2).enumerate() {
        let (t, next) = (pair[0], pair[1]);
        let x = &states[step];
        x0 = phase("rollout", || student.x0(x, &batch_time(x, t), &cond));
        if next > 0.0 {
            let (mean, std) = transition::law(transition, x, &x0, t, next);
            let sample = &mean + share.randn_groups_like(&mean, g) * std;
            log_probs.push(log_prob(&sample, &mean, std));
            states.push(sample);
        }
    }

    let mixed = rewards.score(&x0, &prompts, *update)?;
    let mut numbers = mixed.numbers;
    let present = mixed
        .present
        .map(|present| comparable(&present.reshape([p, g])));
    let mut advantages = Tensor::zeros([p, g], (Kind::Float, x0.device()));
    for (weight, reward) in &mixed.parts {
        let reward = reward.reshape([p, g]);
        let of_reward = match &present {
            None => loss::advantages(&reward),
            Some(present) => loss::advantages_of_present(&reward, present),
        };
        advantages += of_reward * *weight;
    }
    let total = mixed.total.reshape([p, g]);
    let spread = match &present {
        None => total.std_dim(&[1i64][..], false, false).mean(Kind::Float),
        Some(present) => spread(&total, present),
    };
    numbers.keep("rl/group_std", &spread);
    if rewards.may_leave_out() {
        let num_present = match &present {
            None => Tensor::from((p * g) as f32),
            Some(present) => present.sum(Kind::Float),
        };
        numbers.count_if_any("rl/left_out", &(num_present * -1.0 + (p * g) as f64));
    }
    Ok(Group {
        counted: Counted::of(*share, &advantages, present.as_ref()),
        cond,
        states,
        log_probs,
        x0,
        advantages,
        present,
        numbers,
    })
}

/// What `p` groups of `g` samples like `x [B, C, H, W]` start from, `[p g, C, H, W]`.
fn noise(share: Share, p: i64, g: i64, x: &Tensor, is_shared: bool) -> Tensor {
    let image = &x.size()[1..];
    let zeros = |rows: i64| Tensor::zeros([&[rows], image].concat(), (Kind::Float, x.device()));
    if is_shared {
        let noise = share.randn_like(&zeros(p));
        noise.repeat_interleave_self_int(g, 0, None)
    } else {
        share.randn_groups_like(&zeros(p * g), g)
    }
}

/// `present [P, G]` without the only samples of their groups.
fn comparable(present: &Tensor) -> Tensor {
    let count = present.sum_dim_intlist(&[1i64][..], true, Kind::Float);
    present * count.ge(2.0).to_kind(Kind::Float)
}

/// Standard deviation of `rewards [P, G]` over the present ones of a group, averaged over the groups that have some.
fn spread(rewards: &Tensor, present: &Tensor) -> Tensor {
    let sum = |x: &Tensor| x.sum_dim_intlist(&[1i64][..], true, Kind::Float);
    let num = sum(present);
    let count = num.clamp_min(1.0);
    let centred = (rewards - sum(&(rewards * present)) / &count) * present;
    let std = (sum(&centred.square()) / count).sqrt();
    let num_groups = num.gt(0.0).sum(Kind::Float).clamp_min(1.0);
    std.sum(Kind::Float) / num_groups
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
