//! Draws of renoise and training times.

use dmdr_config::TimeDistribution;
use dmdr_tensor::{Device, Kind, Tensor};

/// Times are kept this far from 0 and 1: at 0 both scores' predictions coincide and the gradient is 0/0.
const MARGIN: f64 = 0.02;

/// `count` times in `[0.02, 0.98]` from `distribution` as annealed at `step`; result `[B]`, f32.
///
/// A Beta (algorithms: `DynaRS`, the paper's section 3.2) is drawn as `Ga / (Ga + Gb)`.
pub fn sample_times(
    distribution: &TimeDistribution,
    step: u64,
    count: i64,
    device: Device,
) -> Tensor {
    let options = (Kind::Float, device);
    let t = match distribution {
        TimeDistribution::Uniform => Tensor::rand([count], options),
        TimeDistribution::Beta { a, b } => {
            let gamma =
                |shape: f64| Tensor::full([count], shape, options).internal_standard_gamma();
            let (a, b) = (gamma(a.at(step)), gamma(b.at(step)));
            &a / (&a + b)
        }
        TimeDistribution::LogitNormal { mean, std } => {
            (Tensor::randn([count], options) * std.at(step) + mean.at(step)).sigmoid()
        }
    };
    t.clamp(MARGIN, 1.0 - MARGIN)
}

#[cfg(test)]
mod tests {
    use dmdr_config::Curve;
    use dmdr_tensor::reseed;

    use super::*;

    fn moments(distribution: &TimeDistribution, step: u64) -> (f64, f64) {
        reseed(&[5, step]);
        let t = sample_times(distribution, step, 200_000, Device::Cpu);
        (
            t.mean(Kind::Double).double_value(&[]),
            t.std(true).double_value(&[]),
        )
    }

    #[test]
    fn annealed_beta_has_the_golden_moments() {
        let anneal = |from| Curve::Cosine {
            from,
            to: 1.0,
            over: 1000,
        };
        let dynars = TimeDistribution::Beta {
            a: anneal(4.0),
            b: anneal(1.5),
        };
        // Means and standard deviations along c = 1, .5, 0 (the paper's Beta(4, 1.5) -> uniform).
        for (step, mean, std) in [(0, 0.727, 0.175), (500, 0.667, 0.216), (1000, 0.5, 0.289)] {
            let (got_mean, got_std) = moments(&dynars, step);
            assert!(
                (got_mean - mean).abs() < 0.004,
                "step {step}: mean {got_mean}"
            );
            assert!((got_std - std).abs() < 0.006, "step {step}: std {got_std}");
        }
    }

    #[test]
    fn an_annealed_logit_normal_has_its_median_at_the_sigmoid_of_its_mean() {
        let distribution = TimeDistribution::LogitNormal {
            mean: Curve::Linear {
                from: 1.5,
                to: 0.0,
                over: 10,
            },
            std: Curve::Linear {
                from: 0.5,
                to: 1.0,
                over: 10,
            },
        };
        for (step, mean, std) in [(0, 1.5, 0.5), (5, 0.75, 0.75), (10, 0.0, 1.0)] {
            reseed(&[7, step]);
            let t = sample_times(&distribution, step, 100_000, Device::Cpu);
            let below = |x: f64| {
                let time = 1.0 / (1.0 + (-x).exp());
                t.le(time)
                    .to_kind(Kind::Double)
                    .mean(Kind::Double)
                    .double_value(&[])
            };
            assert!((below(mean) - 0.5).abs() < 0.006, "step {step}");
            // A deviation above the mean: Phi(1).
            assert!((below(mean + std) - 0.8413).abs() < 0.006, "step {step}");
        }
    }

    #[test]
    fn after_the_anneal_it_is_uniform() {
        let anneal = |from| Curve::Cosine {
            from,
            to: 1.0,
            over: 10,
        };
        let dynars = TimeDistribution::Beta {
            a: anneal(4.0),
            b: anneal(1.5),
        };
        reseed(&[1]);
        let t = sample_times(&dynars, 10, 100_000, Device::Cpu)
            .sort(0, false)
            .0;
        // Kolmogorov-Smirnov distance to U(0, 1), away from the clamped ends.
        let rank = Tensor::arange(100_000, (Kind::Float, Device::Cpu)) / 100_000.0;
        let inner = t.ge(0.03).logical_and(&t.le(0.97));
        let distance = (t - rank)
            .abs()
            .masked_select(&inner)
            .max()
            .double_value(&[]);
        assert!(distance < 0.008, "{distance}");
    }
}
