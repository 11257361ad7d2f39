//! The Beta distribution, from which renoising times are drawn (`DynaRS`).

/// `Beta(a, b)` on `[0, 1]`, with `a, b > 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beta {
    a: f64,
    b: f64,
    /// `ln B(a, b)`.
    ln_norm: f64,
}

impl Beta {
    /// None unless both parameters are positive and finite.
    pub(crate) fn new(a: f64, b: f64) -> Option<Self> {
        let valid = |x: f64| x.is_finite() && x > 0.0;
        (valid(a) && valid(b)).then(|| Self {
            a,
            b,
            ln_norm: ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b),
        })
    }

    /// The density at `t` in `(0, 1)`.
    pub(crate) fn density(self, t: f64) -> f64 {
        ((self.a - 1.0) * t.ln() + (self.b - 1.0) * (1.0 - t).ln() - self.ln_norm).exp()
    }

    /// The probability of a time below `t`: the regularised incomplete beta function `I_t(a, b)`.
    pub(crate) fn cumulative(self, t: f64) -> f64 {
        if t <= 0.0 {
            return 0.0;
        }
        if t >= 1.0 {
            return 1.0;
        }
        let front = (self.a * t.ln() + self.b * (1.0 - t).ln() - self.ln_norm).exp();
        // The fraction converges fast below the mean; above it, I_t(a, b) = 1 - I_{1-t}(b, a).
        if t < (self.a + 1.0) / (self.a + self.b + 2.0) {
            front * fraction(self.a, self.b, t) / self.a
        } else {
            1.0 - front * fraction(self.b, self.a, 1.0 - t) / self.b
        }
    }

    /// The time below which a part `p` in `[0, 1]` of the draws lies, by bisection.
    pub(crate) fn quantile(self, p: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.cumulative(middle) < p {
                low = middle;
            } else {
                high = middle;
            }
        }
        f64::midpoint(low, high)
    }
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
fn fraction(a: f64, b: f64, t: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |x: f64| if x.abs() < TINY { TINY } else { x };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * t / (a + 1.0));
    let mut value = d;
    for m in 1..200 {
        let m = f64::from(m);
        let even = m * (b - m) * t / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * t / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change = c * d;
            value *= change;
        }
        if (change - 1.0).abs() < 1e-12 {
            break;
        }
    }
    value
}

/// `ln Γ(x)` for `x > 0`, by Stirling's series after shifting `x` above 10.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beta(a: f64, b: f64) -> Beta {
        Beta::new(a, b).expect("valid parameters")
    }

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn closed_forms() {
        for t in [0.05, 0.3, 0.5, 0.77, 0.99] {
            assert_close(beta(1.0, 1.0).cumulative(t), t);
            assert_close(beta(3.0, 1.0).cumulative(t), t.powi(3));
            assert_close(beta(1.0, 2.5).cumulative(t), 1.0 - (1.0 - t).powf(2.5));
            assert_close(
                beta(0.5, 0.5).cumulative(t),
                std::f64::consts::FRAC_2_PI * t.sqrt().asin(),
            );
            assert_close(beta(1.0, 1.0).density(t), 1.0);
            assert_close(beta(2.0, 2.0).density(t), 6.0 * t * (1.0 - t));
        }
    }

    #[test]
    fn quantile_inverts_cumulative() {
        let dynars = beta(4.0, 1.5);
        for p in [0.05, 0.25, 0.5, 0.75, 0.95] {
            assert_close(dynars.cumulative(dynars.quantile(p)), p);
        }
        assert_close(beta(2.0, 2.0).quantile(0.5), 0.5);
    }

    #[test]
    fn density_is_the_slope_of_cumulative() {
        let (dynars, h) = (beta(4.0, 1.5), 1e-5);
        for t in [0.2, 0.5, 0.9] {
            let slope = (dynars.cumulative(t + h) - dynars.cumulative(t - h)) / (2.0 * h);
            assert!((slope - dynars.density(t)).abs() < 1e-6);
        }
    }

    #[test]
    fn parameters_are_checked() {
        assert_eq!(Beta::new(0.0, 1.0), None);
        assert_eq!(Beta::new(1.0, f64::NAN), None);
    }
}
