//! Kernels of our own for the CPU in f32, and libtorch's for the rest.

use tch::{Device, Kind, Tensor};

use crate::{has_tangent, shim};

/// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` of each number, in the shape and kind of `x`: on the CPU in f32 by a
/// kernel of our own, elsewhere by libtorch's.
pub fn gelu_tanh(x: &Tensor) -> Tensor {
    if !is_ours(x) {
        return x.gelu("tanh");
    }
    shim::gelu(x).unwrap_or_else(|error| panic!("{error}"))
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension of `x [.., D]`, with `weight [D]` of its kind: like `x`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    if !is_ours(x) || has_tangent(weight) {
        return x.rms_norm(weight.size(), Some(weight), eps);
    }
    shim::rms_norm(x, weight, eps).unwrap_or_else(|error| panic!("{error}"))
}

fn is_ours(x: &Tensor) -> bool {
    (x.device(), x.kind()) == (Device::Cpu, Kind::Float) && !has_tangent(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gradients::gradients, reseed};

    #[test]
    fn norms_and_their_gradients_are_those_of_libtorch() {
        reseed(&[7]);
        let options = (Kind::Float, Device::Cpu);
        let joint = Tensor::randn([3, 70, 3, 2, 40], options);
        for x in [
            joint.select(2, 1), // rows with others between them
            joint.select(2, 0).transpose(1, 2),
            joint.transpose(3, 4).select(2, 2),
            Tensor::randn([5, 64], options) * 1e-3,
            Tensor::randn([1000, 17], options),
            Tensor::zeros([2, 3, 4], options),
        ] {
            let x = x.detach().set_requires_grad(true);
            let width = x.size()[x.dim() - 1];
            let weight = Tensor::randn([width], options).set_requires_grad(true);
            let cotangent = x.detach().randn_like();
            let inputs = [&x, &weight].map(Tensor::shallow_clone);
            let [found, expected] = [
                rms_norm(&x, &weight, 1e-6),
                x.rms_norm([width], Some(&weight), 1e-6),
            ]
            .map(|y| {
                let loss = (&y * &cotangent).sum(Kind::Float);
                let grads = gradients(&loss, &inputs).expect("a graph");
                [vec![y.detach()], grads]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            });
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.size(), expected.size());
                let error = (found - expected).abs().max() / (expected.abs().max() + 1e-9);
                let error = error.double_value(&[]);
                assert!(error < 5e-6, "{error:.1e}");
            }
        }
    }

    #[test]
    fn values_and_gradients_are_those_of_libtorch() {
        reseed(&[6]);
        let options = (Kind::Float, Device::Cpu);
        let ends = Tensor::from_slice(&[0f32, -0.0, 1e-30, 30.0, -30.0, 1e4, -1e4]);
        let random = Tensor::randn([4099], options) * 4.0;
        let grid = Tensor::arange(20_000, options) * 1e-3 - 10.0;
        for x in [ends, random, grid, Tensor::randn([6, 10], options).tr()] {
            let x = x.set_requires_grad(true);
            let weight = x.detach().randn_like();
            // In f64, as libtorch's own gradient is off by 1e-5 at large numbers.
            let wide = x.to_kind(Kind::Double).gelu("tanh").to_kind(Kind::Float);
            let [found, expected] = [gelu_tanh(&x), wide].map(|y| {
                let loss = (&y * &weight).sum(Kind::Float);
                let mut grads = gradients(&loss, &[x.shallow_clone()]).expect("a graph");
                [y.detach(), grads.remove(0)]
            });
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs() / expected.abs().clamp_min(1.0);
                let error = error.max().double_value(&[]);
                assert!(error < 2e-6, "{error:.1e}");
            }
        }
        let x = Tensor::full([3], f64::NAN, options);
        assert_eq!(gelu_tanh(&x).isnan().sum(Kind::Int64).int64_value(&[]), 3);
    }
}
