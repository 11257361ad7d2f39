//! Five linear layers from a feature to a rating: of LAION's aesthetic predictor V2
//! (github.com/christophschuhmann/improved-aesthetic-predictor, `MLP`), and of ImageReward, which took them over.
//!
//! Both have dropout between the layers and, as released, no activations: it is one affine map.

use dmdr_tensor::{Init, Scope, Tensor};

use crate::{Call, layers::Linear};

/// Places of the linear layers in upstream's list, whose gaps are dropouts, and their widths.
const LAYERS: [(usize, i64); 5] = [(0, 1024), (2, 128), (4, 64), (6, 16), (7, 1)];

/// Features to ratings.
#[derive(Debug)]
pub struct RatingHead {
    layers: Vec<Linear>,
}

impl RatingHead {
    /// Builds the head for features of width `dim`, 768 as published; its parameters are `layers.*` of `scope`.
    pub fn new(scope: &Scope<'_>, dim: i64) -> Self {
        let mut width = dim;
        let layers = LAYERS.map(|(place, next)| {
            let scope = scope.sub("layers").sub(place);
            let layer = Linear::precise(&scope, width, next, Init::Zeros);
            width = next;
            layer
        });
        Self {
            layers: layers.into(),
        }
    }

    /// `features [B, dim]` -> `[B]`, f32.
    pub fn forward(&self, features: &Tensor) -> Tensor {
        let first = features.shallow_clone();
        let last = self
            .layers
            .iter()
            .fold(first, |x, layer| layer.forward(&x, &Call::default()));
        last.squeeze_dim(1)
    }
}
