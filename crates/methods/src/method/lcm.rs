//! Latent consistency models (arXiv 2310.04378): the student learns to jump to where the guided teacher's ODE ends.

use dmdr_config::{Lcm as Config, NetId};

use crate::{Method, MethodError, Update, term};

/// The method.
pub struct Lcm {
    config: Config,
}

impl Lcm {
    /// `[method.lcm]`.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Method for Lcm {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let batch = update.batch()?;
        let x0 = update.true_images(&batch.prompts)?;
        let target = if self.config.target_decay > 0.0 {
            NetId::TARGET
        } else {
            NetId::STUDENT
        };
        update.minimise(NetId::STUDENT, |update, part| {
            let (x0, cond) = (part.of(&x0), part.of_cond(&batch.cond));
            let config = &self.config.consistency;
            Ok(term::consistency(config, target, update, &x0, &cond, part))
        })
    }
}
