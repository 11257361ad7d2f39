//! Group-relative policy optimisation (arXiv 2402.03300; on flow models 2505.05470).

use dmdr_tensor::{Kind, Tensor};

/// Keeps the advantages of a group with nearly equal rewards finite, as Flow-GRPO does.
const EPS: f64 = 1e-4;

/// `(r - mean) / (std + 1e-4)` within each group: `rewards [P, G]`, biased standard deviation, same shape out.
pub fn advantages(rewards: &Tensor) -> Tensor {
    let mean = rewards.mean_dim(&[1i64][..], true, Kind::Float);
    let std = rewards.std_dim(&[1i64][..], false, true);
    (rewards - mean) / (std + EPS)
}

/// [`advantages`] where some rewards are missing: `present [P, G]` is 1 for those that are there and 0 for the others, whose
/// advantage is 0 whatever their reward. Mean and standard deviation are those of a group's remaining rewards.
pub fn advantages_of_present(rewards: &Tensor, present: &Tensor) -> Tensor {
    let dims: &[i64] = &[1];
    let sum = |x: &Tensor| x.sum_dim_intlist(dims, true, Kind::Float);
    let count = sum(present).clamp_min(1.0);
    // A missing reward may be NaN, which a product with 0 stays.
    let rewards = rewards.where_self(&present.gt(0.0), &rewards.zeros_like());
    let centred = (&rewards - sum(&rewards) / &count) * present;
    let std = (sum(&centred.square()) / count).sqrt();
    centred / (std + EPS)
}

/// PPO's clipped surrogate `max(-A rho, -A clip(rho, 1 - clip, 1 + clip))` with `rho = exp(log_ratio)`; all `[B]`.
pub fn grpo(log_ratio: &Tensor, advantage: &Tensor, clip: f64) -> Tensor {
    let ratio = log_ratio.exp();
    let clipped = ratio.clamp(1.0 - clip, 1.0 + clip);
    (-(advantage * ratio)).maximum(&-(advantage * clipped))
}

/// `KL(N(mean, std^2) || N(reference, std^2)) = |mean - reference|^2 / (2 std^2)`, averaged over the image: `[B]`.
pub fn gaussian_kl(mean: &Tensor, reference: &Tensor, std: f64) -> Tensor {
    let dims: &[i64] = &[1, 2, 3];
    (mean - reference)
        .square()
        .mean_dim(dims, false, Kind::Float)
        / (2.0 * std * std)
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;
    use crate::transition::log_prob;

    #[test]
    fn golden_advantages() {
        let rewards = Tensor::from_slice(&[0.1f32, 0.2, 0.4, 0.3]).reshape([1, 4]);
        let got = Vec::<f32>::try_from(advantages(&rewards).reshape([4])).expect("f32");
        for (got, expected) in got
            .iter()
            .zip([-1.340_442, -0.446_814, 1.340_442, 0.446_814])
        {
            assert!((got - expected).abs() < 1e-4, "{got}");
        }
    }

    #[test]
    fn missing_rewards_are_as_if_they_had_not_been_asked_for() {
        let rewards = [
            0.1,
            f32::NAN,
            0.2,
            0.4,
            0.3,
            f32::NAN,
            f32::NAN,
            5.0,
            f32::NAN,
            f32::NAN,
        ];
        let rewards = Tensor::from_slice(&rewards).reshape([2, 5]);
        let present = rewards.isnan().logical_not().to_kind(Kind::Float);
        let got = Vec::<f32>::try_from(advantages_of_present(&rewards, &present).reshape([10]));
        let expected = [
            -1.340_442, 0.0, -0.446_814, 1.340_442, 0.446_814, 0.0, 0.0, 0.0, 0.0, 0.0,
        ];
        for (got, expected) in got.expect("f32").iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
        reseed(&[3]);
        let rewards = Tensor::randn([5, 8], (Kind::Float, Device::Cpu));
        let all = advantages_of_present(&rewards, &rewards.ones_like());
        assert!((all - advantages(&rewards)).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn advantages_sum_to_zero_in_every_group_and_ignore_scale() {
        reseed(&[3]);
        let rewards = Tensor::randn([5, 8], (Kind::Float, Device::Cpu));
        let sums = advantages(&rewards).sum_dim_intlist(&[1i64][..], false, Kind::Float);
        assert!(sums.abs().max().double_value(&[]) < 1e-4);
        let moved = advantages(&(&rewards * 100.0 + 7.0)) - advantages(&(&rewards * 100.0));
        assert!(moved.abs().max().double_value(&[]) < 1e-3);
        let equal = advantages(&Tensor::ones([1, 4], (Kind::Float, Device::Cpu)));
        assert!(equal.abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn an_unchanged_policy_has_ratio_one_and_the_policy_gradient() {
        // d/dmu of -A exp(log p - log p_old) at p = p_old is -A d log p = -A (x - mu) / std^2.
        let one = |value: f64| Tensor::from_slice(&[value]).reshape([1, 1, 1, 1]);
        let (x, mean, std) = (one(0.25), one(0.1).set_requires_grad(true), 0.5);
        let new = log_prob(&x, &mean, std);
        let old = log_prob(&x, &mean.detach(), std);
        let advantage = Tensor::from_slice(&[1.5f64]);
        let loss = grpo(&(new - old), &advantage, 0.2);
        assert!((loss.double_value(&[0]) + 1.5).abs() < 1e-12);
        let gradient =
            Tensor::run_backward(&[loss.sum(Kind::Double)], &[&mean], false, false).remove(0);
        let expected = -1.5 * (0.25 - 0.1) / 0.25;
        assert!((gradient.double_value(&[0, 0, 0, 0]) - expected).abs() < 1e-6);
    }

    #[test]
    fn the_ratio_is_clipped_only_where_it_would_gain() {
        let at = |ratio: f64, advantage: f64| {
            let log_ratio = Tensor::from_slice(&[ratio.ln()]);
            grpo(&log_ratio, &Tensor::from_slice(&[advantage]), 0.1).double_value(&[0])
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(at(1.5, 1.0), -1.1) && close(at(0.5, 1.0), -0.5));
        assert!(close(at(1.5, -1.0), 1.5) && close(at(0.5, -1.0), 0.9));
    }

    #[test]
    fn kl_of_shifted_gaussians() {
        let zeros = Tensor::zeros([2, 1, 2, 2], (Kind::Float, Device::Cpu));
        let kl = gaussian_kl(&zeros, &(&zeros + 0.3), 0.5);
        assert!((kl.double_value(&[1]) - 0.18).abs() < 1e-6);
    }
}
