//! LPIPS (arXiv 1801.03924), version 0.1: how far apart two images look.
//!
//! Source: the package `lpips` (0.1.4). Parameters of the trunk carry the names of torchvision's `vgg16` and `alexnet`,
//! those of the weights on top the names of the package's own files, `lin0.model.1.weight` to `lin4.model.1.weight`.
//! Deviation: the gradient is zero, not undefined, where all features of a place vanish.

use std::path::Path;

use dmdr_config::LpipsTrunk;
use dmdr_tensor::{Device, Init, Kind, ParamStore, Scope, Tensor};

use crate::ModelError;

/// Of the package's `ScalingLayer`, for images in `[-1, 1]`.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Keeps the length of vanishing features off zero.
const EPS: f64 = 1e-10;

/// A convolution of a trunk: number in torchvision's `features`, output channels, side, stride, padding.
type Layer = (usize, i64, i64, i64, i64);

/// Side of the pooling windows, all of stride 2.
fn pool(trunk: LpipsTrunk) -> i64 {
    match trunk {
        LpipsTrunk::Vgg => 2,
        LpipsTrunk::Alex => 3,
    }
}

/// Convolutions between places whose features are compared, each followed by ReLU.
fn stages(trunk: LpipsTrunk) -> [Vec<Layer>; 5] {
    match trunk {
        LpipsTrunk::Alex => [
            vec![(0, 64, 11, 4, 2)],
            vec![(3, 192, 5, 1, 2)],
            vec![(6, 384, 3, 1, 1)],
            vec![(8, 256, 3, 1, 1)],
            vec![(10, 256, 3, 1, 1)],
        ],
        LpipsTrunk::Vgg => [
            (64, vec![0, 2]),
            (128, vec![5, 7]),
            (256, vec![10, 12, 14]),
            (512, vec![17, 19, 21]),
            (512, vec![24, 26, 28]),
        ]
        .map(|(channels, places)| {
            let layer = |place| (place, channels, 3, 1, 1);
            places.into_iter().map(layer).collect()
        }),
    }
}

/// Whether there is pooling before stage `index`.
fn is_pooled(trunk: LpipsTrunk, index: usize) -> bool {
    match trunk {
        LpipsTrunk::Vgg => index > 0,
        LpipsTrunk::Alex => index == 1 || index == 2,
    }
}

#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

#[derive(Debug)]
struct Stage {
    is_pooled: bool,
    convolutions: Vec<Convolution>,
    /// `[1, C, 1, 1]`: how much a squared difference in each channel counts.
    weights: Tensor,
}

/// The metric.
#[derive(Debug)]
pub struct Lpips {
    trunk: LpipsTrunk,
    stages: Vec<Stage>,
}

impl Lpips {
    /// Builds the trunk with parameters in `features`, and the weights on top in `linear`.
    pub fn new(features: &ParamStore, linear: &ParamStore, trunk: LpipsTrunk) -> Self {
        let scope = Scope::root(features, &[]).sub("features");
        let mut channels = 3;
        let stages = (0..).zip(stages(trunk)).map(|(index, layers)| {
            let convolutions = layers
                .into_iter()
                .map(|(place, next, side, stride, padding)| {
                    let layer = scope.sub(place);
                    let shape = [next, channels, side, side];
                    channels = next;
                    Convolution {
                        weight: layer.param("weight", &shape, Init::Zeros),
                        bias: layer.param("bias", &[next], Init::Zeros),
                        stride,
                        padding,
                    }
                });
            let convolutions = convolutions.collect();
            let name = format!("lin{index}.model.1.weight");
            let weights = Scope::root(linear, &[]).param(&name, &[1, channels, 1, 1], Init::Zeros);
            Stage {
                is_pooled: is_pooled(trunk, index),
                convolutions,
                weights,
            }
        });
        Self {
            trunk,
            stages: stages.collect(),
        }
    }

    /// The metric with the weights in two files: torchvision's, whose classifier is not read, and the package's.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        features: &Path,
        linear: &Path,
        trunk: LpipsTrunk,
        device: Device,
    ) -> Result<Self, ModelError> {
        let stores = [(); 2].map(|()| ParamStore::frozen(device));
        let net = Self::new(&stores[0], &stores[1], trunk);
        let rename = |name: &str| (!name.starts_with("classifier.")).then(|| name.to_owned());
        stores[0].load_renamed(features, &rename)?;
        stores[1].load(linear)?;
        Ok(net)
    }

    /// Features of `images [B, 3, H, W]` in `[0, 1]`, unit along their channels: what [`Self::between`] compares.
    pub fn features(&self, images: &Tensor) -> Vec<Tensor> {
        let channels = |values: [f32; 3]| {
            let values = Tensor::from_slice(&values).reshape([3, 1, 1]);
            values.to_device(images.device())
        };
        let mut x = (images * 2.0 - 1.0 - channels(SHIFT)) / channels(SCALE);
        let side = pool(self.trunk);
        let mut features = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            if stage.is_pooled {
                x = x.max_pool2d(side, 2, 0, 1, false);
            }
            for layer in &stage.convolutions {
                let Convolution {
                    stride, padding, ..
                } = *layer;
                let bias = Some(&layer.bias);
                x = x
                    .conv2d(&layer.weight, bias, [stride; 2], [padding; 2], 1, 1)
                    .relu();
            }
            let length = x.norm_scalaropt_dim(2, 1, true);
            features.push(&x / (length + EPS));
        }
        features
    }

    /// Distance between images with features `a` and `b`, `[B]`.
    pub fn between(&self, a: &[Tensor], b: &[Tensor]) -> Tensor {
        let distances = self
            .stages
            .iter()
            .zip(a.iter().zip(b))
            .map(|(stage, (a, b))| {
                let squares = (a - b).square() * &stage.weights;
                squares
                    .sum_dim_intlist(&[1i64][..], false, Kind::Float)
                    .mean_dim(&[1i64, 2][..], false, Kind::Float)
            });
        distances
            .reduce(|sum, distance| sum + distance)
            .expect("five stages")
    }

    /// Distance between `a` and `b`, each `[B, 3, H, W]` in `[0, 1]` -> `[B]`.
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Tensor {
        self.between(&self.features(a), &self.features(b))
    }
}
