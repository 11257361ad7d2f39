//! DMDR: distribution matching distillation and reinforcement learning in one objective (arXiv 2511.13649).
//!
//! `L = w_dm L_dm + w_rl L_rl` (Eq. 2). In the cold start `w_rl` is 0 and two dynamics help: `DynaDG` gives the real
//! score a decaying dose of the fake score's LoRA, `DynaRS` draws renoise times from an annealed Beta.

use dmdr_config::{Augmentation, Dmdr as Config, TimeDistribution};
use dmdr_data::Prompts;
use dmdr_diffusion::{loss, sample_times};
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Kind, Tensor, uniform};

use crate::{
    Losses, Method, MethodError, Roles, Rollout, StepInfo,
    rl::{Group, RlTerm},
    rollout::simulate,
};

/// Draws of guidance have a stream of their own.
const GUIDANCE: u64 = 0x6D1C;

/// The method.
#[derive(Debug)]
pub struct Dmdr {
    config: Config,
    roles: Roles,
    rl: Option<RlTerm>,
    times: Vec<f64>,
    fake_scale: f64,
    image_shape: [i64; 3],
}

impl Dmdr {
    /// DMDR for a student on the grid `times`, on images of `image_shape = [C, H, W]`; `rl` is the term that
    /// `config.rl` weighs.
    pub fn new(
        config: Config,
        times: Vec<f64>,
        fake_scale: f64,
        roles: Roles,
        rl: Option<RlTerm>,
        image_shape: [i64; 3],
    ) -> Self {
        Self {
            config,
            roles,
            rl,
            times,
            fake_scale,
            image_shape,
        }
    }

    /// `lambda` of Eq. 2 and its term, once the curve has left 0.
    fn rl_at(&self, step: &StepInfo) -> Option<(f64, &RlTerm)> {
        let weight = self.config.rl.as_ref()?.weight.at(step.update) * step.rl_factor;
        (weight > 0.0).then_some((weight, self.rl.as_ref()?))
    }

    /// The real score's guidance at `step`: the teacher's, or one of the range, drawn for the whole update.
    fn real_guidance(&self, step: &StepInfo) -> f64 {
        let Some([low, high]) = self.config.dm.guidance else {
            return self.roles.guidance.scale;
        };
        low + (high - low) * uniform(&[step.seed, GUIDANCE, step.update])
    }

    fn renoise(&self, x0: &Tensor, times: &TimeDistribution, update: u64) -> (Tensor, Tensor) {
        let t = sample_times(times, update, x0.size()[0], x0.device());
        let x_t = self.roles.schedule.add_noise(x0, &x0.randn_like(), &t);
        (x_t, t)
    }

    /// `(w - 1) (x0_c - x0_u)` of the teacher at a renoise time of its own: what guidance adds, CFG augmentation.
    fn guidance_term(
        &self,
        teacher: &View<'_>,
        x0: &Tensor,
        r: &Rollout,
        augmentation: &Augmentation,
        update: u64,
    ) -> Tensor {
        let x0 = x0.detach();
        let mut t = sample_times(&augmentation.renoise, update, x0.size()[0], x0.device());
        if augmentation.below_input {
            t *= &r.t;
        }
        let x_t = self.roles.schedule.add_noise(&x0, &x0.randn_like(), &t);
        teacher.guidance_no_grad(&x_t, &t, &r.cond)
    }
}

impl Method for Dmdr {
    fn roles(&self) -> &Roles {
        &self.roles
    }

    fn rollout(
        &self,
        prompts: Prompts,
        cond: Conditioning,
        step: &StepInfo,
    ) -> Result<Rollout, MethodError> {
        let Self {
            roles,
            times,
            image_shape,
            ..
        } = self;
        Ok(simulate(roles, times, *image_shape, prompts, cond, step))
    }

