//! Online Diffusion-DPO (arXiv 2311.12908; online as in Flow-GRPO's baseline): the best and the worst of a group.
//!
//! A few-step student is no denoiser at arbitrary times, so errors are taken on its own grid.

use dmdr_config::{Dpo, Transition};
use dmdr_diffusion::loss::{self, PairErrors};
use dmdr_models::View;
use dmdr_tensor::{Kind, Numbers, Tensor, no_grad_guard};

use super::{Algorithm, Context, Group, RlLoss, sample_group};
use crate::MethodError;

impl Algorithm for Dpo {
    /// It compares what the student's own sampler makes, each from noise of its own.
    fn group(&self, context: &Context<'_>) -> Result<Option<Group>, MethodError> {
        let transition = Transition::CoefficientPreserving(1.0);
        sample_group(context, transition, self.groups, false).map(Some)
    }

    fn loss(
        &self,
        context: &Context<'_>,
        _: &Tensor,
        group: Option<&Group>,
    ) -> Result<RlLoss, MethodError> {
        let group = group.expect("`group` sampled one");
        let (student, reference) = (&context.student, context.reference.as_ref());
        Ok(dpo(student, reference, context.times, group, self.beta))
    }
}

/// Rows of the best and the worst sample of each group in the batch, `[P]` (i64) each, and whether they differ at all.
#[derive(Debug)]
pub struct Pairs {
    /// Highest advantage.
    pub better: Tensor,
    /// Lowest advantage.
    pub worse: Tensor,
    /// 1 where the group has a best and a worst, 0 where all are equal or fewer than two have rewards (`[P]`, f32): these
    /// teach nothing.
    pub valid: Tensor,
}

/// The extremes of `advantages [P, G]`, of those that are 1 in `present [P, G]` where that is given.
pub fn pairs(advantages: &Tensor, present: Option<&Tensor>) -> Pairs {
    let (p, g) = advantages.size2().expect("[P, G]");
    let first = Tensor::arange(p, (Kind::Int64, advantages.device())) * g;
    let or = |other: f64| match present {
        None => advantages.shallow_clone(),
        Some(present) => advantages.masked_fill(&present.eq(0.0), other),
    };
    let (high, better) = or(f64::NEG_INFINITY).max_dim(1, false);
    let (low, worse) = or(f64::INFINITY).min_dim(1, false);
    Pairs {
        better: better + &first,
        worse: worse + first,
        valid: high.gt_tensor(&low).to_kind(Kind::Float),
    }
}

/// Mean DPO loss over the valid pairs of `group`, at a grid time of `times` drawn for each pair. Without `reference` the student is
/// its own: the loss is `ln 2` and its gradient `beta / 4` times that of the errors' difference.
pub fn dpo(
    student: &View<'_>,
    reference: Option<&View<'_>>,
    times: &[f64],
    group: &Group,
    beta: f64,
) -> RlLoss {
    let Pairs {
        better,
        worse,
        valid,
    } = pairs(&group.advantages, group.present.as_ref());
    let p = better.size()[0];
    let device = better.device();
    let grid = Tensor::from_slice(&times[..times.len() - 1]).to_device(device);
    let step = Tensor::randint(grid.size()[0], [p], (Kind::Int64, device));
    let t = grid.index_select(0, &step).to_kind(Kind::Float);
    let better_x0 = group.x0.index_select(0, &better);
    let eps = better_x0.randn_like(); // the same for both of a pair and for both networks

    let x0 = Tensor::cat(&[better_x0, group.x0.index_select(0, &worse)], 0);
    let (t, eps) = (t.repeat([2]), eps.repeat([2, 1, 1, 1]));
    let x_t = student.schedule.add_noise(&x0, &eps, &t);
    let cond = group.cond.select(&Tensor::cat(&[better, worse], 0));
    let errors = |view: &View<'_>| {
        let error = loss::denoise(view.schedule, &view.x0(&x_t, &t, &cond), &x0, &t);
        PairErrors {
            better: error.narrow(0, 0, p),
            worse: error.narrow(0, p, p),
        }
    };
    let reference = reference.map(|reference| {
        let _guard = no_grad_guard();
        errors(reference)
    });
    let errors = errors(student);
    let reference = reference.unwrap_or_else(|| errors.detach());
    let per_pair = loss::dpo(&errors, &reference, beta) * &valid;
    let count = valid.sum(Kind::Float).clamp_min(1.0);

    let mut numbers = Numbers::default();
    numbers.keep("rl/pairs", &valid.sum(Kind::Float));
    // Both can rise at once (likelihood displacement): a warning sign.
    numbers.keep("rl/error_better", &errors.better.mean(Kind::Float));
    numbers.keep("rl/error_worse", &errors.worse.mean(Kind::Float));
    RlLoss {
        loss: per_pair.sum(Kind::Float) / count,
        numbers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_each_group_and_ties_are_dropped() {
        let advantages = Tensor::from_slice(&[0.1f32, 0.7, -0.8, 0.5, 0.5, 0.5]).reshape([2, 3]);
        let pairs = pairs(&advantages, None);
        let rows = |t: &Tensor| Vec::<i64>::try_from(t).expect("i64");
        assert_eq!((rows(&pairs.better)[0], rows(&pairs.worse)[0]), (1, 2));
        assert!(
            (3..6).contains(&rows(&pairs.better)[1]),
            "rows of the second group"
        );
        assert_eq!(Vec::<f32>::try_from(&pairs.valid).expect("f32"), [1.0, 0.0]);
        let moved = super::pairs(&(&advantages + 3.0), None);
        assert_eq!(
            rows(&moved.better),
            rows(&pairs.better),
            "a constant changes nothing"
        );
    }

    #[test]
    fn a_missing_sample_is_neither_the_best_nor_the_worst() {
        // 9 is missing from the first group, all but one from the second, all from the third.
        let advantages = [9.0f32, 0.7, -0.8, 0.5, 0.1, 0.2, 3.0, 2.0, 1.0];
        let present = [0.0f32, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let [advantages, present] =
            [advantages, present].map(|values| Tensor::from_slice(&values).reshape([3, 3]));
        let pairs = super::pairs(&advantages, Some(&present));
        let rows = |t: &Tensor| Vec::<i64>::try_from(t).expect("i64");
        assert_eq!((rows(&pairs.better)[0], rows(&pairs.worse)[0]), (1, 2));
        assert_eq!(
            Vec::<f32>::try_from(&pairs.valid).expect("f32"),
            [1.0, 0.0, 0.0]
        );
    }
}
