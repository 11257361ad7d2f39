//! Layers shared by all networks.

use dmdr_tensor::{Device, Init, Kind, Lora, Scope, Tensor, Weight, gelu_tanh, rms_norm};

use crate::Call;

/// `y = x W^T + b`, plus the adapters that target it. The product is computed, and returned, in the network's compute kind.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    loras: Vec<Lora>,
    compute: Kind,
}

impl Linear {
    /// `weight [out, in]` by `init`, zero bias `[out]`.
    pub(crate) fn new(scope: &Scope<'_>, fan_in: i64, fan_out: i64, init: Init) -> Self {
        let bias = scope.param("bias", &[fan_out], Init::Zeros);
        Self::without_bias(scope, fan_in, fan_out, init).with(bias)
    }

    /// `weight [out, in]` by `init` alone.
    pub(crate) fn without_bias(scope: &Scope<'_>, fan_in: i64, fan_out: i64, init: Init) -> Self {
        let weight = scope.weight([fan_out, fan_in], init, scope.compute());
        Self::of(scope, weight, scope.compute())
    }

    /// The modulation of a block from what conditions it: zero at first, and computed in f32, for it acts on all channels
    /// alike.
    pub(crate) fn modulation(scope: &Scope<'_>, fan_in: i64, fan_out: i64) -> Self {
        let bias = scope.param("bias", &[fan_out], Init::Zeros);
        let weight = scope.weight([fan_out, fan_in], Init::Zeros, Kind::Float);
        Self::of(scope, weight, Kind::Float).with(bias)
    }

    /// Like [`Self::new`], but computed in f32 whatever the network's compute kind: for small products at the edges of
    /// a network, where rounding costs more than it saves.
    pub(crate) fn precise(scope: &Scope<'_>, fan_in: i64, fan_out: i64, init: Init) -> Self {
        let bias = scope.param("bias", &[fan_out], Init::Zeros);
        Self::precise_without_bias(scope, fan_in, fan_out, init).with(bias)
    }

    /// [`Self::without_bias`] computed in f32, as [`Self::precise`].
    pub(crate) fn precise_without_bias(
        scope: &Scope<'_>,
        fan_in: i64,
        fan_out: i64,
        init: Init,
    ) -> Self {
        let weight = scope.param("weight", &[fan_out, fan_in], init);
        Self::of(scope, weight.into(), Kind::Float)
    }

    fn of(scope: &Scope<'_>, weight: Weight, compute: Kind) -> Self {
        let shape = weight.size();
        Self {
            loras: scope.loras(shape[1], shape[0]),
            weight,
            bias: None,
            compute,
        }
    }

    fn with(self, bias: Tensor) -> Self {
        Self {
            bias: Some(bias),
            ..self
        }
    }

    /// `x [.., in]` -> `[.., out]`.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let cast = |tensor: &Tensor| tensor.to_kind(self.compute);
        let none = None::<&Tensor>;
        let active = active(&self.loras, call);
        let (x, bias) = (cast(x), self.bias.as_ref().map(cast));
        if active.is_empty() {
            self.weight.linear(&x, bias.as_ref(), self.compute)
        } else if call.train {
            let base = self.weight.linear(&x, bias.as_ref(), self.compute);
            active.iter().fold(base, |y, (lora, scale)| {
                let low = x.linear(&cast(&lora.a), none);
                add_product(&y, &low, &cast(&lora.b), *scale)
            })
        } else {
            let merged = active
                .iter()
                .fold(self.weight.read(), |weight, (lora, scale)| {
                    weight + lora.b.matmul(&lora.a) * *scale
                });
            x.linear(&cast(&merged), bias.as_ref())
        }
    }
}

/// `y + scale * low B^T`, in one product: `y [.., out]`, `low [.., rank]`, `b [out, rank]`.
fn add_product(y: &Tensor, low: &Tensor, b: &Tensor, scale: f64) -> Tensor {
    let rows = |x: &Tensor| x.reshape([-1, x.size()[x.dim() - 1]]);
    let sum = rows(y).addmm(&(rows(low) * scale), &b.tr());
    sum.view_as(y)
}