    fn score_losses(&self, r: &Rollout, step: &StepInfo) -> Result<Option<Losses>, MethodError> {
        let (x_t, t) = self.renoise(&r.x0, &self.config.score.renoise, step.update);
        let adapters = self.roles.score_adapters(self.fake_scale);
        let x0_hat = self.roles.fake_score(&adapters, true).x0(&x_t, &t, &r.cond);
        let mut losses = Losses::default();
        losses.keep("x0", &r.x0);
        losses.keep("x_t", &x_t);
        losses.keep("t", &t);
        let per_sample = loss::denoise(self.roles.schedule, &x0_hat, &r.x0, &t);
        losses.add("score", 1.0, per_sample.mean(Kind::Float));
        Ok(Some(losses))
    }

    fn group(&self, r: &Rollout, step: &StepInfo) -> Result<Option<Group>, MethodError> {
        match self.rl_at(step) {
            Some((_, rl)) => rl.group(&self.roles, r, step.update),
            None => Ok(None),
        }
    }

    fn num_inner_updates(&self, step: &StepInfo) -> usize {
        self.rl_at(step).map_or(1, |(_, rl)| rl.num_inner_updates())
    }

    fn takes_reference(&self, step: &StepInfo) -> bool {
        let Some((_, rl)) = self.rl_at(step) else {
            return false;
        };
        let rl = rl.algorithm();
        let before = |update| self.rl_at(&StepInfo::at(update)).is_some();
        let sets_in = || step.update.checked_sub(1).is_none_or(|last| !before(last));
        rl.has_reference() && (rl.refreshes_reference(step.update) || sets_in())
    }

    fn generator_losses(
        &self,
        r: &Rollout,
        group: Option<&Group>,
        step: &StepInfo,
    ) -> Result<Losses, MethodError> {
        let update = step.update;
        let mut losses = Losses::default();
        let adapters = self.roles.generator_adapters();
        let x0 = self
            .roles
            .generator(&adapters, true)
            .x0(&r.x_t, &r.t, &r.cond);
        losses.keep("x_t", &r.x_t);
        losses.keep("t", &r.t);
        losses.keep("x0", &x0);

        // Distribution matching: both scores at the same renoised point, without gradient.
        let dm = &self.config.dm;
        let (x_t, t) = self.renoise(&x0.detach(), &dm.renoise, update);
        let real_scale = dm.real_scale.at(update); // DynaDG
        let real = self.roles.score_adapters(real_scale);
        let fake = self.roles.score_adapters(self.fake_scale);
        let x0_fake = self
            .roles
            .fake_score(&fake, false)
            .x0_no_grad(&x_t, &t, &r.cond);
        let guidance = self.real_guidance(step);
        let real = self.roles.real_score(&real).with_guidance(guidance);
        let matching = match &dm.augmentation {
            None => {
                let x0_real = real.x0_no_grad(&x_t, &t, &r.cond);
                loss::distribution_matching(&x0, &x0_real, &x0_fake, dm.normalize)
            }
            Some(augmentation) => {
                // Decoupled: the conditional teacher here, what guidance adds to it at a time of its own.
                let x0_real = real.unguided().x0_no_grad(&x_t, &t, &r.cond);
                let guidance = self.guidance_term(&real, &x0, r, augmentation, update);
                let x0_fake = x0_fake - guidance * augmentation.weight.at(update);
                loss::distribution_matching(&x0, &x0_real, &x0_fake, dm.normalize)
            }
        };
        losses.observe("dm/grad_abs", matching.gradient_abs.double_value(&[]));
        losses.observe("dm/real_scale", real_scale);
        if dm.guidance.is_some() {
            losses.observe("dm/guidance", guidance);
        }
        for (name, value) in dm.renoise.parameters_at(update) {
            losses.observe(format!("renoise/{name}"), value);
        }
        losses.add("dm", dm.weight.at(update), matching.loss);

        // Reinforcement learning joins when its curve leaves 0.
        if let Some(config) = &self.config.rl {
            losses.observe("rl/weight", config.weight.at(update) * step.rl_factor);
        }
        if let Some((weight, rl)) = self.rl_at(step) {
            let term = rl.loss(&self.roles, &x0, r, group, update)?;
            losses.observed.extend(term.observed);
            losses.add("rl", weight, term.loss);
        }
        Ok(losses)
    }
}
