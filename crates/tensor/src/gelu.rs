//! GELU by its tanh formula.

use tch::{Device, Kind, Tensor};

use crate::{has_tangent, shim};

/// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` of each number, in the shape and kind of `x`: on the CPU in f32 by a
/// kernel of our own, elsewhere by libtorch's.
pub fn gelu_tanh(x: &Tensor) -> Tensor {
    if (x.device(), x.kind()) != (Device::Cpu, Kind::Float) || has_tangent(x) {
        return x.gelu("tanh");
    }
    shim::gelu(x).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gradients::gradients, reseed};

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
            let [found, expected] = [gelu_tanh(&x), x.gelu("tanh")].map(|y| {
                let loss = (&y * &weight).sum(Kind::Float);
                let mut grads = gradients(&loss, &[x.shallow_clone()]).expect("a graph");
                [y.detach(), grads.remove(0)]
            });
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs() / (expected.abs() + 1e-2);
                let error = error.max().double_value(&[]);
                assert!(error < 4e-6, "{error:.1e}");
            }
        }
        let x = Tensor::full([3], f64::NAN, options);
        assert_eq!(gelu_tanh(&x).isnan().sum(Kind::Int64).int64_value(&[]), 3);
    }
}
