//! From a config to its method.

use dmdr_config::Method as Config;

use super::{Dmd2, Dmdr, Lcm, Method};
use crate::{MethodError, Simulation, rl::RlTerm};

/// What a method is built from besides its own table of the config.
#[derive(Debug)]
pub struct Parts {
    /// The student's time grid and the shape of its images.
    pub simulation: Simulation,
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
