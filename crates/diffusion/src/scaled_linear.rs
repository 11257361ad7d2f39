//! The variance-preserving schedule of latent diffusion: 1000 discrete steps whose betas are squares of a linear ramp (diffusers'
//! `scaled_linear`, .00085 to .012), and the one place that maps continuous times to them.
//!
//! `t in [0, 1]` goes to place `round(1000 t)`. Place 0 is clean data (`alpha = 1`, `sigma = 0`), which the network never
//! sees; place `k` is the network's timestep `k - 1`. So the times 1, .75, .5, .25, 0 are DMD2's timesteps 999, 749, 499,
//! 249 and the image, and renoise times in `[.02, .98]` its 20 to 980 but for one. The last step still holds data (`alpha = .068`), but samplers start it from pure noise.

use std::sync::LazyLock;

use dmdr_tensor::{Kind, Tensor, has_tangent};

const NUM_STEPS: usize = 1000;
const FIRST_BETA: f64 = 0.000_85;
const LAST_BETA: f64 = 0.012;

/// Alphas of all places, then sigmas.
static TABLE: LazyLock<[Vec<f64>; 2]> = LazyLock::new(|| {
    let (first, last) = (FIRST_BETA.sqrt(), LAST_BETA.sqrt());
    let mut alpha_bar = 1.0;
    let mut alphas_bar = vec![alpha_bar];
    for step in 0..NUM_STEPS {
        let root = first + (last - first) * step as f64 / (NUM_STEPS - 1) as f64;
        alpha_bar *= 1.0 - root * root;
        alphas_bar.push(alpha_bar);
    }
    [
        alphas_bar.iter().map(|value| value.sqrt()).collect(),
        alphas_bar
            .iter()
            .map(|value| (1.0 - value).sqrt())
            .collect(),
    ]
});

/// The place of each time, i64, like `t`.
fn places(t: &Tensor) -> Tensor {
    (t * NUM_STEPS as f64)
        .round()
        .clamp(0.0, NUM_STEPS as f64)
        .to_kind(Kind::Int64)
}

/// What rounding takes away of a tangent of `t`: zeros, like `t`, that have it. Nothing outside of a
/// [`jvp`](dmdr_tensor::jvp).
fn lost_tangent(t: &Tensor) -> Option<Tensor> {
    has_tangent(t).then(|| t - t.detach())
}

/// `(alpha, sigma)`, like `t [B]` in shape and kind; computed in f64. Their derivatives are [`slopes`].
pub(crate) fn coefficients(t: &Tensor) -> (Tensor, Tensor) {
    let places = places(t);
    let [alpha, sigma] = TABLE.each_ref().map(|table| {
        Tensor::from_slice(table)
            .to_kind(t.kind())
            .to_device(t.device())
            .index_select(0, &places)
    });
    let Some(zeros) = lost_tangent(t) else {
        return (alpha, sigma);
    };
    let [alpha_slope, sigma_slope] = slopes(&places).map(|slope| slope.to_kind(t.kind()) * &zeros);
    (alpha + alpha_slope, sigma + sigma_slope)
}

/// Derivatives of alpha and sigma by `t` at `places [B]`, f64: differences of the neighbouring alphas, and of
/// `alpha^2 + sigma^2 = 1`. At place 0, which no network sees, sigma's is finite by decree.
fn slopes(places: &Tensor) -> [Tensor; 2] {
    let last = NUM_STEPS as i64;
    let [alphas, sigmas] = TABLE
        .each_ref()
        .map(|table| Tensor::from_slice(table).to_device(places.device()));
    let (below, above) = ((places - 1).clamp(0, last), (places + 1).clamp(0, last));
    let at = |places: &Tensor| alphas.index_select(0, places);
    let by_alpha = (at(&above) - at(&below)) / (&above - &below) * NUM_STEPS as f64;
    let smallest = TABLE[1][1];
    let sigma = sigmas.index_select(0, places).clamp_min(smallest);
    let by_sigma = -at(places) * &by_alpha / sigma;
    [by_alpha, by_sigma]
}

