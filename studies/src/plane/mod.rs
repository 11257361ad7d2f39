//! The plane: distillation where every density is known, in seconds.

mod arms;
mod histogram;
pub mod mixture;
mod nothing;
mod points;
mod probe;
mod reward;
mod run;
mod teacher;

pub(crate) use arms::outcomes;
pub use histogram::{Divergences, Histogram};
pub(crate) use points::{to_points, to_tensor};
pub use probe::{Probe, probe};
pub use reward::{Bump, PointReward};
pub use run::{PlaneArm, PlaneOutcome, Snapshot, train};
pub use teacher::{HIDDEN, LAYERS, PlaneTeacher};

use dmdr_config::{Curve, NetId, Optim, Optimizer};

use crate::plane::mixture::Mixture;

/// Eight modes in a ring, the data of Fig. 7 and Table 4.
pub(crate) fn ring() -> Mixture {
    Mixture::ring(8, 0.75, 0.08)
}

/// Adam at constant rates.
pub(crate) fn optim(student: f64, fake_score: f64) -> Optim {
    let adam = |lr| Optimizer {
        lr: Curve::Constant(lr),
        betas: [0.0, 0.99],
        eps: 1e-8,
        weight_decay: 0.0,
        clip_norm: 10.0,
    };
    Optim::new([
        (NetId::STUDENT, adam(student)),
        (NetId::FAKE_SCORE, adam(fake_score)),
    ])
}
