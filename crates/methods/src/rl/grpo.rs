//! GRPO (arXiv 2402.03300, on flow models 2505.05470) of a few-step sampler with exact transition probabilities.

use dmdr_config::{Grpo, StepWeighting, Transition};
use dmdr_diffusion::{
    loss,
    sampler::batch_time,
    transition::{self, log_prob},
};
use dmdr_models::View;
use dmdr_tensor::{Kind, Numbers, Tensor, no_grad_guard, phase};

use super::{Algorithm, Context, Group, RlLoss, Sampled, sample_group};
use crate::MethodError;

impl Algorithm for Grpo {
    fn sample(&self, context: &Context<'_>) -> Result<Option<Sampled>, MethodError> {
        let (transition, is_shared) = (self.transition, self.shared_noise);
        sample_group(context, transition, self.groups, is_shared).map(Some)
    }

    fn num_inner_updates(&self) -> usize {
        self.num_inner_updates
    }

    fn loss(
        &self,
        context: &Context<'_>,
        _: &Tensor,
        group: Option<&Group>,
    ) -> Result<RlLoss, MethodError> {
        let group = group.expect("`sample` gave one");
        let (student, reference) = (&context.student, context.reference.as_ref());
        let (times, transition) = (context.times, self.transition);
        Ok(grpo(student, reference, times, transition, group, self))
    }
}

/// The clipped surrogate, averaged over the trained transitions of `group` with the weights of `config`, plus `kl` times
/// the divergence from `reference` where one is given. Both are means over the samples with rewards.
pub fn grpo(
    student: &View<'_>,
    reference: Option<&View<'_>>,
    times: &[f64],
    transition: Transition,
    group: &Group,
    config: &Grpo,
) -> RlLoss {
    let advantage = group
        .advantages
        .clamp(-config.max_advantage, config.max_advantage)
        .reshape([-1]);
    let steps = trained_steps(group.log_probs.len(), config.num_train_steps);
    let weights = step_weights(config.step_weighting, transition, times);
    let mut total = Tensor::zeros([1], (Kind::Float, advantage.device())).squeeze();
    let zero = || Tensor::zeros([0i64; 0], (Kind::Double, advantage.device()));
    let (mut ratios, mut divergences) = (zero(), zero());
    for &step in &steps {
        let (x, t, next) = (&group.states[step], times[step], times[step + 1]);
        let time = batch_time(x, t);
        let law = |view: &View<'_>| {
            let x0 = phase("generator", || view.x0(x, &time, &group.cond));
            transition::law(transition, x, &x0, t, next)
        };
        let (mean, std) = law(student);
        let log_ratio = log_prob(&group.states[step + 1], &mean, std) - &group.log_probs[step];
        let ratio = log_ratio.detach().exp().mean(Kind::Float);
        ratios += ratio.to_kind(Kind::Double);
        let surrogate = group.mean(&loss::grpo(&log_ratio, &advantage, config.clip));
        let mut loss = surrogate * weights[step];
        if let Some(reference) = reference {
            let anchor = {
                let _guard = no_grad_guard();
                law(reference).0
            };
            let kl = group.mean(&loss::gaussian_kl(&mean, &anchor, std));
            divergences += kl.detach().to_kind(Kind::Double);
            loss += kl * config.kl;
        }
        total += loss;
    }
    let count = steps.len() as f64;
    let mut numbers = Numbers::default();
    numbers.keep("rl/ratio", &(ratios / count));
    if reference.is_some() {
        numbers.keep("rl/kl", &(divergences / count));
    }
    RlLoss {
        loss: total / count,
        numbers,
    }
}

/// Of the stochastic steps on the grid `times`; their mean is 1.
///
/// The gradient of a log-probability grows as 1 / std. What a step's noise can do to the image shrinks with std. So
/// unweighted the last steps are loudest (Flow-CPS, arXiv 2509.05952, leaves the variance out of the
/// log-probability; TempFlow-GRPO, arXiv 2508.04324, weighs steps by their noise).
fn step_weights(weighting: StepWeighting, transition: Transition, times: &[f64]) -> Vec<f64> {
    let stochastic = times.windows(2).filter(|pair| pair[1] > 0.0);
    let weights: Vec<f64> = stochastic
        .map(|pair| match weighting {
            StepWeighting::Variance => transition::std(transition, pair[0], pair[1]).powi(2),
            StepWeighting::Uniform => 1.0,
        })
        .collect();
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    weights.into_iter().map(|weight| weight / mean).collect()
}

/// `wanted` of the `available` stochastic steps at random, or all of them.
fn trained_steps(available: usize, wanted: usize) -> Vec<usize> {
    if wanted == 0 || wanted >= available {
        return (0..available).collect();
    }
    let order = Tensor::randperm(available as i64, (Kind::Int64, dmdr_tensor::Device::Cpu));
    let order = Vec::<i64>::try_from(order).expect("i64");
    order[..wanted].iter().map(|&step| step as usize).collect()
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::reseed;

    use super::*;

    #[test]
    fn steps_weigh_what_their_noise_does() {
        let renoise = Transition::CoefficientPreserving(1.0);
        let times = [1.0, 0.75, 0.5, 0.25, 0.0];
        let weights = step_weights(StepWeighting::Variance, renoise, &times);
        // 9 : 4 : 1, and 3 in all.
        for (weight, expected) in weights.iter().zip([27.0 / 14.0, 12.0 / 14.0, 3.0 / 14.0]) {
            assert!((weight - expected).abs() < 1e-9, "{weights:?}");
        }
        let uniform = step_weights(StepWeighting::Uniform, renoise, &times);
        assert_eq!(uniform, [1.0; 3]);
    }

    #[test]
    fn a_subset_of_the_steps() {
        reseed(&[1]);
        assert_eq!(trained_steps(3, 0), [0, 1, 2]);
        assert_eq!(trained_steps(3, 3), [0, 1, 2]);
        let mut seen = [false; 3];
        for _ in 0..50 {
            let steps = trained_steps(3, 2);
            assert!(steps.len() == 2 && steps[0] != steps[1]);
            for step in steps {
                seen[step] = true;
            }
        }
        assert_eq!(seen, [true; 3]);
    }
}