/// The pairs that `call` activates, with the factors of their products.
pub(crate) fn active<'a>(loras: &'a [Lora], call: &Call<'_>) -> Vec<(&'a Lora, f64)> {
    let factor = |lora: &'a Lora| Some((lora, call.scale(lora.adapter)? * lora.scaling));
    loras.iter().filter_map(factor).collect()
}

/// Layer normalisation over the last dimension.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    affine: Option<(Tensor, Tensor)>,
    dim: i64,
    eps: f64,
}

impl LayerNorm {
    /// With learned scale and offset; eps 1e-6.
    pub(crate) fn affine(scope: &Scope<'_>, dim: i64) -> Self {
        let affine = (
            scope.param("weight", &[dim], Init::Ones),
            scope.param("bias", &[dim], Init::Zeros),
        );
        Self {
            affine: Some(affine),
            dim,
            eps: 1e-6,
        }
    }

    /// Without parameters (the modulation of adaLN brings them); eps 1e-6.
    pub(crate) fn plain(dim: i64) -> Self {
        Self {
            affine: None,
            dim,
            eps: 1e-6,
        }
    }

    /// The same with another eps.
    pub(crate) fn with_eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// Same shape as `x [.., dim]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (Some(weight), Some(bias)),
            None => (None, None),
        };
        x.layer_norm([self.dim], weight, bias, self.eps, true)
    }
}

/// Normalisation by the root mean square over the last dimension, with a learned scale.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(scope: &Scope<'_>, dim: i64, eps: f64) -> Self {
        Self {
            weight: scope.param("weight", &[dim], Init::Ones),
            eps,
        }
    }

    /// Same shape and kind as `x [.., dim]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.to_kind(x.kind());
        rms_norm(x, &weight, self.eps)
    }
}

/// Linear, tanh-GELU, linear.
#[derive(Debug)]
pub(crate) struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// With timm's names.
    pub(crate) fn new(scope: &Scope<'_>, dim: i64, hidden: i64) -> Self {
        Self::named(scope, ["fc1", "fc2"], dim, hidden)
    }

    /// With diffusers' names.
    pub(crate) fn feed_forward(scope: &Scope<'_>, dim: i64, hidden: i64) -> Self {
        Self::named(scope, ["net.0.proj", "net.2"], dim, hidden)
    }

    fn named(scope: &Scope<'_>, names: [&str; 2], dim: i64, hidden: i64) -> Self {
        Self {
            fc1: Linear::new(&scope.sub(names[0]), dim, hidden, Init::XavierUniform),
            fc2: Linear::new(&scope.sub(names[1]), hidden, dim, Init::XavierUniform),
        }
    }

    /// `x [.., dim]` -> same shape.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        self.fc2
            .forward(&gelu_tanh(&self.fc1.forward(x, call)), call)
    }
}

/// Linear, SiLU, linear, in f32: embeds times and pooled text.
#[derive(Debug)]
pub(crate) struct Embedder {
    first: Linear,
    second: Linear,
}

impl Embedder {
    /// `names` of the two layers; widths before, between and behind them.
    pub(crate) fn new(scope: &Scope<'_>, names: [&str; 2], widths: [i64; 3]) -> Self {
        let init = Init::Normal(0.02);
        Self {
            first: Linear::precise(&scope.sub(names[0]), widths[0], widths[1], init),
            second: Linear::precise(&scope.sub(names[1]), widths[1], widths[2], init),
        }
    }

    /// `x [B, first width]` -> `[B, last width]`.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        self.second
            .forward(&self.first.forward(x, call).silu(), call)
    }
}

