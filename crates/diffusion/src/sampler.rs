//! Samplers as free functions of a clean-image predictor `x0(x_t, t)`, `x_t [B, C, H, W]`, `t [B]`.

use dmdr_tensor::{Kind, Tensor};

use crate::Schedule;

/// `[B]` copies of `t`.
pub fn batch_time(x: &Tensor, t: f64) -> Tensor {
    Tensor::full([x.size()[0]], t, (Kind::Float, x.device()))
}

/// Deterministic Euler (DDIM) along `times`, from pure noise `x` at `times[0]` to `times.last()`.
///
/// `x_t' = alpha' x0_hat + sigma' eps_hat`; for the rectified flow exactly `x + (t' - t) v`.
pub fn euler(
    schedule: Schedule,
    times: &[f64],
    x: &Tensor,
    mut x0: impl FnMut(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let mut x = x.shallow_clone();
    for pair in times.windows(2) {
        let (t, next) = (batch_time(&x, pair[0]), batch_time(&x, pair[1]));
        let clean = x0(&x, &t);
        x = ode_step(schedule, &x, &clean, &t, &next);
    }
    x
}

/// One step of [`euler`] from `x_t [B, C, H, W]` at `t [B]` to `next [B]`, where the clean image is predicted as `x0`.
pub fn ode_step(
    schedule: Schedule,
    x_t: &Tensor,
    x0: &Tensor,
    t: &Tensor,
    next: &Tensor,
) -> Tensor {
    let (alpha, sigma) = schedule.coefficients(t);
    let eps = (x_t - alpha * x0) / sigma;
    schedule.add_noise(x0, &eps, next)
}

/// The few-step sampler of DMD2, LCM and DMDR: predict the clean image, renoise it with fresh noise to the next time.
///
/// Only right for students whose `x0` is a sample, not a posterior mean. The last prediction is returned.
pub fn renoise(
    schedule: Schedule,
    times: &[f64],
    x: &Tensor,
    mut x0: impl FnMut(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let mut x = x.shallow_clone();
    for pair in times.windows(2) {
        let clean = x0(&x, &batch_time(&x, pair[0]));
        let next = batch_time(&x, pair[1]);
        x = if pair[1] > 0.0 {
            schedule.add_noise(&clean, &clean.randn_like(), &next)
        } else {
            clean
        };
    }
    x
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;
    use crate::time_grid;

    const M: f64 = 0.7;
    const S: f64 = 0.4;

    /// Exact posterior mean of x0 for data N(M, S^2).
    fn posterior_mean(x: &Tensor, t: &Tensor) -> Tensor {
        let t = t.reshape([-1, 1, 1, 1]);
        let alpha: Tensor = 1.0 - &t;
        let var = alpha.square() * (S * S) + t.square();
        M + (S * S) * &alpha / var * (x - &alpha * M)
    }

    fn final_std(num_steps: usize, renoised: bool) -> f64 {
        reseed(&[11]);
        let x = Tensor::randn([400_000, 1, 1, 1], (Kind::Float, Device::Cpu));
        let times = time_grid(num_steps, 1.0);
        let schedule = Schedule::RectifiedFlow;
        let x = if renoised {
            renoise(schedule, &times, &x, posterior_mean)
        } else {
            euler(schedule, &times, &x, posterior_mean)
        };
        x.std(true).double_value(&[])
    }

    #[test]
    fn golden_standard_deviations() {
        for (num_steps, expected) in [(1, 0.0), (2, 0.137_931), (4, 0.259_757), (10, 0.339_117)] {
            let got = final_std(num_steps, false);
            assert!(
                (got - expected).abs() < 2e-3,
                "Euler, {num_steps} steps: {got}"
            );
        }
        for (num_steps, expected) in [(2, 0.137_931), (4, 0.212_941), (10, 0.243_671)] {
            let got = final_std(num_steps, true);
            assert!(
                (got - expected).abs() < 2e-3,
                "renoise, {num_steps} steps: {got}"
            );
        }
    }

    #[test]
    fn euler_is_exact_on_a_straight_field() {
        // One data point: every path is straight, so any number of steps lands on it.
        let point = Tensor::from_slice(&[0.3f32, -0.8]).reshape([1, 2, 1, 1]);
        let x = Tensor::randn([1, 2, 1, 1], (Kind::Float, Device::Cpu));
        for num_steps in [1, 3, 7] {
            let times = time_grid(num_steps, 3.0);
            let end = euler(Schedule::RectifiedFlow, &times, &x, |_, _| {
                point.shallow_clone()
            });
            assert!((end - &point).abs().max().double_value(&[]) < 1e-6);
        }
    }

    #[test]
    fn renoise_with_the_consistency_map_keeps_the_law() {
        // f(x, t) = M + (x - (1 - t) M) S / Sig_t maps any marginal to the data law.
        reseed(&[12]);
        let x = Tensor::randn([400_000, 1, 1, 1], (Kind::Float, Device::Cpu));
        let end = renoise(Schedule::RectifiedFlow, &time_grid(4, 1.0), &x, |x, t| {
            let t = t.reshape([-1, 1, 1, 1]);
            let alpha: Tensor = 1.0 - &t;
            let sig = (alpha.square() * (S * S) + t.square()).sqrt();
            M + (x - alpha * M) * S / sig
        });
        assert!((end.std(true).double_value(&[]) - S).abs() < 2e-3);
        assert!((end.mean(Kind::Double).double_value(&[]) - M).abs() < 2e-3);
    }
}
