//! The plane: distillation where every density is known, in seconds.

mod histogram;
mod probe;
mod reward;
mod run;
mod teacher;

pub use histogram::{Divergences, Histogram};
pub use probe::{Probe, probe};
pub use reward::{Bump, PointReward};
pub use run::{PlaneArm, PlaneOutcome, Snapshot, train};
pub use teacher::{HIDDEN, LAYERS, PlaneTeacher};

use dmdr_tensor::{Device, Kind, Tensor};
use dmdr_world::Point;

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
