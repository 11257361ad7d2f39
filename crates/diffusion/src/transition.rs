//! One step of a stochastic few-step sampler, read as a Gaussian policy `p(x_t' | x_t)`.

use dmdr_config::Transition;
use dmdr_tensor::{Kind, Tensor};

/// Mean, like `x`, and standard deviation of `x_t'` given `x_t = x` and the clean prediction `x0`.
///
/// # Panics
/// If not `0 < next < t <= 1`: the last step, to `t' = 0`, has no noise and so no likelihood.
pub fn law(transition: Transition, x: &Tensor, x0: &Tensor, t: f64, next: f64) -> (Tensor, f64) {
    let std = self::std(transition, t, next);
    let mean = match transition {
        Transition::CoefficientPreserving(_) => {
            let kept = (next * next - std * std).max(0.0).sqrt();
            let eps = (x - x0 * (1.0 - t)) / t;
            x0 * (1.0 - next) + eps * kept
        }
        Transition::FlowSde(_) => {
            let dt = next - t;
            let g_squared = std * std / -dt;
            let v = (x - x0) / t;
            x * (1.0 + g_squared * dt / (2.0 * t))
                + v * ((1.0 + g_squared * (1.0 - t) / (2.0 * t)) * dt)
        }
    };
    (mean, std)
}

/// Standard deviation of [`law`].
///
/// # Panics
/// As there.
pub fn std(transition: Transition, t: f64, next: f64) -> f64 {
    assert!(0.0 < next && next < t && t <= 1.0, "0 < {next} < {t} <= 1");
    match transition {
        Transition::CoefficientPreserving(eta) => next * (eta * core::f64::consts::FRAC_PI_2).sin(),
        Transition::FlowSde(noise_level) => {
            // At t = 1 the diffusion coefficient is infinite; the next time stands in for t there.
            let below = if t < 1.0 { t } else { next };
            noise_level * (t / (1.0 - below) * (t - next)).sqrt()
        }
    }
}

/// `log N(x; mean, std^2)`, averaged over all but the batch: `[B]`. `x`, `mean [B, C, H, W]`.
///
/// The mean instead of the sum is Flow-GRPO's convention; clip ranges and KL weights are tied to it.
pub fn log_prob(x: &Tensor, mean: &Tensor, std: f64) -> Tensor {
    let dims: &[i64] = &[1, 2, 3];
    let quadratic = (x - mean).square().mean_dim(dims, false, Kind::Float) / (-2.0 * std * std);
    quadratic - std.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Device;

    use super::*;

    fn one(value: f64) -> Tensor {
        Tensor::from_slice(&[value]).reshape([1, 1, 1, 1])
    }

    fn law(transition: Transition, t: f64, next: f64) -> (f64, f64, f64) {
        let (x, v) = (0.3, -0.2);
        let (mean, std) = super::law(transition, &one(x), &one(x - t * v), t, next);
        let log_prob = log_prob(&one(0.25), &mean, std).double_value(&[0]);
        (mean.double_value(&[0, 0, 0, 0]), std, log_prob)
    }

    /// Golden values computed independently in f64.
    #[test]
    fn golden_transitions() {
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-6;
        let sde = Transition::FlowSde(0.7);
        let (mean, std, log_prob) = law(sde, 1.0, 0.9);
        assert!(close(mean, 0.2465) && close(std, 0.7) && close(log_prob, -0.562_276_089));
        let (mean, std, log_prob) = law(sde, 0.75, 0.5);
        assert!(close(mean, 0.288_75) && close(std, 0.606_217_783));
        assert!(close(log_prob, -0.420_465_495));

        for (eta, mean, std) in [
            (0.7, 0.281_748_812, 0.445_503_262),
            (0.9, 0.244_554_308, 0.493_844_170),
        ] {
            let cps = Transition::CoefficientPreserving(eta);
            let got = law(cps, 0.75, 0.5);
            assert!(close(got.0, mean) && close(got.1, std), "{got:?}");
        }
    }

    #[test]
    fn full_fresh_noise_is_renoising() {
        let renoise = Transition::CoefficientPreserving(1.0);
        let options = (Kind::Double, Device::Cpu);
        let (x, x0) = (
            Tensor::randn([2, 3, 4, 4], options),
            Tensor::randn([2, 3, 4, 4], options),
        );
        let (mean, std) = super::law(renoise, &x, &x0, 0.75, 0.5);
        assert!((mean - x0 * 0.5).abs().max().double_value(&[]) < 1e-7);
        assert!((std - 0.5).abs() < 1e-12);
    }
}
