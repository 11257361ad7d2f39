//! A small perceptron that denoises points of the plane.

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterSpec, Init, ParamStore, Scope, Tensor};

use crate::{
    Call, Conditioning, Denoiser, ModelError,
    layers::{Linear, timestep_features},
};

const TIME_FEATURES: i64 = 32;

/// Predicts `x0 [B, 2, 1, 1]` from `x_t` and `t`; it reads no text.
#[derive(Debug)]
pub struct PointNet {
    input: Linear,
    time: Linear,
    blocks: Vec<Linear>,
    output: Linear,
    dim: i64,
}

impl PointNet {
    /// `depth` hidden layers of `dim` with residual connections; LoRA as `adapters` say (`blocks.*`).
    ///
    /// # Errors
    /// An adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        dim: i64,
        depth: usize,
    ) -> Result<Self, ModelError> {
        let scope = Scope::root(store, adapters);
        let init = Init::XavierUniform;
        let net = Self {
            input: Linear::new(&scope.sub("input"), 2, dim, init),
            time: Linear::new(&scope.sub("time"), TIME_FEATURES, dim, init),
            blocks: (0..depth)
                .map(|index| Linear::new(&scope.sub("blocks").sub(index as i64), dim, dim, init))
                .collect(),
            output: Linear::new(&scope.sub("output"), dim, 2, init),
            dim,
        };
        for adapter in adapters {
            adapter.check()?;
        }
        Ok(net)
    }
}

impl Denoiser for PointNet {
    fn forward(&self, x_t: &Tensor, t: &Tensor, _: &Conditioning, call: &Call<'_>) -> Tensor {
        let x = self.input.forward(&x_t.reshape([-1, 2]), call);
        let time = timestep_features(t, TIME_FEATURES);
        let mut x = x + self.time.forward(&time, call);
        for block in &self.blocks {
            x = &x + block.forward(&x.silu(), call);
            call.record(&x.unsqueeze(1));
        }
        self.output.forward(&x.silu(), call).reshape([-1, 2, 1, 1])
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }

    /// A point is one token.
    fn feature_widths(&self) -> Vec<i64> {
        vec![self.dim; self.blocks.len()]
    }
}
