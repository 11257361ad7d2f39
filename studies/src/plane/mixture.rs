//! The two-dimensional world: Gaussian mixtures whose densities and scores are known exactly at every noise level.
//!
//! `x_t = (1 - t) x0 + t eps`, so component `k` is `N((1 - t) mu_k, V_k)` with `V_k = (1 - t)^2 s_k^2 + t^2` at time `t`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A point of the plane.
pub type Point = [f64; 2];

/// One isotropic Gaussian of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Component {
    /// Share of the samples; all shares add up to 1.
    pub weight: f64,
    /// Centre.
    pub mean: Point,
    /// Standard deviation of each coordinate.
    pub std: f64,
}

/// A mixture of Gaussians.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    components: Vec<Component>,
}

impl Mixture {
    /// The mixture of `components`, whose weights are divided by their sum.
    ///
    /// # Panics
    /// Without components, or if a weight or a deviation is not positive.
    pub fn new(mut components: Vec<Component>) -> Self {
        let total: f64 = components.iter().map(|component| component.weight).sum();
        assert!(!components.is_empty(), "a mixture has components");
        for component in &mut components {
            assert!(
                component.weight > 0.0 && component.std > 0.0,
                "{component:?}"
            );
            component.weight /= total;
        }
        Self { components }
    }

    /// `count` equal components on a circle around the origin.
    pub fn ring(count: usize, radius: f64, std: f64) -> Self {
        let component = |index: usize| {
            let angle = std::f64::consts::TAU * index as f64 / count as f64;
            Component {
                weight: 1.0,
                mean: [radius * angle.cos(), radius * angle.sin()],
                std,
            }
        };
        Self::new((0..count).map(component).collect())
    }

    /// The components.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// `count` samples: a pure function of the seed.
    pub fn sample(&self, count: usize, seed: u64) -> Vec<Point> {
        let mut rng = generator(seed);
        (0..count)
            .map(|_| {
                let mut place: f64 = rng.random();
                let last = self.components.len() - 1;
                let chosen = self.components[..last].iter().find(|component| {
                    place -= component.weight;
                    place < 0.0
                });
                let component = chosen.unwrap_or(&self.components[last]);
                component.mean.map(|mean| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    mean + component.std * noise
                })
            })
            .collect()
    }

    /// `log p_t(x)`.
    pub fn log_density(&self, x: Point, t: f64) -> f64 {
        let logs: Vec<f64> = self.log_terms(x, t).collect();
        log_sum_exp(&logs)
    }

    /// `E[x0 | x_t = x]`.
    pub fn posterior_mean(&self, x: Point, t: f64) -> Point {
        let logs: Vec<f64> = self.log_terms(x, t).collect();
        let total = log_sum_exp(&logs);
        let mut mean = [0.0; 2];
        for (component, log) in self.components.iter().zip(logs) {
            let share = (log - total).exp();
            let gain = (1.0 - t) * component.std.powi(2) / variance(component, t);
            for axis in 0..2 {
                let center = component.mean[axis];
                mean[axis] += share * (center + gain * (x[axis] - (1.0 - t) * center));
            }
        }
        mean
    }

    /// `grad log p_t(x)`, by `x0 = (x + t^2 s) / (1 - t)`; for `t` in `(0, 1)`.
    pub fn score(&self, x: Point, t: f64) -> Point {
        let x0 = self.posterior_mean(x, t);
        [0, 1].map(|axis| ((1.0 - t) * x0[axis] - x[axis]) / (t * t))
    }

    /// The component whose centre is nearest, and its distance in units of its deviation.
    pub fn nearest(&self, x: Point) -> (usize, f64) {
        let distance = |component: &Component| {
            let [dx, dy] = [0, 1].map(|axis| x[axis] - component.mean[axis]);
            dx.hypot(dy) / component.std
        };
        let distances = self.components.iter().map(distance).enumerate();
        distances
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .expect("a mixture has components")
    }

    /// `log (w_k p_k,t(x))` of each component.
    fn log_terms(&self, x: Point, t: f64) -> impl Iterator<Item = f64> {
        self.components.iter().map(move |component| {
            let variance = variance(component, t);
            let squared: f64 = (0..2)
                .map(|axis| (x[axis] - (1.0 - t) * component.mean[axis]).powi(2))
                .sum();
            component.weight.ln()
                - squared / (2.0 * variance)
                - (std::f64::consts::TAU * variance).ln()
        })
    }
}

