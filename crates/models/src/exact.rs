//! A Gaussian mixture as a denoiser: the exact posterior mean, for worlds where the truth is known.

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{Device, Kind, Tensor};

use crate::{Call, Conditioning, Denoiser};

/// The exact denoiser of a mixture of isotropic Gaussians on `[C, 1, 1]`. It reads no text and has no parameters.
#[derive(Debug)]
pub struct ExactMixture {
    /// `log w_k`, `[1, K]`.
    log_weights: Tensor,
    /// `[1, K, C]`.
    means: Tensor,
    /// `s_k^2`, `[1, K]`.
    variances: Tensor,
}

impl ExactMixture {
    /// Components with their weights, means (`C` numbers each) and standard deviations.
    pub fn new(weights: &[f64], means: &[Vec<f64>], stds: &[f64], device: Device) -> Self {
        let row = |values: &[f64]| {
            Tensor::from_slice(values)
                .to_kind(Kind::Float)
                .to_device(device)
                .unsqueeze(0)
        };
        let width = means[0].len() as i64;
        Self {
            log_weights: row(weights).log(),
            means: row(&means.concat()).reshape([1, -1, width]),
            variances: row(stds).square(),
        }
    }
}

impl Denoiser for ExactMixture {
    fn forward(&self, x_t: &Tensor, t: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        let dims = x_t.size()[1];
        let x = x_t.reshape([-1, 1, dims]);
        let t = t.reshape([-1, 1]);
        let alpha: Tensor = 1.0 - &t;
        let variance = alpha.square() * &self.variances + t.square(); // [B, K]
        let offset = x - alpha.unsqueeze(-1) * &self.means; // [B, K, C]
        let squared = offset
            .square()
            .sum_dim_intlist(&[-1i64][..], false, Kind::Float);
        let logits =
            &self.log_weights - squared / (&variance * 2.0) - variance.log() * (dims as f64 / 2.0);
        let shares = logits.softmax(1, Kind::Float).unsqueeze(-1);
        let gain = (alpha * &self.variances / variance).unsqueeze(-1);
        let x0 = (shares * (&self.means + gain * offset)).sum_dim_intlist(
            &[1i64][..],
            false,
            Kind::Float,
        );
        x0.reshape(x_t.size())
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_posteriors() {
        // One dimension, two modes at -2 and 2 of deviation .3; computed independently in f64.
        let net = ExactMixture::new(
            &[0.5, 0.5],
            &[vec![-2.0], vec![2.0]],
            &[0.3, 0.3],
            Device::Cpu,
        );
        let x = Tensor::from_slice(&[0.5f32, 0.5, -0.1, 1.2]).reshape([4, 1, 1, 1]);
        let t = Tensor::from_slice(&[0.5f32, 0.9, 0.75, 0.2]);
        let nothing = Conditioning::none(4, Device::Cpu);
        let x0 = net.forward(&x, &t, &nothing, &Call::default());
        let got = Vec::<f32>::try_from(x0.reshape([4])).expect("f32");
        for (got, expected) in got
            .iter()
            .zip([1.826_237_8, 0.250_673_85, -0.177_786_7, 1.704_918])
        {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
    }
}
