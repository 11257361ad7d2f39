//! Diffusion-DPO (arXiv 2311.12908).

use dmdr_tensor::{Tensor, phantom};

/// Denoising errors of one network on the better and the worse image of each pair, at the same time and noise: `[P]`
/// each, a mean over the image.
#[derive(Debug)]
pub struct PairErrors {
    /// On the better image.
    pub better: Tensor,
    /// On the worse image.
    pub worse: Tensor,
}

impl PairErrors {
    /// The same numbers without gradient.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            better: self.better.detach(),
            worse: self.worse.detach(),
        }
    }
}

/// `-log sigmoid(-beta/2 [(e_w - e_l) - (e_w^ref - e_l^ref)])` per pair, `[P]`.
///
/// `ln 2` where both networks agree; the gradient with respect to `e_w` is then `beta / 4`.
pub fn dpo(errors: &PairErrors, reference: &PairErrors, beta: f64) -> Tensor {
    let margin = (&errors.better - &errors.worse) - (&reference.better - &reference.worse);
    let logit = margin * (-0.5 * beta);
    if phantom::is_phantom(logit.device()) {
        return (-logit).softplus(); // the same, and known to a device without memory
    }
    -logit.log_sigmoid()
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Kind;

    use super::*;

    fn pair(better: f64, worse: f64) -> PairErrors {
        PairErrors {
            better: Tensor::from_slice(&[better]),
            worse: Tensor::from_slice(&[worse]),
        }
    }

    #[test]
    fn golden_point() {
        let loss = dpo(&pair(0.30, 0.31), &pair(0.28, 0.285), 100.0);
        assert!((loss.double_value(&[0]) - 0.575_939_420).abs() < 1e-8);
    }

    #[test]
    fn equal_models_give_ln_2_and_a_quarter_of_beta() {
        let better = Tensor::from_slice(&[0.4f64]).set_requires_grad(true);
        let errors = PairErrors {
            better: better.shallow_clone(),
            worse: Tensor::from_slice(&[0.2f64]),
        };
        let loss = dpo(&errors, &pair(0.4, 0.2), 100.0).sum(Kind::Double);
        assert!((loss.double_value(&[]) - std::f64::consts::LN_2).abs() < 1e-12);
        let gradient = Tensor::run_backward(&[loss], &[&better], false, false).remove(0);
        assert!((gradient.double_value(&[0]) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn swapping_the_pair_flips_the_margin() {
        let at = |a, b| dpo(&pair(a, b), &pair(0.25, 0.25), 40.0).double_value(&[0]);
        // -log s(m) + log s(-m) = -m
        assert!((at(0.3, 0.2) - at(0.2, 0.3) - 2.0).abs() < 1e-9);
    }
}
