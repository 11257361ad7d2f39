//! What the two scores are worth at one moment, against the exact ones.

use dmdr_config::NetId;
use dmdr_diffusion::{sampler, time_grid};
use dmdr_methods::Nets;
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard, reseed};
use serde::{Deserialize, Serialize};

use super::{Histogram, to_points, to_tensor};
use crate::plane::mixture::{Mixture, Point};

/// Samples of each distribution, and student samples the exact gradient is taken at.
const SAMPLES: i64 = 8000;
const PROBED: usize = 512;
/// Euler steps of a score's sampler.
const STEPS: usize = 20;
/// Squares on a side for the overlap.
const BINS: usize = 24;
/// Noise levels of the gradient.
const TIMES: [f64; 3] = [0.3, 0.5, 0.7];

/// Real and fake score at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// `sum min(p_real, p_fake)` of what the two scores would sample, in squares: 1 = the same distribution.
    pub overlap: f64,
    /// Mean cosine between `x0_fake - x0_real` as the method takes it and the exact difference for the student's
    /// distribution and the data, over student samples and noise levels.
    pub cosine: f64,
}

/// Probes the scores among `nets` with the LoRA at `real_scale` in the real score; `student` are the student's samples.
pub fn probe(nets: &Nets, real_scale: f64, mixture: &Mixture, student: &[Point]) -> Probe {
    let _guard = no_grad_guard();
    let real = nets.teacher_with(NetId::FAKE_SCORE, real_scale);
    let fake = nets.view(NetId::FAKE_SCORE);
    Probe {
        overlap: histogram(&real).overlap(&histogram(&fake)),
        cosine: cosine(&real, &fake, mixture, student),
    }
}

/// What a score would sample, by the deterministic sampler.
fn histogram(score: &View<'_>) -> Histogram {
    reseed(&[0x0E_6A]);
    let noise = Tensor::randn([SAMPLES, 2, 1, 1], (Kind::Float, Device::Cpu));
    let nothing = Conditioning::none(SAMPLES, Device::Cpu);
    let x = sampler::euler(score.schedule, &time_grid(STEPS, 1.0), &noise, |x, t| {
        score.x0(x, t, &nothing)
    });
    Histogram::new(&to_points(&x), BINS)
}

fn cosine(real: &View<'_>, fake: &View<'_>, mixture: &Mixture, student: &[Point]) -> f64 {
    reseed(&[0xC05]);
    let x0 = to_tensor(&student[..PROBED]);
    let nothing = Conditioning::none(PROBED as i64, Device::Cpu);
    let mut total = 0.0;
    for t in TIMES {
        let times = Tensor::full([PROBED as i64], t, (Kind::Float, Device::Cpu));
        let x_t = real.schedule.add_noise(&x0, &x0.randn_like(), &times);
        let taken = fake.x0(&x_t, &times, &nothing) - real.x0(&x_t, &times, &nothing);
        for (x, taken) in to_points(&x_t).into_iter().zip(to_points(&taken)) {
            let of_data = mixture.posterior_mean(x, t);
            let of_student = posterior_mean(student, x, t);
            let exact = [0, 1].map(|axis| of_student[axis] - of_data[axis]);
            let dot: f64 = (0..2).map(|axis| exact[axis] * taken[axis]).sum();
            let norms = exact[0].hypot(exact[1]) * taken[0].hypot(taken[1]);
            total += dot / norms.max(1e-12);
        }
    }
    total / (TIMES.len() * PROBED) as f64
}

/// `E[x0 | x_t = x]` for the empirical distribution of `points`: exact up to their number.
fn posterior_mean(points: &[Point], x: Point, t: f64) -> Point {
    let log = |point: &Point| -> f64 {
        let squared: f64 = (0..2)
            .map(|axis| (x[axis] - (1.0 - t) * point[axis]).powi(2))
            .sum();
        -squared / (2.0 * t * t)
    };
    let logs: Vec<f64> = points.iter().map(log).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut mean = [0.0; 2];
    let mut total = 0.0;
    for (point, log) in points.iter().zip(logs) {
        let weight = (log - largest).exp();
        total += weight;
        mean[0] += weight * point[0];
        mean[1] += weight * point[1];
    }
    mean.map(|sum| sum / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_samples_have_the_posterior_of_their_distribution() {
        let mixture = Mixture::ring(4, 0.6, 0.15);
        let points = mixture.sample(20_000, 3);
        for t in [0.3, 0.7] {
            let x = [0.2, -0.3];
            let (exact, got) = (mixture.posterior_mean(x, t), posterior_mean(&points, x, t));
            assert!(
                (exact[0] - got[0]).hypot(exact[1] - got[1]) < 0.02,
                "{exact:?} {got:?}"
            );
        }
    }
}
