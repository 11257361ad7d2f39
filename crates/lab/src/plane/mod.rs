//! The plane: distillation where every density is known, in seconds.

mod arms;
mod histogram;
mod probe;
mod reward;
mod run;
mod teacher;

pub(crate) use arms::outcomes;
pub use histogram::{Divergences, Histogram};
pub use probe::{Probe, probe};
pub use reward::{Bump, PointReward};
pub use run::{PlaneArm, PlaneOutcome, Snapshot, train};
pub use teacher::{HIDDEN, LAYERS, PlaneTeacher};

use dmdr_config::{Curve, NetId, Optim, Optimizer};
use dmdr_tensor::{Device, Kind, Tensor};
use dmdr_world::{Mixture, Point};

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

/// Points as `[B, 2, 1, 1]`.
pub(crate) fn to_tensor(points: &[Point]) -> Tensor {
    Tensor::from_slice(&points.concat())
        .to_kind(Kind::Float)
        .reshape([-1, 2, 1, 1])
}

/// Points of `[B, 2, 1, 1]`.
pub(crate) fn to_points(x: &Tensor) -> Vec<Point> {
    let flat = x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let flat = Vec::<f64>::try_from(flat.reshape([-1])).expect("f64 on the CPU");
    flat.chunks_exact(2)
        .map(|pair| [pair[0], pair[1]])
        .collect()
}
