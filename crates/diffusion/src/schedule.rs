//! How data and noise mix: `x_t = alpha(t) x0 + sigma(t) eps`.

use dmdr_tensor::Tensor;

use crate::scaled_linear;

/// A noise schedule on `t in [0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `alpha = 1 - t`, `sigma = t`: SiT, and most published since 2024.
    RectifiedFlow,
    /// `alpha^2 + sigma^2 = 1` in 1000 discrete steps: latent diffusion before that. `t` is rounded to a thousandth, and at `t = 1` there is still
    /// some data. See [`timesteps`](crate::timesteps).
    ScaledLinear,
}

impl Schedule {
    /// `(alpha, sigma)`, each shaped `[B, 1, 1, 1]`, for `t [B]`.
    pub fn coefficients(self, t: &Tensor) -> (Tensor, Tensor) {
        let (alpha, sigma) = match self {
            Self::RectifiedFlow => (1.0 - t, t.shallow_clone()),
            Self::ScaledLinear => scaled_linear::coefficients(t),
        };
        let shape = [-1, 1, 1, 1];
        (alpha.reshape(shape), sigma.reshape(shape))
    }

    /// The forward process: `x0, eps [B, C, H, W]`, `t [B]`, result like `x0`.
    pub fn add_noise(self, x0: &Tensor, eps: &Tensor, t: &Tensor) -> Tensor {
        let (alpha, sigma) = self.coefficients(t);
        alpha * x0 + sigma * eps
    }
}

/// Decreasing times from 1 to 0 in `num_steps` steps, shifted by `t' = s t / (1 + (s - 1) t)`: `num_steps + 1` values.
///
/// The same list is used in training and sampling; diffusers' default list ends near 0 twice and wastes a call.
pub fn time_grid(num_steps: usize, shift: f64) -> Vec<f64> {
    (0..=num_steps)
        .map(|i| {
            let t = 1.0 - i as f64 / num_steps as f64;
            shift * t / (1.0 + (shift - 1.0) * t)
        })
        .collect()
}

/// Times of a few-step student: [`time_grid`]; one of a single step may be told `conditioning_time` of its pure noise
/// instead of 1, as one-step students of noise predictors are (DMD2, arXiv 2405.14867: timestep 399, time 0.4).
pub fn student_times(num_steps: usize, shift: f64, conditioning_time: Option<f64>) -> Vec<f64> {
    match conditioning_time {
        Some(time) if num_steps == 1 => vec![time, 0.0],
        _ => time_grid(num_steps, shift),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_grids() {
        let close = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(&time_grid(4, 1.0), &[1.0, 0.75, 0.5, 0.25, 0.0]));
        assert!(close(&time_grid(4, 3.0), &[1.0, 0.9, 0.75, 0.5, 0.0]));
        assert!(close(
            &time_grid(4, 6.0),
            &[1.0, 0.947_368, 0.857_143, 0.666_667, 0.0]
        ));
        assert!(close(&time_grid(2, 3.0), &[1.0, 0.75, 0.0]));
        assert!(close(&student_times(1, 1.0, Some(0.4)), &[0.4, 0.0]));
        assert!(close(&student_times(1, 1.0, None), &[1.0, 0.0]));
        // Drawn with more steps than it was trained for.
        assert!(close(&student_times(2, 3.0, Some(0.4)), &[1.0, 0.75, 0.0]));
    }
}
