//! `[method.lcm]`: latent consistency models (arXiv 2310.04378).

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::net::{Motion, NetId, NetSpec};
use crate::range;
use crate::recipe::{Plan, Recipe, Setup};

/// Consistency distillation along the guided teacher's ODE, from true images. There is no rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {
    /// Number of student updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Images per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// The loss.
    pub consistency: Consistency,
    /// Share of the old target that is kept per update, in `[0, 1)`: the target is a slow copy of the student. 0 = the student
    /// itself, without gradient, as LCM-LoRA has it.
    #[serde(deserialize_with = "range::below_one")]
    pub target_decay: f64,
}

/// `[method.lcm.consistency]`: a prediction at one time of the teacher's grid is drawn to the target's at the time before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// Steps of the teacher's grid, `t = n / num_steps`. The teacher goes one of them at a time.
    #[serde(deserialize_with = "range::grid")]
    pub num_steps: usize,
    /// `c` of the pseudo-Huber loss `sqrt(d^2 + c^2) - c` on the difference `d` of two predictions; above 0.
    #[serde(deserialize_with = "range::positive")]
    pub huber: f64,
    /// What a time is multiplied by in the boundary's coefficients, in which it counts to 1000; above 0.
    #[serde(deserialize_with = "range::positive")]
    pub timestep_scaling: f64,
}

/// The numbers of LCM's scripts.
impl Default for Lcm {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            consistency: Consistency::default(),
            target_decay: 0.95,
        }
    }
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            num_steps: 50,
            huber: 1e-3,
            timestep_scaling: 10.0,
        }
    }
}

impl Recipe for Lcm {
    fn title(&self) -> String {
        "LCM (arXiv 2310.04378)".to_owned()
    }

    fn plan(&self) -> Plan {
        Plan {
            num_updates: self.num_updates,
            batch_size: self.batch_size,
            iterations: 1,
        }
    }

    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec> {
        let mut nets = setup.student();
        if self.target_decay > 0.0 {
            let motion = Motion::Average {
                of: NetId::STUDENT,
                decay: self.target_decay,
                warms_up: false,
            };
            nets.push(setup.like_student(NetId::TARGET, motion));
        }
        nets
    }

    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem> {
        let truth = setup.true_images_problem("method.lcm");
        let optimizers = setup.optimizer_problems(&self.nets(setup));
        truth.into_iter().chain(optimizers).collect()
    }
}
