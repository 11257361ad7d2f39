//! Reinforcement learning without distillation, with the regulariser of each algorithm's authors: the arms that
//! Table 5 of arXiv 2511.13649 calls "only RL".
//!
//! `ReFL`: a pretraining loss on true images. DPO: the frozen reference inside its loss. GRPO: a KL to that reference.

use dmdr_config::RlOnly as Config;
use dmdr_data::{Prompts, SceneBatch};
use dmdr_diffusion::loss;
use dmdr_models::Conditioning;
use dmdr_tensor::Kind;
use dmdr_world::World;

use crate::{
    Losses, Method, MethodError, Roles, Rollout, StepInfo,
    rl::{Group, RlTerm},
    rollout::simulate,
};

/// Scenes of the emoji world.
#[derive(Debug)]
pub struct TrueImages {
    /// The world.
    pub world: World,
    /// Which scenes.
    pub seed: u64,
}

/// The method.
#[derive(Debug)]
pub struct RlOnly {
    config: Config,
    roles: Roles,
    rl: RlTerm,
    times: Vec<f64>,
    true_images: Option<TrueImages>,
    image_shape: [i64; 3],
}

impl RlOnly {
    /// Reinforcement learning of a student on the grid `times`; the pretraining loss needs true images.
    pub fn new(
        config: Config,
        times: Vec<f64>,
        roles: Roles,
        rl: RlTerm,
        true_images: Option<TrueImages>,
        image_shape: [i64; 3],
    ) -> Self {
        Self {
            config,
            roles,
            rl,
            times,
            true_images,
            image_shape,
        }
    }
}

impl Method for RlOnly {
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

    fn score_losses(&self, _: &Rollout, _: &StepInfo) -> Result<Option<Losses>, MethodError> {
        Ok(None)
    }

    fn group(&self, r: &Rollout, step: &StepInfo) -> Result<Option<Group>, MethodError> {
        self.rl.group(&self.roles, r, step.update)
    }

    fn num_inner_updates(&self, _: &StepInfo) -> usize {
        self.rl.num_inner_updates()
    }

    fn takes_reference(&self, step: &StepInfo) -> bool {
        let rl = self.rl.algorithm();
        rl.has_reference() && (step.update == 0 || rl.refreshes_reference(step.update))
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
        let student = self.roles.generator(&adapters, true);
        losses.keep("x_t", &r.x_t);
        losses.keep("t", &r.t);
        // DPO and GRPO are about whole trajectories; only `ReFL` needs a prediction with gradient here.
        let x0 = match group {
            None => student.x0(&r.x_t, &r.t, &r.cond),
            Some(group) => group.x0.shallow_clone(),
        };
        losses.keep("x0", &x0);
        let term = self.rl.loss(&self.roles, &x0, r, group, update)?;
        losses.observed.extend(term.observed);
        losses.add("rl", 1.0, term.loss);

        let weight = self.config.pretraining.at(update);
        if let Some(TrueImages { world, seed }) = &self.true_images
            && weight > 0.0
        {
            let images = SceneBatch::render(world, &r.prompts, *seed, update);
            let x0 = images.to_device(r.x_t.device()) * 2.0 - 1.0;
            let x_t = self.roles.schedule.add_noise(&x0, &x0.randn_like(), &r.t);
            let x0_hat = student.x0(&x_t, &r.t, &r.cond);
            let per_sample = loss::denoise(self.roles.schedule, &x0_hat, &x0, &r.t);
            losses.add("pretraining", weight, per_sample.mean(Kind::Float));
        }
        Ok(losses)
    }
}
