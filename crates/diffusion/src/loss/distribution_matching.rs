//! The distribution matching loss: Eq. 1 of arXiv 2511.13649 in x0 space, as DMD2 and the official demo implement it.

use dmdr_tensor::{Kind, Tensor, no_grad_guard};

/// Loss and what is worth logging of it.
#[derive(Debug)]
pub struct DistributionMatching {
    /// Scalar whose gradient with respect to `x0` is `gradient / numel`.
    pub loss: Tensor,
    /// `mean |gradient|`, scalar.
    pub gradient_abs: Tensor,
}

/// `1/2 mean (x0 - sg[x0 - g])^2` with `g = (x0_fake - x0_real) / mean_CHW |x0 - x0_real|`.
///
/// All arguments `[B, C, H, W]`; only `x0` carries a gradient. The difference of clean predictions is
/// `t^2/(1-t)^2` times the gradient of `KL(p_fake,t || p_real,t)`. With `normalize` off the divisor is 1, as toys of
/// one or two dimensions need: there the per-sample divisor correlates with the difference and moves the fixed point.
pub fn distribution_matching(
    x0: &Tensor,
    x0_real: &Tensor,
    x0_fake: &Tensor,
    normalize: bool,
) -> DistributionMatching {
    let (target, gradient_abs) = {
        let _guard = no_grad_guard();
        let x0 = x0.detach();
        let mut gradient = x0_fake - x0_real;
        if normalize {
            let dims: &[i64] = &[1, 2, 3];
            let scale = (&x0 - x0_real).abs().mean_dim(dims, true, Kind::Float);
            gradient /= scale + 1e-8;
        }
        (&x0 - &gradient, gradient.abs().mean(Kind::Float))
    };
    let loss = (x0 - target).square().mean(Kind::Float) * 0.5;
    DistributionMatching { loss, gradient_abs }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;

    #[test]
    fn gradient_is_the_formula() {
        reseed(&[4]);
        let draw = || Tensor::randn([3, 2, 4, 4], (Kind::Float, Device::Cpu));
        let (x0, real, fake) = (draw().set_requires_grad(true), draw(), draw());
        for normalize in [true, false] {
            let loss = distribution_matching(&x0, &real, &fake, normalize).loss;
            let got = Tensor::run_backward(&[loss], &[&x0], false, false).remove(0);
            let dims: &[i64] = &[1, 2, 3];
            let scale = (x0.detach() - &real)
                .abs()
                .mean_dim(dims, true, Kind::Float);
            let mut expected = (&fake - &real) / 96.0; // numel
            if normalize {
                expected /= scale;
            }
            assert!((got - expected).abs().max().double_value(&[]) < 1e-7);
        }
    }

    #[test]
    fn swapping_real_and_fake_flips_the_sign() {
        reseed(&[4]);
        let draw = || Tensor::randn([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let (x0, a, b) = (draw().set_requires_grad(true), draw(), draw());
        let grad = |real: &Tensor, fake: &Tensor| {
            let loss = distribution_matching(&x0, real, fake, false).loss;
            Tensor::run_backward(&[loss], &[&x0], false, false).remove(0)
        };
        assert!((grad(&a, &b) + grad(&b, &a)).abs().max().double_value(&[]) < 1e-7);
    }

    #[test]
    fn golden_point() {
        // Student N(.5, .8^2) with exact fake, two-mode teacher, x0 = 1.1, n = -.4, t = .6: x_t = .2, posterior means .794432 and .5.
        let one = |v: f32| Tensor::from_slice(&[v]).reshape([1, 1, 1, 1]);
        let x0 = one(1.1).set_requires_grad(true);
        let loss = distribution_matching(&x0, &one(0.794_432), &one(0.5), true).loss;
        let grad = Tensor::run_backward(&[loss], &[&x0], false, false).remove(0);
        assert!((grad.double_value(&[0, 0, 0, 0]) + 0.963_556).abs() < 1e-5);
    }
}
