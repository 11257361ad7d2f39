//! Points as tensors and back.

use dmdr_tensor::{Device, Kind, Tensor};

use crate::plane::mixture::Point;

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
