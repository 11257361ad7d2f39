//! DMDR: distribution matching distillation and reinforcement learning in one objective (arXiv 2511.13649).
//!
//! `L = w_dm L_dm + w_rl L_rl` (Eq. 2). In the cold start `w_rl` is 0 and two dynamics help: `DynaDG` gives the real
//! score a decaying dose of the fake score's LoRA, `DynaRS` draws renoise times from an annealed Beta.

use dmdr_config::{Dmdr as Config, TimeDistribution};
use dmdr_data::Prompts;
use dmdr_diffusion::{loss, sample_times, time_grid};
use dmdr_models::Conditioning;
use dmdr_rewards::RewardMix;
use dmdr_tensor::{Kind, Tensor};

use crate::{Losses, Method, MethodError, Roles, Rollout, StepInfo, backward_simulation, rl::refl};

/// The method.
#[derive(Debug)]
pub struct Dmdr {
    config: Config,
    roles: Roles,
    rewards: RewardMix,
    times: Vec<f64>,
    fake_scale: f64,
    image_shape: [i64; 3],
}

impl Dmdr {
    /// DMDR for a student of `num_steps` steps on images of `image_shape = [C, H, W]`.
    ///
    /// # Errors
    /// `ReFL` with a reward that has no gradient.
    pub fn new(
        config: Config,
        student: &dmdr_config::Student,
        fake_scale: f64,
        roles: Roles,
        rewards: RewardMix,
        image_shape: [i64; 3],
    ) -> Result<Self, MethodError> {
        if let (Some(_), Some(reward)) = (&config.rl, rewards.not_differentiable()) {
            return Err(MethodError::NotDifferentiable {
                reward: reward.to_owned(),
            });
        }
        let times = time_grid(student.num_steps, student.shift);
        Ok(Self {
            config,
            roles,
            rewards,
            times,
            fake_scale,
            image_shape,
        })
    }

    /// The networks.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    fn renoise(&self, x0: &Tensor, times: &TimeDistribution, update: u64) -> (Tensor, Tensor) {
        let t = sample_times(times, update, x0.size()[0], x0.device());
        let x_t = self.roles.schedule.add_noise(x0, &x0.randn_like(), &t);
        (x_t, t)
    }
}

impl Method for Dmdr {
    fn rollout(&self, prompts: Prompts, cond: Conditioning) -> Result<Rollout, MethodError> {
        let [c, h, w] = self.image_shape;
        let options = (Kind::Float, cond.pooled.device());
        let noise = Tensor::randn([cond.batch(), c, h, w], options);
        let adapters = self.roles.generator_adapters();
        let student = self.roles.generator(&adapters, false);
        Ok(backward_simulation(
            &student,
            &self.times,
            &noise,
            prompts,
            cond,
        ))
    }

    fn score_losses(&self, r: &Rollout, step: &StepInfo) -> Result<Losses, MethodError> {
        let (x_t, t) = self.renoise(&r.x0, &self.config.score.renoise, step.update);
        let adapters = [(self.roles.score, self.fake_scale)];
        let x0_hat = self.roles.fake_score(&adapters, true).x0(&x_t, &t, &r.cond);
        let mut losses = Losses::default();
        losses.keep("x0", &r.x0);
        losses.keep("x_t", &x_t);
        losses.keep("t", &t);
        let per_sample = loss::denoise(self.roles.schedule, &x0_hat, &r.x0, &t);
        losses.add("score", 1.0, per_sample.mean(Kind::Float));
        Ok(losses)
    }

    fn generator_losses(&self, r: &Rollout, step: &StepInfo) -> Result<Losses, MethodError> {
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
        let real = [(self.roles.score, real_scale)];
        let fake = [(self.roles.score, self.fake_scale)];
        let x0_real = self.roles.real_score(&real).x0_no_grad(&x_t, &t, &r.cond);
        let x0_fake = self
            .roles
            .fake_score(&fake, false)
            .x0_no_grad(&x_t, &t, &r.cond);
        let matching = loss::distribution_matching(&x0, &x0_real, &x0_fake, dm.normalize);
        losses.observe("dm/grad_abs", matching.gradient_abs.double_value(&[]));
        losses.observe("dm/real_scale", real_scale);
        if let TimeDistribution::Beta { a, b } = &dm.renoise {
            losses.observe("renoise/a", a.at(update));
            losses.observe("renoise/b", b.at(update));
        }
        losses.add("dm", dm.weight.at(update), matching.loss);

        // Reinforcement learning joins when its curve leaves 0.
        if let Some(rl) = &self.config.rl {
            let weight = rl.weight.at(update);
            losses.observe("rl/weight", weight);
            if weight > 0.0 {
                let (loss, mixed) = refl(&x0, &r.prompts, &self.rewards, update)?;
                losses.observed.extend(mixed.observed);
                losses.add("rl", weight, loss);
            }
        }
        Ok(losses)
    }
}
