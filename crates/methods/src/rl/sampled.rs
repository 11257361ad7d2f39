//! Samples of prompts whose scores are being made: a judge that is elsewhere reads one part while the next is sampled.

use dmdr_config::{Groups, Transition};
use dmdr_diffusion::{
    loss,
    sampler::batch_time,
    transition::{self, log_prob},
};
use dmdr_models::Conditioning;
use dmdr_rewards::{Begun, RewardMix};
use dmdr_tensor::{Kind, Tensor, no_grad_guard, phase};

use super::{Context, Counted, Group};
use crate::{MethodError, Share};

/// A [`Group`] without its scores.
#[derive(Debug)]
pub struct Sampled {
    share: Share,
    /// `P` and `G`.
    shape: [i64; 2],
    cond: Conditioning,
    states: Vec<Tensor>,
    log_probs: Vec<Tensor>,
    x0: Tensor,
    begun: Begun,
}

/// Runs the student down its grid and begins to score what it made of the first prompts of the batch; of those it takes what is
/// of the context's share.
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
) -> Result<Sampled, MethodError> {
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
    Ok(Sampled {
        begun: rewards.begin(&x0, &prompts, *update)?,
        share: *share,
        shape: [p, g],
        cond,
        states,
        log_probs,
        x0,
    })
}

impl Sampled {
    /// The group with its scores, by the rewards that were begun with.
    ///
    /// Every reward is normalised by itself, so that none rules by its scale. A sample that a reward left out is none of its
    /// group: the others are compared as if it had not been drawn.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    pub fn scored(self, rewards: &RewardMix) -> Result<Group, MethodError> {
        let _guard = no_grad_guard();
        let [p, g] = self.shape;
        let mixed = rewards.finish(self.begun)?;
        let mut numbers = mixed.numbers;
        let present = mixed
            .present
            .map(|present| comparable(&present.reshape([p, g])));
        let mut advantages = Tensor::zeros([p, g], (Kind::Float, self.x0.device()));
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
            counted: Counted::of(self.share, &advantages, present.as_ref()),
            cond: self.cond,
            states: self.states,
            log_probs: self.log_probs,
            x0: self.x0,
            advantages,
            present,
            numbers,
        })
    }
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
