//! Convolutional layers of the autoencoder and of UNets, with diffusers' parameter names. Feature maps between layers are
//! f32; convolutions compute in the network's kind.

use dmdr_tensor::{Init, Kind, Lora, Scope, Tensor, Weight};

use crate::{
    Call,
    layers::{Linear, active},
};

/// A convolution, plus the adapters that target it. Like [`Linear`] it computes in, and returns, the network's compute kind.
#[derive(Debug)]
pub(crate) struct Conv2d {
    weight: Weight,
    bias: Tensor,
    loras: Vec<Lora>,
    stride: i64,
    padding: i64,
    compute: Kind,
}

impl Conv2d {
    /// `[in, out]` channels; stride 1, padded so that the size stays.
    pub(crate) fn new(scope: &Scope<'_>, [fan_in, fan_out]: [i64; 2], kernel: i64) -> Self {
        let shape = [fan_out, fan_in, kernel, kernel];
        let weight = scope.kernel(shape, Init::KaimingUniform);
        Self::of(scope, weight, scope.compute())
    }

    /// Like [`Self::new`], but computed in f32: for the edges of a network.
    pub(crate) fn precise(scope: &Scope<'_>, [fan_in, fan_out]: [i64; 2], kernel: i64) -> Self {
        let shape = [fan_out, fan_in, kernel, kernel];
        let weight = scope.param("weight", &shape, Init::KaimingUniform);
        Self::of(scope, weight.into(), Kind::Float)
    }

    fn of(scope: &Scope<'_>, weight: Weight, compute: Kind) -> Self {
        let shape = weight.size();
        let (fan_out, fan_in, kernel) = (shape[0], shape[1], shape[2]);
        Self {
            bias: scope.param("bias", &[fan_out], Init::Zeros),
            loras: scope.conv_loras([fan_out, fan_in, kernel, kernel]),
            weight,
            stride: 1,
            padding: kernel / 2,
            compute,
        }
    }

    /// `x [B, in, H, W]` -> `[B, out, H', W']`.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let cast = |tensor: &Tensor| tensor.to_kind(self.compute);
        let (x, bias) = (cast(x), cast(&self.bias));
        let convolve = |weight: &Tensor, bias: Option<&Tensor>| {
            x.conv2d(&cast(weight), bias, self.stride, self.padding, 1, 1)
        };
        let active = active(&self.loras, call);
        if active.is_empty() {
            convolve(&self.weight.read(), Some(&bias))
        } else if call.train {
            let base = convolve(&self.weight.read(), Some(&bias));
            active.iter().fold(base, |y, (lora, scale)| {
                let low = convolve(&lora.a, None);
                y + low.conv2d(&cast(&lora.b), None::<&Tensor>, 1, 0, 1, 1) * *scale
            })
        } else {
            let merged = active
                .iter()
                .fold(self.weight.read(), |weight, (lora, scale)| {
                    let product = lora.b.flatten(1, 3).matmul(&lora.a.flatten(1, 3));
                    &weight + product.view_as(&weight) * *scale
                });
            convolve(&merged, Some(&bias))
        }
    }
}

/// Normalisation over groups of channels, in f32, with learned scale and offset.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    pub(crate) fn new(scope: &Scope<'_>, channels: i64, norm: Groups) -> Self {
        Self {
            weight: scope.param("weight", &[channels], Init::Ones),
            bias: scope.param("bias", &[channels], Init::Zeros),
            groups: norm.groups,
            eps: norm.eps,
        }
    }

    /// Like `x [B, C, H, W]`, f32.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.to_kind(Kind::Float)
            .group_norm(self.groups, weight, bias, self.eps, true)
    }
}

/// What the group norms of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) groups: i64,
    pub(crate) eps: f64,
}

