//! The denoising loss of teacher and fake score.

use dmdr_tensor::{Kind, Tensor};

use crate::Schedule;

/// Flow-matching loss of a clean prediction: `mean |u_hat - u|^2` with `u = eps - x0`, per sample `[B]`.
///
/// For the rectified flow `u_hat - u = (x0 - x0_hat) / t`, so this is the velocity MSE of SiT and SD3 whatever the
/// network's raw output is. `t` is kept above 0.05 in the weight, as x0-predicting networks need (arXiv 2511.13720).
pub fn denoise(schedule: Schedule, x0_hat: &Tensor, x0: &Tensor, t: &Tensor) -> Tensor {
    match schedule {
        Schedule::RectifiedFlow => {
            let weight = t.clamp_min(0.05).square().reciprocal();
            let dims: &[i64] = &[1, 2, 3];
            weight * (x0_hat - x0).square().mean_dim(dims, false, Kind::Float)
        }
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;
    use crate::Parameterization;

    #[test]
    fn equals_velocity_mse() {
        reseed(&[2]);
        let options = (Kind::Float, Device::Cpu);
        let draw = || Tensor::randn([3, 2, 4, 4], options);
        let (x0, eps, u_hat) = (draw(), draw(), draw());
        let t = Tensor::from_slice(&[0.2f32, 0.5, 0.9]);
        let schedule = Schedule::RectifiedFlow;
        let x_t = schedule.add_noise(&x0, &eps, &t);
        let x0_hat = Parameterization::Flow.to_x0(schedule, &u_hat, &x_t, &t);
        let u = Parameterization::Flow.target(schedule, &x0, &eps, &t);
        let expected = (u_hat - u)
            .square()
            .mean_dim(&[1i64, 2, 3][..], false, Kind::Float);
        let got = denoise(schedule, &x0_hat, &x0, &t);
        assert!((got - expected).abs().max().double_value(&[]) < 1e-4);
    }
}