/// The timesteps that a network on this schedule is given for `t [B]` in `[0, 1]`: whole numbers `0 ..= 999`, f32, `[B]`.
/// Their derivative is that of what was rounded, 1000.
pub fn timesteps(t: &Tensor) -> Tensor {
    let timesteps = (places(t) - 1).clamp_min(0).to_kind(Kind::Float);
    match lost_tangent(t) {
        Some(zeros) => timesteps + zeros.to_kind(Kind::Float) * NUM_STEPS as f64,
        None => timesteps,
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, jvp};

    use super::*;
    use crate::{Parameterization, Schedule, sampler, time_grid};

    fn scalar(value: f64) -> Tensor {
        Tensor::from_slice(&[value]).reshape([1, 1, 1, 1])
    }

    fn value(x: &Tensor) -> f64 {
        x.double_value(&[0, 0, 0, 0])
    }

    fn time(timestep: i64) -> Tensor {
        Tensor::from_slice(&[(timestep + 1) as f64 / 1000.0])
    }

    #[test]
    fn golden_coefficients() {
        for (timestep, alpha, sigma) in [
            (999, 0.068_265, 0.997_667),
            (980, 0.076_445, 0.997_074),
            (749, 0.237_957, 0.971_276),
            (499, 0.526_944, 0.849_900),
            (399, 0.652_753, 0.757_571),
            (249, 0.821_847, 0.569_708),
            (20, 0.990_613, 0.136_695),
            (0, 0.999_575, 0.029_155),
        ] {
            let t = time(timestep);
            assert_eq!(timesteps(&t).int64_value(&[0]), timestep);
            let (a, s) = Schedule::ScaledLinear.coefficients(&t);
            assert!((value(&a) - alpha).abs() < 1e-6, "alpha at {timestep}");
            assert!((value(&s) - sigma).abs() < 1e-6, "sigma at {timestep}");
            assert!((value(&(a.square() + s.square())) - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn few_step_students_get_dmd2s_timesteps_and_end_in_data() {
        let grid: Vec<f32> = time_grid(4, 1.0).iter().map(|&t| t as f32).collect();
        let t = Tensor::from_slice(&grid);
        let found = Vec::<f32>::try_from(timesteps(&t)).expect("f32");
        assert_eq!(found[..4], [999.0, 749.0, 499.0, 249.0]);
        let (alpha, sigma) = Schedule::ScaledLinear.coefficients(&t);
        assert!((alpha.double_value(&[4, 0, 0, 0]) - 1.0).abs() < f64::EPSILON);
        assert!(sigma.double_value(&[4, 0, 0, 0]).abs() < f64::EPSILON);
    }

    /// The inverse of `(timestep + 1) / 1000` in f32 as well.
    #[test]
    fn every_timestep_has_its_time() {
        let expected = Tensor::arange(1000, (Kind::Int64, Device::Cpu));
        let t = (&expected + 1).to_kind(Kind::Float) / 1000.0;
        assert!(timesteps(&t).equal(&expected.to_kind(Kind::Float)));
    }

    /// Rounding takes no derivative away, and changes none.
    #[test]
    fn derivatives_are_those_of_a_smooth_schedule() {
        let places = [1.0, 2.0, 20.0, 250.3, 500.0, 749.8, 999.0];
        let t = Tensor::from_slice(&places) / 1000.0;
        let dt = Tensor::from_slice(&[1.0, -2.0, 1.0, 0.5, 1.0, 1.0, 3.0]);
        let at = |t: &Tensor| {
            let (alpha, sigma) = coefficients(t);
            Tensor::cat(&[alpha, sigma, timesteps(t)], 0)
        };
        let (value, derivative) = jvp(&[(&t, &dt)], |inputs| at(&inputs[0]));
        assert_eq!(value, at(&t));
        let [alpha, sigma] = [0, 7].map(|start| value.narrow(0, start, 7));
        let [by_alpha, by_sigma, by_timestep] =
            [0, 7, 14].map(|start| derivative.narrow(0, start, 7));
        assert_eq!(by_timestep, &dt * 1000.0);
        // The continuous schedule: the logarithm of alpha^2 falls by beta at each step.
        let share = ((t * 1000.0).round() - 0.5) / 999.0; // between this step and the next
        let root = share * (LAST_BETA.sqrt() - FIRST_BETA.sqrt()) + FIRST_BETA.sqrt();
        let kept: Tensor = 1.0 - root.square();
        let expected = kept.log() * &alpha * &dt * 500.0;
        let error = (&by_alpha / expected - 1.0).abs().max().double_value(&[]);
        assert!(error < 1e-3, "{error:.1e}");
        let still: Tensor = alpha * by_alpha + sigma * by_sigma;
        assert!(still.abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_derivative_of_clean_data_is_finite() {
        let (zero, one) = (Tensor::from_slice(&[0.0f32]), Tensor::from_slice(&[1f32]));
        let (value, derivative) = jvp(&[(&zero, &one)], |t| coefficients(&t[0]).1);
        assert_eq!(value, zero);
        assert!(derivative.double_value(&[0]).is_finite());
    }

    /// x = .8, eps = .5, from step to step; computed independently in f64.
    #[test]
    fn golden_ddim() {
        let schedule = Schedule::ScaledLinear;
        let (x, eps) = (scalar(0.8), scalar(0.5));
        for (from, to, clean, next) in [
            (999_i32, 749, 4.411_730_221, 1.535_439_552),
            (749, 499, 1.321_088_522, 1.121_089_358),
        ] {
            let x0 = Parameterization::Epsilon.to_x0(schedule, &eps, &x, &time(from.into()));
            assert!((value(&x0) - clean).abs() < 1e-8);
            let there = schedule.add_noise(&x0, &eps, &time(to.into()));
            assert!((value(&there) - next).abs() < 1e-8);

            let times = [from, to].map(|step| f64::from(step + 1) / 1000.0);
            let there = sampler::euler(schedule, &times, &x, |x, t| {
                Parameterization::Epsilon.to_x0(schedule, &eps, x, t)
            });
            assert!((value(&there) - next).abs() < 1e-5);
        }
    }

    /// Data N(.7, .4^2) and the analytic path of the probability flow from pure noise, `M alpha + (x - M alpha_1) Sig / Sig_1`
    /// with `Sig^2 = alpha^2 S^2 + sigma^2`: DDIM with the exact posterior mean comes ever closer to its end.
    #[test]
    fn euler_converges_to_the_probability_flow() {
        const M: f64 = 0.7;
        const S: f64 = 0.4;
        let schedule = Schedule::ScaledLinear;
        let variance = |alpha: &Tensor, sigma: &Tensor| alpha.square() * (S * S) + sigma.square();
        let posterior_mean = |x: &Tensor, t: &Tensor| {
            let (alpha, sigma) = schedule.coefficients(t);
            M + (S * S) * &alpha / variance(&alpha, &sigma) * (x - &alpha * M)
        };
        let x = scalar(1.3);
        let (alpha, sigma) = schedule.coefficients(&time(999));
        let exact = M + (1.3 - M * value(&alpha)) * S / value(&variance(&alpha, &sigma)).sqrt();
        let error = |num_steps| {
            let end = sampler::euler(schedule, &time_grid(num_steps, 1.0), &x, posterior_mean);
            (value(&end) - exact).abs()
        };
        let errors = [10, 100, 1000].map(error);
        assert!(
            errors[0] > 4.0 * errors[1] && errors[1] > 4.0 * errors[2],
            "{errors:?}"
        );
        assert!(errors[2] < 4e-3, "{errors:?}");
    }
}
