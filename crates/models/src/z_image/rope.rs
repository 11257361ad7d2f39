//! Rotary positions over three axes (order in the sequence, row, column).

use dmdr_tensor::{Device, Kind, Tensor};

/// Frequencies of each axis; together they fill half a head.
#[derive(Debug)]
pub(super) struct Rope {
    axes: Vec<Vec<f64>>,
}

/// What turns queries and keys of each token: `cos, sin [B, N, 1, d / 2]`, f32.
#[derive(Debug)]
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// Axis `i` turns `dims[i]` of a head's channels, at frequencies `theta^(-2k / dims[i])`.
    pub(super) fn new(dims: &[i64], theta: f64) -> Self {
        let axis = |&dim: &i64| {
            (0..dim / 2)
                .map(|k| theta.powf(-2.0 * k as f64 / dim as f64))
                .collect()
        };
        Self {
            axes: dims.iter().map(axis).collect(),
        }
    }

    /// Angles are f64 as upstream: positions run to hundreds.
    pub(super) fn rotation(&self, positions: &Tensor) -> Rotation {
        let angles: Vec<Tensor> = self
            .axes
            .iter()
            .zip(0..)
            .map(|(frequencies, axis)| {
                let frequencies = Tensor::from_slice(frequencies).to_device(positions.device());
                positions.select(2, axis).unsqueeze(2).to_kind(Kind::Double) * frequencies
            })
            .collect();
        let angles = Tensor::cat(&angles, 2).to_kind(Kind::Float).unsqueeze(2);
        Rotation {
            cos: angles.cos(),
            sin: angles.sin(),
        }
    }
}

impl Rotation {
    /// Turns neighbouring channels of `x [B, N, H, d]` as pairs; computed in f32, returned in the kind of `x`.
    pub(super) fn turn(&self, x: &Tensor) -> Tensor {
        let pairs = x.to_kind(Kind::Float).unflatten(3, [-1, 2]);
        let (a, b) = (pairs.select(4, 0), pairs.select(4, 1));
        let turned = [
            &a * &self.cos - &b * &self.sin,
            &a * &self.sin + &b * &self.cos,
        ];
        Tensor::stack(&turned, 4).flatten(3, 4).to_kind(x.kind())
    }

    /// Tokens of `self`, then those of `other`.
    pub(super) fn then(&self, other: &Self) -> Self {
        let cat = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 1);
        Self {
            cos: cat(&self.cos, &other.cos),
            sin: cat(&self.sin, &other.sin),
        }
    }
}

/// `[B, L, 3]`: token `i` is at `(i + 1, 0, 0)`, pads included.
pub(super) fn caption_positions(batch: i64, length: i64, device: Device) -> Tensor {
    let order = Tensor::arange(length, (Kind::Int64, device)) + 1;
    let zero = order.zeros_like();
    Tensor::stack(&[&order, &zero, &zero], 1)
        .unsqueeze(0)
        .expand([batch, -1, -1], false)
}

/// `[B, h w + num_pads, 3]`: patches are at `(padded + 1, row, column)`, right behind the caption; pads at the origin.
pub(super) fn image_positions(padded: &Tensor, [h, w]: [i64; 2], num_pads: i64) -> Tensor {
    let options = (Kind::Int64, padded.device());
    let batch = padded.size()[0];
    let order = (padded + 1)
        .reshape([-1, 1, 1])
        .expand([batch, h, w], false);
    let row = Tensor::arange(h, options).reshape([1, h, 1]);
    let column = Tensor::arange(w, options).reshape([1, 1, w]);
    let axes = [
        order,
        row.expand([batch, h, w], false),
        column.expand([batch, h, w], false),
    ];
    Tensor::stack(&axes, 3)
        .flatten(1, 2)
        .constant_pad_nd([0, 0, 0, num_pads])
}
