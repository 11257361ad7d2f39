//! The reinforcement learning term of a method: one of three algorithms on a mix of rewards.

use std::collections::BTreeMap;

use dmdr_config::{Groups, RlAlgorithm, Transition as TransitionConfig};
use dmdr_diffusion::{Schedule, Transition};
use dmdr_rewards::RewardMix;
use dmdr_tensor::{Kind, Tensor};

use super::{Group, dpo, grpo, refl, sample_group};
use crate::{MethodError, Roles, Rollout};

/// An algorithm with its rewards.
#[derive(Debug)]
pub struct RlTerm {
    algorithm: RlAlgorithm,
    rewards: RewardMix,
    times: Vec<f64>,
}

/// A loss and what is worth logging beside it.
#[derive(Debug)]
pub struct RlLoss {
    /// Scalar.
    pub loss: Tensor,
    /// By metric name.
    pub observed: BTreeMap<String, f64>,
}

impl RlTerm {
    /// The term for a student on the grid `times` of `schedule`.
    ///
    /// # Errors
    /// `ReFL` with a reward that has no gradient; DPO or GRPO with a schedule that is not the rectified flow's.
    pub fn new(
        algorithm: RlAlgorithm,
        rewards: RewardMix,
        times: Vec<f64>,
        schedule: Schedule,
    ) -> Result<Self, MethodError> {
        if algorithm != RlAlgorithm::Refl && schedule != Schedule::RectifiedFlow {
            return Err(MethodError::Schedule {
                algorithm: algorithm.name(),
            });
        }
        match rewards.not_differentiable() {
            Some(reward) if algorithm == RlAlgorithm::Refl => Err(MethodError::NotDifferentiable {
                reward: reward.to_owned(),
            }),
            _ => Ok(Self {
                algorithm,
                rewards,
                times,
            }),
        }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> RlAlgorithm {
        self.algorithm
    }

    /// Updates on one rollout.
    pub fn num_inner_updates(&self) -> usize {
        match self.algorithm {
            RlAlgorithm::Grpo(grpo) => grpo.num_inner_updates,
            RlAlgorithm::Refl | RlAlgorithm::Dpo(_) => 1,
        }
    }

    /// Samples groups for the first prompts of `r`, if the algorithm compares samples.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    pub fn group(
        &self,
        roles: &Roles,
        r: &Rollout,
        update: u64,
    ) -> Result<Option<Group>, MethodError> {
        let Some(groups) = self.algorithm.groups() else {
            return Ok(None);
        };
        let noise = self.noise(groups, &r.x_t);
        let adapters = roles.generator_adapters();
        // As in training, so that the ratio to these probabilities is 1 to the bit before the first update.
        let student = roles.generator(&adapters, true);
        sample_group(
            &student,
            &self.times,
            self.transition(),
            groups,
            &noise,
            &r.prompts,
            &r.cond,
            &self.rewards,
            update,
        )
        .map(Some)
    }

    /// The loss. `x0` is the student's prediction for the rollout, with gradient.
    ///
    /// # Errors
    /// If a reward cannot be computed.
    ///
    /// # Panics
    /// If the algorithm compares samples and `group` is none, or has a reference and `roles` has none.
    pub fn loss(
        &self,
        roles: &Roles,
        x0: &Tensor,
        r: &Rollout,
        group: Option<&Group>,
        update: u64,
    ) -> Result<RlLoss, MethodError> {
        let adapters = roles.generator_adapters();
        let student = roles.generator(&adapters, true);
        let frozen = roles.reference_adapters();
        let reference = self
            .algorithm
            .has_reference()
            .then(|| roles.reference(&frozen));
        let group = || group.expect("`group` sampled one");
        let mut rl = match &self.algorithm {
            RlAlgorithm::Refl => return Ok(refl(x0, &r.prompts, &self.rewards, update)?),
            RlAlgorithm::Dpo(config) => dpo(
                &student,
                reference.as_ref(),
                &self.times,
                group(),
                config.beta,
            ),
            RlAlgorithm::Grpo(config) => grpo(
                &student,
                reference.as_ref(),
                &self.times,
                self.transition(),
                group(),
                config,
            ),
        };
        rl.observed.extend(group().observed.clone());
        Ok(rl)
    }

    /// What groups are sampled from, for images like `x [B, C, H, W]`.
    ///
    /// With noise of its own a sample's reward depends on something that no transition probability answers for; shared
    /// noise keeps that out of the advantages (DanceGRPO, arXiv 2505.07818).
    fn noise(&self, groups: Groups, x: &Tensor) -> Tensor {
        let (p, g) = (groups.num_prompts as i64, groups.size as i64);
        let image = &x.size()[1..];
        let options = (Kind::Float, x.device());
        let is_shared = matches!(self.algorithm, RlAlgorithm::Grpo(grpo) if grpo.shared_noise);
        if is_shared {
            Tensor::randn([&[p], image].concat(), options).repeat_interleave_self_int(g, 0, None)
        } else {
            Tensor::randn([&[p * g], image].concat(), options)
        }
    }

    /// How a group is sampled: DPO compares what the student's own sampler makes.
    fn transition(&self) -> Transition {
        match self.algorithm {
            RlAlgorithm::Grpo(grpo) => match grpo.transition {
                TransitionConfig::CoefficientPreserving(eta) => {
                    Transition::CoefficientPreserving { eta }
                }
                TransitionConfig::FlowSde(noise_level) => Transition::FlowSde { noise_level },
            },
            RlAlgorithm::Refl | RlAlgorithm::Dpo(_) => {
                Transition::CoefficientPreserving { eta: 1.0 }
            }
        }
    }
}