/// A convolution of non-overlapping patches (`proj`), in f32: `[B, C, H, W]` -> `[B, (H/p)(W/p), D]`.
#[derive(Debug)]
pub(crate) struct PatchEmbed {
    weight: Tensor,
    bias: Tensor,
    patch: i64,
}

impl PatchEmbed {
    pub(crate) fn new(scope: &Scope<'_>, channels: i64, dim: i64, patch: i64) -> Self {
        let shape = [dim, channels, patch, patch];
        Self {
            weight: scope.param("proj.weight", &shape, Init::XavierUniform),
            bias: scope.param("proj.bias", &[dim], Init::Zeros),
            patch,
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let stride = [self.patch, self.patch];
        x.conv2d(&self.weight, Some(&self.bias), stride, 0, 1, 1)
            .flatten(2, 3)
            .transpose(1, 2)
    }
}

/// `x (1 + scale) + shift`, with `shift, scale [B, 1, D]`.
pub(crate) fn modulate(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Tensor {
    shift.addcmul(x, &(scale + 1.0))
}

/// `x + gate y`, with `gate [B, 1, D]`.
pub(crate) fn gated(x: &Tensor, gate: &Tensor, y: &Tensor) -> Tensor {
    x.addcmul(gate, y)
}

/// `[cos, sin]` features of `t [B]` in `[0, 1]`, scaled to `[0, 1000]`; result `[B, dim]`, f32.
pub(crate) fn timestep_features(t: &Tensor, dim: i64) -> Tensor {
    sinusoid_features(&(t * 1000.0), dim)
}

/// `[cos, sin]` features of the numbers `x [B]`, at frequencies from 1 down to 1/10,000; result `[B, dim]`, f32.
pub(crate) fn sinusoid_features(x: &Tensor, dim: i64) -> Tensor {
    let half = dim / 2;
    let index = Tensor::arange(half, (Kind::Float, x.device()));
    let frequencies = (index * (-(10_000f64.ln()) / half as f64)).exp();
    let angles = x.unsqueeze(1) * frequencies.unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}

/// Fixed 2-D sin-cos positions `[1, side * side, dim]`: half the channels encode the row, half the column.
/// Learned positions of small initial size fail to make coherent objects in small models.
pub(crate) fn sincos_positions(side: i64, dim: i64, device: Device) -> Tensor {
    let quarter = dim / 4;
    let index = Tensor::arange(quarter, (Kind::Float, device));
    let frequencies = (index * (-(10_000f64.ln()) / quarter as f64)).exp();
    let coordinate = Tensor::arange(side, (Kind::Float, device));
    let angles = coordinate.unsqueeze(1) * frequencies.unsqueeze(0); // [side, dim / 4]
    let axis = Tensor::cat(&[angles.sin(), angles.cos()], 1); // [side, dim / 2]
    let rows = axis.unsqueeze(1).expand([side, side, dim / 2], false);
    let columns = axis.unsqueeze(0).expand([side, side, dim / 2], false);
    Tensor::cat(&[rows, columns], 2).reshape([1, side * side, dim])
}

/// The positions of published weights, `[1, side * side, dim]`: MAE's routine, in which the first half of the channels
/// encodes the *column*, at coordinates `0, spacing, 2 spacing, ..`. Angles are f64 as upstream, the result is f32.
pub(crate) fn sincos_positions_mae(side: i64, spacing: f64, dim: i64, device: Device) -> Tensor {
    let quarter = dim / 4;
    let options = (Kind::Double, device);
    let frequencies =
        (Tensor::arange(quarter, options) * (-(10_000f64.ln()) / quarter as f64)).exp();
    let coordinate = Tensor::arange(side, options) * spacing;
    let angles = coordinate.unsqueeze(1) * frequencies.unsqueeze(0);
    let axis = Tensor::cat(&[angles.sin(), angles.cos()], 1).to_kind(Kind::Float); // [side, dim / 2]
    let columns = axis.unsqueeze(0).expand([side, side, dim / 2], false);
    let rows = axis.unsqueeze(1).expand([side, side, dim / 2], false);
    Tensor::cat(&[columns, rows], 2).reshape([1, side * side, dim])
}

/// `[B, C, H, W]` -> `[B, (H/p)(W/p), C p p]`.
pub(crate) fn patchify(x: &Tensor, patch: i64) -> Tensor {
    let (b, c, h, w) = x.size4().expect("images are [B, C, H, W]");
    x.reshape([b, c, h / patch, patch, w / patch, patch])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([b, (h / patch) * (w / patch), c * patch * patch])
}

/// Inverse of [`patchify`] for square images.
pub(crate) fn unpatchify(tokens: &Tensor, patch: i64, channels: i64) -> Tensor {
    let (b, n, _) = tokens.size3().expect("tokens are [B, N, D]");
    let side = (n as f64).sqrt() as i64;
    tokens
        .reshape([b, side, side, channels, patch, patch])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([b, channels, side * patch, side * patch])
}

/// `[B, C, H, W]` -> `[B, (H/p)(W/p), p p C]`, channels fastest.
pub(crate) fn patchify_channels_last(x: &Tensor, patch: i64) -> Tensor {
    let (b, c, h, w) = x.size4().expect("images are [B, C, H, W]");
    x.reshape([b, c, h / patch, patch, w / patch, patch])
        .permute([0, 2, 4, 3, 5, 1])
        .reshape([b, (h / patch) * (w / patch), patch * patch * c])
}

/// `[B, h w, p p C]`, channels fastest, -> `[B, C, h p, w p]`: the order of DiT
/// and of most after it.
pub(crate) fn unpatchify_channels_last(tokens: &Tensor, grid: [i64; 2], patch: i64) -> Tensor {
    let (b, [h, w]) = (tokens.size()[0], grid);
    tokens
        .reshape([b, h, w, patch, patch, -1])
        .permute([0, 5, 1, 3, 2, 4])
        .reshape([b, -1, h * patch, w * patch])
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{AdapterId, AdapterSpec, ParamStore, reseed};

    use super::*;

    #[test]
    fn patches_round_trip() {
        let x = Tensor::randn([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        assert_eq!(unpatchify(&patchify(&x, 4), 4, 3), x);
        let wide = Tensor::randn([2, 3, 4, 6], (Kind::Float, Device::Cpu));
        let patches = patchify_channels_last(&wide, 2);
        assert_eq!(unpatchify_channels_last(&patches, [2, 3], 2), wide);
    }

    #[test]
    fn adapter_scale_is_linear_and_zero_is_the_base() {
        let base = ParamStore::frozen(Device::Cpu);
        let lora = ParamStore::trainable(Device::Cpu, 1);
        let specs = [AdapterSpec::new(2, 4.0, &["*".into()], lora)];
        let linear = Linear::new(
            &Scope::root(&base, &specs).sub("l"),
            6,
            5,
            Init::XavierUniform,
        );
        reseed(&[1]);
        linear.loras[0]
            .b
            .set_requires_grad(false)
            .copy_(&Tensor::randn([5, 2], (Kind::Float, Device::Cpu)));
        let x = Tensor::randn([7, 6], (Kind::Float, Device::Cpu));
        let at = |scale: f64, train: bool| {
            linear.forward(
                &x,
                &Call {
                    train,
                    adapters: &[(AdapterId(0), scale)],
                    ..Call::default()
                },
            )
        };
        let plain = linear.forward(&x, &Call::default());
        assert_eq!(at(0.0, false), plain);
        assert_eq!(at(0.0, true), plain);
        let close = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]) < 1e-5;
        assert!(close(
            &(at(2.0, true) - &plain),
            &((at(1.0, true) - &plain) * 2.0)
        ));
        assert!(close(&at(1.5, true), &at(1.5, false)));
        assert!(!close(&at(1.0, true), &plain));
    }
}
