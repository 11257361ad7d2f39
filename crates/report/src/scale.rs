//! Axes: from values to places, and the ticks between.

use crate::number;

/// A range of values along one side of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// From the smallest to the largest value, linear.
    pub(crate) fn exact(low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            low,
            high,
            is_log: false,
        }
    }

    /// Around `values` with some air; logarithmic when all are positive and the bulk spans more than
    /// a factor of 30.
    pub(crate) fn around(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
            return Self::exact(0.0, 1.0);
        };
        let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
        if low > 0.0 && at(0.95) > 30.0 * at(0.05) {
            return Self {
                low: low / 1.15,
                high: high * 1.15,
                is_log: true,
            };
        }
        let span = high - low;
        let air = if span > 0.0 {
            0.06 * span
        } else {
            high.abs().max(1.0) * 0.1
        };
        // Zero is a better end than a little more or less than zero.
        let low_end = if low >= 0.0 && low < 0.25 * high {
            0.0
        } else {
            low - air
        };
        let high_end = if high <= 0.0 && high > 0.25 * low {
            0.0
        } else {
            high + air
        };
        Self::exact(low_end, high_end)
    }

    pub(crate) fn is_log(self) -> bool {
        self.is_log
    }

    #[cfg(test)]
    fn ends(self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// 0 at the low end, 1 at the high end; values outside are put on the nearer end.
    pub(crate) fn place(self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        part.clamp(0.0, 1.0)
    }

    /// Round values between the ends, about `count` of them.
    pub(crate) fn ticks(self, count: usize) -> Vec<f64> {
        if self.is_log {
            self.log_ticks(count)
        } else {
            self.linear_ticks(count)
        }
    }

    /// Ticks with their labels.
    pub(crate) fn labels(self, count: usize) -> Vec<(f64, String)> {
        let ticks = self.ticks(count);
        let labels = number::ticks(&ticks);
        ticks.into_iter().zip(labels).collect()
    }

    fn linear_ticks(self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        // The round step that is nearest by ratio.
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .min_by(|a, b| (a / rough).ln().abs().total_cmp(&(b / rough).ln().abs()))
            .unwrap_or(rough);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    /// Powers of ten, thinned out where there are many; 1-2-5 where there are few.
    fn log_ticks(self, count: usize) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let inside = |factors: &'static [f64]| {
            let all = powers
                .clone()
                .flat_map(move |p| factors.iter().map(move |f| f * 10f64.powi(p)));
            all.filter(|value| (self.low..=self.high).contains(value))
                .collect::<Vec<_>>()
        };
        let tens = inside(&[1.0]);
        if tens.len() < 3 {
            return inside(&[1.0, 2.0, 5.0]);
        }
        let every = tens.len().div_ceil(count + 1);
        tens.into_iter().step_by(every).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::exact(0.0, 1.0).ticks(4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(
            Scale::exact(0.0, 499.0).ticks(5),
            [0.0, 100.0, 200.0, 300.0, 400.0]
        );
        assert_eq!(Scale::exact(-3.0, 3.0).ticks(4), [-2.0, 0.0, 2.0]);
        let log = Scale::around(&[0.001, 0.01, 0.5, 10.0]);
        assert!(log.is_log());
        assert_eq!(log.ticks(4), [0.001, 0.01, 0.1, 1.0, 10.0]);
    }

    #[test]
    fn places_are_between_0_and_1() {
        for scale in [
            Scale::exact(2.0, 4.0),
            Scale::around(&[1.0, 100.0]),
            Scale::around(&[5.0]),
        ] {
            let (low, high) = scale.ends();
            assert_eq!((scale.place(low), scale.place(high)), (0.0, 1.0));
            assert!(scale.place(low - 1.0) <= 0.0);
            assert!((0.0..=1.0).contains(&scale.place(f64::midpoint(low, high))));
        }
    }

    #[test]
    fn around_starts_at_zero_when_near() {
        assert!(Scale::around(&[0.1, 1.0]).ends().0 <= 0.0);
        assert!(Scale::around(&[0.6, 0.8]).ends().0 > 0.5);
        assert!(Scale::around(&[]).ends() == (0.0, 1.0));
    }
}
