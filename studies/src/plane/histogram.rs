//! Divergences between samples and a known density, by counting in small squares.

use crate::plane::mixture::{Mixture, Point};

/// The square `[-EXTENT, EXTENT]^2` is counted; samples outside fall into its border.
const EXTENT: f64 = 1.2;

/// Counts of samples in a grid of squares.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u32>,
    bins: usize,
    total: u32,
}

/// How far two distributions are apart, in nats.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Divergences {
    /// `KL(samples || density)`: high where samples are that should not be.
    pub reverse: f64,
    /// `KL(density || samples)`: high where samples are missing.
    pub forward: f64,
}

impl Histogram {
    /// Counts `points` in `bins x bins` squares.
    pub fn new(points: &[Point], bins: usize) -> Self {
        let place = |value: f64| {
            let bin = (value + EXTENT) / (2.0 * EXTENT) * bins as f64;
            (bin.max(0.0) as usize).min(bins - 1)
        };
        let mut counts = vec![0; bins * bins];
        for &[x, y] in points {
            counts[place(y) * bins + place(x)] += 1;
        }
        Self {
            counts,
            bins,
            total: points.len() as u32,
        }
    }

    /// Divergences from `mixture`, whose mass in a square is taken from the density in its centre. An empty square
    /// counts as half a sample, so `forward` is bounded.
    pub fn divergences(&self, mixture: &Mixture) -> Divergences {
        let side = 2.0 * EXTENT / self.bins as f64;
        let center = |bin: usize| (bin as f64 + 0.5) * side - EXTENT;
        let total = f64::from(self.total);
        let (mut reverse, mut forward) = (0.0, 0.0);
        for (index, &count) in self.counts.iter().enumerate() {
            let x = [center(index % self.bins), center(index / self.bins)];
            let log_p = mixture.log_density(x, 0.0) + 2.0 * side.ln();
            let q = f64::from(count) / total;
            if count > 0 {
                reverse += q * (q.ln() - log_p);
            }
            let smoothed = (f64::from(count).max(0.5) / total).ln();
            forward += log_p.exp() * (log_p - smoothed);
        }
        Divergences { reverse, forward }
    }

    /// `sum min(p, q)` over the squares: 1 for equal distributions, 0 for separate ones.
    pub fn overlap(&self, other: &Self) -> f64 {
        let share = |histogram: &Self, index: usize| {
            f64::from(histogram.counts[index]) / f64::from(histogram.total)
        };
        (0..self.counts.len())
            .map(|index| share(self, index).min(share(other, index)))
            .sum()
    }

    /// Counts by row from the top (y grows upwards), each row from the left.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.chunks_exact(self.bins).rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_density_are_near_and_a_missing_mode_is_seen_forward() {
        let mixture = Mixture::ring(8, 0.75, 0.08);
        let all = mixture.sample(40_000, 1);
        let near = Histogram::new(&all, 48).divergences(&mixture);
        assert!(
            near.reverse.abs() < 0.03 && near.forward.abs() < 0.03,
            "{near:?}"
        );

        let half: Vec<Point> = all
            .iter()
            .copied()
            .filter(|x| mixture.nearest(*x).0 < 4)
            .collect();
        let dropped = Histogram::new(&half, 48).divergences(&mixture);
        // Exactly half of the mass is left: KL(half || all) = ln 2.
        assert!(
            (dropped.reverse - std::f64::consts::LN_2).abs() < 0.04,
            "{dropped:?}"
        );
        assert!(dropped.forward > 2.0, "{dropped:?}");
    }
}
