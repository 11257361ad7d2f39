//! Exact oracles: data N(M, S^2), a student N(m, s^2), and both scores in closed form.

use dmdr_config::{Curve, TimeDistribution};
use dmdr_diffusion::{Parameterization, Schedule, loss, sample_times};
use dmdr_methods::{Depths, Place, Share, backward_simulation};
use dmdr_models::{Call, Conditioning, Denoiser, View};
use dmdr_tensor::{Device, Kind, Tensor, reseed};

const M: f64 = 0.7;
const S: f64 = 0.4;

/// Posterior mean of x0 for data N(mean, std^2): `E[x0 | x_t]`.
struct Exact {
    mean: f64,
    std: f64,
}

impl Denoiser for Exact {
    fn forward(&self, x_t: &Tensor, t: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        let t = t.reshape([-1, 1, 1, 1]);
        let alpha: Tensor = 1.0 - &t;
        let variance = alpha.square() * self.std.powi(2) + t.square();
        self.mean + self.std.powi(2) * &alpha / variance * (x_t - &alpha * self.mean)
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

fn nothing(batch: i64) -> Conditioning {
    let options = (Kind::Float, Device::Cpu);
    Conditioning {
        tokens: Tensor::zeros([batch, 1, 1], options),
        pooled: Tensor::zeros([batch, 1], options),
    }
}

fn view(net: &Exact) -> View<'_> {
    View::new(net, Schedule::RectifiedFlow)
}

/// Gradient of the un-normalised matching loss with respect to the student's mean, over many samples.
fn mean_gradient(student_mean: f64, times: &TimeDistribution) -> f64 {
    reseed(&[3]);
    let n = 400_000;
    let options = (Kind::Float, Device::Cpu);
    let m = Tensor::from_slice(&[student_mean as f32]).set_requires_grad(true);
    let x0 = &m + Tensor::randn([n, 1, 1, 1], options) * S;
    let t = sample_times(times, 0, n, Device::Cpu);
    let x_t = Schedule::RectifiedFlow.add_noise(&x0.detach(), &x0.randn_like(), &t);
    let cond = nothing(n);
    let real = view(&Exact { mean: M, std: S }).x0_no_grad(&x_t, &t, &cond);
    let fake = view(&Exact {
        mean: student_mean,
        std: S,
    })
    .x0_no_grad(&x_t, &t, &cond);
    let loss = loss::distribution_matching(&x0, &real, &fake, false).loss;
    Tensor::run_backward(&[loss], &[&m], false, false)[0].double_value(&[0])
}

#[test]
fn matching_gradient_on_gaussians_is_the_analytic_one() {
    // d/dm = E_t[t^2 / Sig_t^2] (m - M), Sig_t^2 = (1-t)^2 S^2 + t^2. The golden factors are for times on (0, 1); ours
    // are clamped to [.02, .98], which moves them by less than the tolerance.
    let beta = TimeDistribution::Beta {
        a: Curve::Constant(4.0),
        b: Curve::Constant(1.5),
    };
    for (times, factor) in [(TimeDistribution::Uniform, 0.687_742), (beta, 0.941_923)] {
        for student in [-0.5, 0.2, 1.4] {
            let expected = factor * (student - M);
            let got = mean_gradient(student, &times);
            assert!(
                (got - expected).abs() < 4e-3,
                "{times:?} m = {student}: {got}, {expected}"
            );
        }
        assert!(
            mean_gradient(M, &times).abs() < 1e-6,
            "no gradient at the optimum"
        );
    }
}

#[test]
fn the_first_rollout_input_is_pure_noise_and_times_are_spread_evenly() {
    reseed(&[8]);
    let n = 40_000;
    let place = Place {
        seed: 0,
        update: 0,
        iteration: 0,
    };
    let depths = Depths::of(n, 4, &place);
    let n = n as i64;
    let noise = Tensor::randn([n, 1, 1, 1], (Kind::Float, Device::Cpu));
    let student = Exact { mean: M, std: S };
    let times = [1.0, 0.75, 0.5, 0.25, 0.0];
    let r = backward_simulation(
        &view(&student),
        &times,
        &depths,
        Share::WHOLE,
        &noise,
        &nothing(n),
    );
    for (block, t) in [0.25, 0.5, 0.75, 1.0].into_iter().enumerate() {
        let part = r.t.narrow(0, block as i64 * n / 4, n / 4);
        assert!(
            part.eq(t).all().int64_value(&[]) == 1,
            "block {block} is at {t}"
        );
    }
    let first = r.x_t.narrow(0, n * 3 / 4, n / 4);
    assert_eq!(first, noise.narrow(0, n * 3 / 4, n / 4));
    // One posterior-mean step from noise gives M everywhere; renoised to .75: N(.25 M, .75^2).
    let second = r.x_t.narrow(0, n / 2, n / 4);
    assert!((second.mean(Kind::Double).double_value(&[]) - 0.25 * M).abs() < 0.02);
    assert!((second.std(true).double_value(&[]) - 0.75).abs() < 0.02);
}
