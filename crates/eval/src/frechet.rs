//! Fréchet distance between Gaussian fits of features (the rule of FID, arXiv 1706.08500, eq. 6; not its features).
//!
//! Of World-CLIP's features the numbers are comparable among themselves only and never called FID; of Inception's they
//! are ([`crate::Encoder`]). Few images bias the distance upwards: compare equal numbers.

use dmdr_tensor::{Kind, Tensor};

/// Mean and covariance, f64.
#[derive(Debug)]
pub struct Gaussian {
    mean: Tensor,
    covariance: Tensor,
}

impl Gaussian {
    /// A Gaussian with `mean [E]` and symmetric `covariance [E, E]`.
    pub fn new(mean: &Tensor, covariance: &Tensor) -> Self {
        Self {
            mean: mean.to_kind(Kind::Double),
            covariance: covariance.to_kind(Kind::Double),
        }
    }

    /// Sample mean and covariance (`N - 1`) of `features [N, E]`.
    ///
    /// # Panics
    /// With fewer than two features.
    pub fn fit(features: &Tensor) -> Self {
        let num = features.size()[0];
        assert!(num > 1, "a covariance needs at least two features");
        let features = features.to_kind(Kind::Double);
        let mean = features.mean_dim(&[0i64][..], false, Kind::Double);
        let centred = features - &mean; // [N, E]
        Self {
            covariance: centred.tr().matmul(&centred) / (num - 1) as f64,
            mean,
        }
    }

    /// `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2))`, not below 0.
    ///
    /// The symmetric form needs eigenvalues of symmetric matrices only; rounding makes none of them complex.
    pub fn frechet_distance(&self, other: &Self) -> f64 {
        let between = (&self.mean - &other.mean).square().sum(Kind::Double);
        let root = symmetric_root(&self.covariance);
        let product = root.matmul(&other.covariance).matmul(&root);
        let symmetric = (&product + product.tr()) / 2.0;
        let cross = eigenvalues(&symmetric).clamp_min(0.0).sqrt();
        let within = self.covariance.trace() + other.covariance.trace();
        let distance = between + within - cross.sum(Kind::Double) * 2.0;
        distance.double_value(&[]).max(0.0)
    }
}

/// Of a positive semidefinite matrix `[E, E]`.
fn eigenvalues(matrix: &Tensor) -> Tensor {
    let found = matrix.f_linalg_eigvalsh("L");
    found.unwrap_or_else(|_| matrix.svd(true, false).1)
}

/// The positive semidefinite root of a positive semidefinite matrix `[E, E]`.
fn symmetric_root(matrix: &Tensor) -> Tensor {
    // LAPACK's fast solver does not converge for every matrix of low rank, depending on the processor. Of a positive
    // semidefinite matrix the singular values and vectors are the same.
    let (values, vectors) = matrix.f_linalg_eigh("L").unwrap_or_else(|_| {
        let (vectors, values, _) = matrix.svd(true, true);
        (values, vectors)
    });
    let roots = values.clamp_min(0.0).sqrt();
    (&vectors * roots).matmul(&vectors.tr())
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Device;

    use super::*;

    /// Scattered numbers; not drawn, since tests share libtorch's generator.
    fn features(num: i64, dim: i64) -> Tensor {
        let count = Tensor::arange(num * dim, (Kind::Double, Device::Cpu));
        (count.square() * 0.7).sin().reshape([num, dim])
    }

    #[test]
    fn equal_sets_have_no_distance() {
        // More features than dimensions, and fewer: a covariance without full rank.
        for (num, dim) in [(300, 32), (20, 64)] {
            let own = Gaussian::fit(&features(num, dim));
            let distance = own.frechet_distance(&own);
            assert!(distance < 1e-6, "{distance}");
        }
    }

    #[test]
    fn diagonal_covariances_have_a_closed_form() {
        let gaussian = |mean: &[f64], deviations: &[f64]| {
            let covariance = Tensor::from_slice(deviations).square().diag(0);
            Gaussian::new(&Tensor::from_slice(mean), &covariance)
        };
        let a = gaussian(&[0.0, 1.0, 2.0], &[1.0, 0.5, 0.0]);
        let b = gaussian(&[1.0, 1.0, 0.0], &[3.0, 0.25, 2.0]);
        // |m1 - m2|^2 = 5; (s1 - s2)^2 = 4 + 0.0625 + 4
        for distance in [a.frechet_distance(&b), b.frechet_distance(&a)] {
            assert!((distance - 13.0625).abs() < 1e-9, "{distance}");
        }
    }

    #[test]
    fn correlated_covariances_have_a_closed_form() {
        // Covariances R D R' with one rotation R commute: the distance is that of the diagonals.
        let (vectors, _) = Tensor::linalg_qr(&features(4, 4), "complete");
        let covariance = |deviations: [f64; 4]| {
            let diagonal = Tensor::from_slice(&deviations).square().diag(0);
            vectors.matmul(&diagonal).matmul(&vectors.tr())
        };
        let mean = Tensor::zeros([4], (Kind::Double, Device::Cpu));
        let a = Gaussian::new(&mean, &covariance([1.0, 2.0, 3.0, 0.5]));
        let b = Gaussian::new(&(mean + 0.5), &covariance([2.0, 2.0, 1.0, 0.0]));
        // One covariance is singular: roots of rounded zeros are about 1e-8.
        let distance = a.frechet_distance(&b);
        assert!(
            (distance - (1.0 + 1.0 + 4.0 + 0.25)).abs() < 1e-6,
            "{distance}"
        );
    }

    #[test]
    fn fits_recover_the_moments() {
        let set = Tensor::from_slice(&[0.0, 0.0, 2.0, 4.0]).reshape([2, 2]);
        let fit = Gaussian::fit(&set);
        assert_eq!(fit.mean, Tensor::from_slice(&[1.0, 2.0]));
        let expected = Tensor::from_slice(&[2.0, 4.0, 4.0, 8.0]).reshape([2, 2]);
        assert_eq!(fit.covariance, expected);
    }
}