/// `V` of a component at time `t`.
fn generator(seed: u64) -> ChaCha8Rng {
    // `SplitMix64`'s finaliser, of the plane's own number and the seed: neighbouring seeds share nothing.
    let mix = |value: u64| {
        let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    };
    ChaCha8Rng::seed_from_u64(mix(mix(8) ^ mix(seed)))
}

fn variance(component: &Component, t: f64) -> f64 {
    ((1.0 - t) * component.std).powi(2) + t * t
}

fn log_sum_exp(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest
        + logs
            .iter()
            .map(|log| (log - largest).exp())
            .sum::<f64>()
            .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two modes on the first axis: along it the posterior is that of the one-dimensional mixture.
    fn two() -> Mixture {
        let mode = |x: f64| Component {
            weight: 0.5,
            mean: [x, 0.0],
            std: 0.3,
        };
        Mixture::new(vec![mode(-2.0), mode(2.0)])
    }

    /// Golden values computed independently in f64, in one dimension.
    #[test]
    fn golden_posterior_and_score() {
        for (x, t, x0, score) in [
            (0.5, 0.5, 1.826_237_751, 1.652_475_502),
            (0.5, 0.9, 0.250_673_846, -0.586_336_562),
            (-0.1, 0.75, -0.177_786_687, 0.098_761_472),
            (1.2, 0.2, 1.704_918_033, 4.098_360_656),
        ] {
            assert!((two().posterior_mean([x, 0.3], t)[0] - x0).abs() < 1e-9);
            assert!((two().score([x, 0.3], t)[0] - score).abs() < 1e-8);
        }
    }

    #[test]
    fn the_score_is_the_gradient_of_the_log_density() {
        let mixture = Mixture::ring(5, 0.7, 0.1);
        let h = 1e-5;
        for t in [0.1, 0.5, 0.9] {
            let x = [0.21, -0.4];
            let slope = |axis: usize| {
                let moved = |by: f64| {
                    let mut x = x;
                    x[axis] += by;
                    mixture.log_density(x, t)
                };
                (moved(h) - moved(-h)) / (2.0 * h)
            };
            let score = mixture.score(x, t);
            for (axis, score) in score.iter().enumerate() {
                assert!((slope(axis) - score).abs() < 1e-5 * (1.0 + score.abs()));
            }
        }
    }

    #[test]
    fn densities_integrate_to_one_and_samples_follow_them() {
        let mixture = Mixture::ring(3, 0.6, 0.15);
        let step = 0.02;
        let axis = || (-150..150).map(|i| (f64::from(i) + 0.5) * step);
        for t in [0.0, 0.4] {
            let total: f64 = axis()
                .flat_map(|x| axis().map(move |y| [x, y]))
                .map(|x| mixture.log_density(x, t).exp() * step * step)
                .sum();
            assert!((total - 1.0).abs() < 1e-6, "{total}");
        }
        let samples = mixture.sample(30_000, 1);
        let mut counts = [0; 3];
        for &sample in &samples {
            counts[mixture.nearest(sample).0] += 1;
        }
        for count in counts {
            assert!(
                (f64::from(count) / 30_000.0 - 1.0 / 3.0).abs() < 0.015,
                "{counts:?}"
            );
        }
        assert_eq!(samples[..9], mixture.sample(9, 1)[..]);
    }
}
