//! The contract between a method and the training loop, and the methods, one a file.

mod dmd2;
mod dmdr;
mod lcm;

use dmdr_config::Method as Config;
use dmdr_diffusion::Schedule;
use dmdr_rewards::RewardError;
use dmdr_tensor::TensorError;

use crate::{FeedError, Simulation, Step, rl::RlTerm};

pub use dmd2::Dmd2;
pub use dmdr::Dmdr;
pub use lcm::Lcm;

/// An algorithm that trains a student and, on the way, the networks that judge it.
pub trait Method {
    /// One update of the student, in the order of the algorithm.
    ///
    /// # Errors
    /// If libtorch, a model, the source of prompts or a reward fails.
    fn update(&mut self, step: &mut Step<'_>) -> Result<(), MethodError>;
}

/// What a method is built from besides its own table of the config.
#[derive(Debug)]
pub struct Parts {
    /// The student's time grid and the shape of its images.
    pub simulation: Simulation,
    /// Noise schedule of the networks.
    pub schedule: Schedule,
    /// Scale of the fake score's adapter.
    pub fake_scale: f64,
    /// The reinforcement learning that the recipe describes.
    pub rl: Option<RlTerm>,
}

/// The method that `config` names.
///
/// # Errors
/// A method of another program.
///
/// # Panics
/// If `parts` lacks the reinforcement learning that `config` describes.
pub fn build(config: &Config, parts: Parts) -> Result<Box<dyn Method>, MethodError> {
    let Parts {
        simulation,
        fake_scale,
        rl,
        ..
    } = parts;
    Ok(match config {
        Config::Dmd2(dmd2) => Box::new(Dmd2::new((**dmd2).clone(), fake_scale, simulation)),
        Config::Lcm(lcm) => Box::new(Lcm::new((**lcm).clone())),
        Config::Dmdr(dmdr) => Box::new(Dmdr::new((**dmdr).clone(), fake_scale, rl, simulation)),
        Config::Rl(config) => {
            let rl = rl.expect("the recipe describes one");
            Box::new(Dmdr::without_matching(config, rl, simulation))
        }
        Config::External(external) => {
            return Err(MethodError::External {
                name: external.name.clone(),
            });
        }
    })
}

/// Errors of methods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// Libtorch.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Where prompts and images come from.
    #[error(transparent)]
    Feed(FeedError),
    /// `ReFL` with a reward that has no gradient.
    #[error("reward `{reward}` has no gradient; `refl` needs one")]
    NotDifferentiable {
        /// The reward.
        reward: String,
    },
    /// An algorithm on trajectories of another noise schedule than the one it is written for.
    #[error(
        "`{algorithm}` is written for the rectified flow, which this network does not follow; use `refl`"
    )]
    Schedule {
        /// `dpo` or `grpo`.
        algorithm: &'static str,
    },
    /// A method that is not of this workspace, without the program that brings it.
    #[error(
        "`method.external` names `{name}`, which another program brings along; use a method of this one"
    )]
    External {
        /// Its name in the config.
        name: String,
    },
    /// True images where none can be drawn.
    #[error(
        "a loss needs true images, and this world has none; set its weight to 0, or use another method"
    )]
    NoTrueImages,
}
