//! The denoising loss of teacher and fake score.

use dmdr_tensor::{Kind, Tensor};

use crate::Schedule;

/// The loss a schedule's teachers are trained with, from clean predictions `x0_hat [B, C, H, W]` at `t [B]`, per sample
/// `[B]`, whatever the network's raw output is.
///
/// Rectified flow: the velocity MSE, as `u = eps - x0` gives `u_hat - u = (x0 - x0_hat) / t`; `t` is kept
/// above 0.05 in the weight, as x0-predicting networks need (arXiv 2511.13720). Scaled linear: the noise MSE, as
/// `eps_hat - eps = (x0 - x0_hat) alpha / sigma`, for `t > 0`.
pub fn denoise(schedule: Schedule, x0_hat: &Tensor, x0: &Tensor, t: &Tensor) -> Tensor {
    let weight = match schedule {
        Schedule::RectifiedFlow => t.clamp_min(0.05).square().reciprocal(),
        Schedule::ScaledLinear => {
            let (alpha, sigma) = schedule.coefficients(t);
            (alpha / sigma).square().reshape([-1])
        }
    };
    let dims: &[i64] = &[1, 2, 3];
    weight * (x0_hat - x0).square().mean_dim(dims, false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;
    use crate::Parameterization;

    fn equals_mse_of(schedule: Schedule, output: Parameterization) {
        reseed(&[2]);
        let options = (Kind::Float, Device::Cpu);
        let draw = || Tensor::randn([3, 2, 4, 4], options);
        let (x0, eps, raw) = (draw(), draw(), draw());
        let t = Tensor::from_slice(&[0.2f32, 0.5, 0.9]);
        let x_t = schedule.add_noise(&x0, &eps, &t);
        let x0_hat = output.to_x0(schedule, &raw, &x_t, &t);
        let expected = (raw - output.target(schedule, &x0, &eps, &t))
            .square()
            .mean_dim(&[1i64, 2, 3][..], false, Kind::Float);
        let got = denoise(schedule, &x0_hat, &x0, &t);
        assert!((got - expected).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn equals_the_mse_of_what_teachers_predict() {
        equals_mse_of(Schedule::RectifiedFlow, Parameterization::Flow);
        equals_mse_of(Schedule::ScaledLinear, Parameterization::Epsilon);
    }
}