/// diffusers' `ResnetBlock2D`: norm, SiLU, convolution, twice, with the time in between where a network has one.
#[derive(Debug)]
pub(crate) struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Resnet {
    /// `[in, out]` channels; `time_width` is that of the time embedding.
    pub(crate) fn new(
        scope: &Scope<'_>,
        [fan_in, fan_out]: [i64; 2],
        time_width: Option<i64>,
        norm: Groups,
    ) -> Self {
        let time = |width| {
            let scope = scope.sub("time_emb_proj");
            Linear::new(&scope, width, fan_out, Init::XavierUniform)
        };
        Self {
            norm1: GroupNorm::new(&scope.sub("norm1"), fan_in, norm),
            conv1: Conv2d::new(&scope.sub("conv1"), [fan_in, fan_out], 3),
            time: time_width.map(time),
            norm2: GroupNorm::new(&scope.sub("norm2"), fan_out, norm),
            conv2: Conv2d::new(&scope.sub("conv2"), [fan_out, fan_out], 3),
            shortcut: (fan_in != fan_out)
                .then(|| Conv2d::new(&scope.sub("conv_shortcut"), [fan_in, fan_out], 1)),
        }
    }

    /// `x [B, in, H, W]`, the time embedding `[B, time_width]` after SiLU -> `[B, out, H, W]`, f32.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>, call: &Call<'_>) -> Tensor {
        let h = self.conv1.forward(&self.norm1.forward(x).silu(), call);
        let h = match (&self.time, time) {
            (Some(linear), Some(time)) => {
                h + linear.forward(time, call).unsqueeze(-1).unsqueeze(-1)
            }
            _ => h,
        };
        let h = self.conv2.forward(&self.norm2.forward(&h).silu(), call);
        let kept = match &self.shortcut {
            Some(conv) => conv.forward(x, call).to_kind(Kind::Float),
            None => x.shallow_clone(),
        };
        kept + h
    }
}

/// Halves the size by a convolution of stride 2.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv2d,
}

impl Downsample {
    /// Padded by one on all sides (UNet).
    pub(crate) fn new(scope: &Scope<'_>, channels: i64) -> Self {
        Self {
            conv: Conv2d {
                stride: 2,
                ..Conv2d::new(&scope.sub("conv"), [channels; 2], 3)
            },
        }
    }

    /// Padded by one at the right and the bottom alone (autoencoder).
    pub(crate) fn asymmetric(scope: &Scope<'_>, channels: i64) -> Self {
        let Self { conv } = Self::new(scope, channels);
        Self {
            conv: Conv2d { padding: 0, ..conv },
        }
    }

    /// `x [B, C, H, W]` -> `[B, C, H/2, W/2]`, f32.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let halved = if self.conv.padding == 0 {
            self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]), call)
        } else {
            self.conv.forward(x, call)
        };
        halved.to_kind(Kind::Float)
    }
}

/// Enlarges by repeating pixels, then convolves.
#[derive(Debug)]
pub(crate) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(crate) fn new(scope: &Scope<'_>, channels: i64) -> Self {
        Self {
            conv: Conv2d::new(&scope.sub("conv"), [channels; 2], 3),
        }
    }

    /// `x [B, C, H, W]` -> `[B, C, height, width]`, f32.
    pub(crate) fn forward(&self, x: &Tensor, size: [i64; 2], call: &Call<'_>) -> Tensor {
        let enlarged = x.upsample_nearest2d(size, None, None);
        self.conv.forward(&enlarged, call).to_kind(Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{AdapterId, AdapterSpec, Device, ParamStore, reseed};

    use super::*;

    #[test]
    fn adapters_of_a_convolution_merge_and_scale_linearly() {
        let base = ParamStore::frozen(Device::Cpu);
        let lora = ParamStore::trainable(Device::Cpu, 1);
        let specs = [AdapterSpec::new(2, 4.0, &["*".into()], lora)];
        let scope = Scope::root(&base, &specs).sub("down");
        let conv = Downsample::new(&scope, 3).conv;
        reseed(&[1]);
        let options = (Kind::Float, Device::Cpu);
        conv.loras[0]
            .b
            .set_requires_grad(false)
            .copy_(&Tensor::randn([3, 2, 1, 1], options));
        let x = Tensor::randn([2, 3, 6, 8], options);
        let at = |scale: f64, train: bool| {
            let adapters = [(AdapterId(0), scale)];
            let call = Call {
                train,
                adapters: &adapters,
                ..Call::default()
            };
            conv.forward(&x, &call)
        };
        let plain = conv.forward(&x, &Call::default());
        assert_eq!(plain.size(), [2, 3, 3, 4]);
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
