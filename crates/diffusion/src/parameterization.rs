//! What a network's raw output means, and how to get the clean image from it.

use dmdr_tensor::Tensor;

use crate::Schedule;

/// Meaning of a raw output for `x_t = alpha x0 + sigma eps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameterization {
    /// The clean image.
    X0,
    /// The noise.
    Epsilon,
    /// `v = alpha eps - sigma x0` (Salimans & Ho, arXiv 2202.00512).
    Velocity,
    /// `u = eps - x0`, the rectified flow's `dx/dt`.
    Flow,
}

impl Parameterization {
    /// Clean prediction from `raw` at `x_t [B, C, H, W]`, `t [B]`. Singular for [`Self::Epsilon`] where
    /// `alpha = 0`, at `t = 1` of the rectified flow; at the scaled linear schedule's last step an error of the noise grows 15-fold.
    pub fn to_x0(self, schedule: Schedule, raw: &Tensor, x_t: &Tensor, t: &Tensor) -> Tensor {
        let (alpha, sigma) = schedule.coefficients(t);
        match self {
            Self::X0 => raw.shallow_clone(),
            Self::Epsilon => (x_t - sigma * raw) / alpha,
            Self::Velocity => (&alpha * x_t - &sigma * raw) / (alpha.square() + sigma.square()),
            Self::Flow => (x_t - &sigma * raw) / (alpha + sigma),
        }
    }

    /// What the raw output should be for clean `x0` and noise `eps`.
    pub fn target(self, schedule: Schedule, x0: &Tensor, eps: &Tensor, t: &Tensor) -> Tensor {
        let (alpha, sigma) = schedule.coefficients(t);
        match self {
            Self::X0 => x0.shallow_clone(),
            Self::Epsilon => eps.shallow_clone(),
            Self::Velocity => alpha * eps - sigma * x0,
            Self::Flow => eps - x0,
        }
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, Kind};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn target_and_x0_are_inverse(t in 0.01f64..0.99, x0 in -2.0f64..2.0, eps in -2.0f64..2.0) {
            let full = |v: f64| Tensor::full([1, 1, 1, 1], v, (Kind::Double, Device::Cpu));
            let (x0, eps, t) = (full(x0), full(eps), full(t).reshape([1]));
            for schedule in [Schedule::RectifiedFlow, Schedule::ScaledLinear] {
                let x_t = schedule.add_noise(&x0, &eps, &t);
                for p in [
                    Parameterization::X0,
                    Parameterization::Epsilon,
                    Parameterization::Velocity,
                    Parameterization::Flow,
                ] {
                    let back = p.to_x0(schedule, &p.target(schedule, &x0, &eps, &t), &x_t, &t);
                    let error = (back - &x0).abs().double_value(&[0, 0, 0, 0]);
                    prop_assert!(error < 1e-11, "{:?}, {:?}: {}", schedule, p, error);
                }
            }
        }
    }
}
