//! Initial values of parameters, equal in distribution to PyTorch's.

use tch::{Device, Kind, Tensor};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// One value everywhere.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in `[-bound, bound]`.
    Uniform(f64),
    /// `nn.Linear`'s weight: uniform in `±1/sqrt(fan_in)`, `fan_in` = product of all dimensions but the first.
    KaimingUniform,
    /// Uniform in `±sqrt(6 / (fan_in + fan_out))` of a `[out, in]` matrix.
    XavierUniform,
}

impl Init {
    /// The value draws lie around.
    pub(crate) fn centre(self) -> Self {
        match self {
            Self::Zeros | Self::Ones | Self::Constant(_) => self,
            Self::Normal(_) | Self::Uniform(_) | Self::KaimingUniform | Self::XavierUniform => {
                Self::Zeros
            }
        }
    }

    /// A new f32 tensor of `shape` drawn from libtorch's current random state.
    pub(crate) fn tensor(self, shape: &[i64], device: Device) -> Tensor {
        let options = (Kind::Float, device);
        let uniform = |bound: f64| Tensor::rand(shape, options) * (2.0 * bound) - bound;
        let fan_in = shape.iter().skip(1).product::<i64>().max(1) as f64;
        match self {
            Self::Zeros => Tensor::zeros(shape, options),
            Self::Ones => Tensor::ones(shape, options),
            Self::Constant(value) => Tensor::full(shape, value, options),
            Self::Normal(std) => Tensor::randn(shape, options) * std,
            Self::Uniform(bound) => uniform(bound),
            Self::KaimingUniform => uniform(1.0 / fan_in.sqrt()),
            Self::XavierUniform => uniform((6.0 / (fan_in + shape[0] as f64)).sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_pytorchs() {
        let weight = Init::KaimingUniform.tensor(&[64, 400], Device::Cpu);
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= 0.05 && largest > 0.049, "{largest}"); // 1/sqrt(400)
        let weight = Init::XavierUniform.tensor(&[200, 400], Device::Cpu);
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= 0.1 && largest > 0.099, "{largest}"); // sqrt(6/600)
    }
}
