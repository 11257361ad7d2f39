//! Groups: several samples of the same prompt from the current student, scored and compared with each other.

use dmdr_config::Groups;
use dmdr_config::Transition;
use dmdr_diffusion::{
    loss,
    sampler::batch_time,
    transition::{self, log_prob},
};
use dmdr_models::Conditioning;
use dmdr_tensor::{Kind, Numbers, Tensor, no_grad_guard};

use super::Context;
use crate::MethodError;

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
    /// What is worth logging of the rewards.
    pub numbers: Numbers,
}

/// Runs the student down its grid and scores what it made of the first prompts of the batch.
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
        rewards,
        times,
        update,
        ..
    } = context;
    let (p, g) = (groups.num_prompts as i64, groups.size as i64);
    let noise = noise(p, g, &rollout.x_t, shares_noise);
    let prompts = rollout.prompts.groups(groups.num_prompts, groups.size);
    let cond = rollout.cond.narrow(0, p).repeat(g);

    let mut states = vec![noise.shallow_clone()];
    let mut log_probs = Vec::new();
    let mut x0 = noise.shallow_clone();
    for (step, pair) in times.windows(2).enumerate() {
        let (t, next) = (pair[0], pair[1]);
        let x = &states[step];
        x0 = student.x0(x, &batch_time(x, t), &cond);
        if next > 0.0 {
            let (mean, std) = transition::law(transition, x, &x0, t, next);
            let sample = &mean + mean.randn_like() * std;
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
    if let Some(present) = &present {
        let num_present = present.sum(Kind::Float);
        numbers.keep("rl/left_out", &(num_present * -1.0 + (p * g) as f64));
    }
    Ok(Group {
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
fn noise(p: i64, g: i64, x: &Tensor, is_shared: bool) -> Tensor {
    let image = &x.size()[1..];
    let options = (Kind::Float, x.device());
    if is_shared {
        Tensor::randn([&[p], image].concat(), options).repeat_interleave_self_int(g, 0, None)
    } else {
        Tensor::randn([&[p * g], image].concat(), options)
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
    /// all are left out, with a gradient of 0.
    pub(super) fn mean(&self, of_samples: &Tensor) -> Tensor {
        let Some(present) = &self.present else {
            return of_samples.mean(Kind::Float);
        };
        let present = present.reshape([-1]);
        (of_samples * &present).sum(Kind::Float) / present.sum(Kind::Float).clamp_min(1.0)
    }
}
