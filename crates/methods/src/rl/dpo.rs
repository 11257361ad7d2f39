//! Online Diffusion-DPO (arXiv 2311.12908; online as in Flow-GRPO's baseline): the best and the worst of a group.
//!
//! A few-step student is no denoiser at arbitrary times, so errors are taken on its own grid.

use dmdr_config::{Dpo, Transition};
use dmdr_diffusion::loss::{self, PairErrors};
use dmdr_models::View;
use dmdr_tensor::{Kind, Numbers, Tensor, no_grad_guard, phase};

use super::{Algorithm, Context, Group, Pairs, RlLoss, Sampled, pairs, sample_group};
use crate::MethodError;

impl Algorithm for Dpo {
    /// It compares what the student's own sampler makes, each from noise of its own.
    fn sample(&self, context: &Context<'_>) -> Result<Option<Sampled>, MethodError> {
        let transition = Transition::CoefficientPreserving(1.0);
        sample_group(context, transition, self.groups, false).map(Some)
    }

    fn loss(
        &self,
        context: &Context<'_>,
        _: &Tensor,
        group: Option<&Group>,
    ) -> Result<RlLoss, MethodError> {
        let group = group.expect("`sample` gave one");
        let (student, reference) = (&context.student, context.reference.as_ref());
        Ok(dpo(student, reference, context.times, group, self.beta))
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
    let step = group.counted.share.draw(p, |pairs| {
        Tensor::randint(grid.size()[0], [pairs], (Kind::Int64, device))
    });
    let t = grid.index_select(0, &step).to_kind(Kind::Float);
    let better_x0 = group.x0.index_select(0, &better);
    let eps = group.counted.share.randn_like(&better_x0); // the same for both of a pair and for both networks

    let x0 = Tensor::cat(&[better_x0, group.x0.index_select(0, &worse)], 0);
    let (t, eps) = (t.repeat([2]), eps.repeat([2, 1, 1, 1]));
    let x_t = student.schedule.add_noise(&x0, &eps, &t);
    let cond = group.cond.select(&Tensor::cat(&[better, worse], 0));
    let errors = |view: &View<'_>| {
        let x0_hat = phase("generator", || view.x0(&x_t, &t, &cond));
        let error = loss::denoise(view.schedule, &x0_hat, &x0, &t);
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
    let per_pair = loss::dpo(&errors, &reference, beta);

    let mut numbers = Numbers::default();
    numbers.count("rl/pairs", &valid.sum(Kind::Float));
    // Both can rise at once (likelihood displacement): a warning sign.
    numbers.keep("rl/error_better", &errors.better.mean(Kind::Float));
    numbers.keep("rl/error_worse", &errors.worse.mean(Kind::Float));
    RlLoss {
        loss: group.mean_of_valid(&per_pair, &valid),
        numbers,
    }
}
