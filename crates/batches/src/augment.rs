//! Damage to images `[B, 3, H, W]` in `[0, 1]`: mild as augmentation, strong as the worse side of preference pairs. All of
//! it is differentiable with respect to the images.

use dmdr_tensor::{Kind, Tensor};

/// One strength per image, uniform in `[0, max]`, shaped `[B, 1, 1, 1]`.
fn strengths(images: &Tensor, max: f64) -> Tensor {
    Tensor::rand([images.size()[0], 1, 1, 1], (Kind::Float, images.device())) * max
}

/// Mix with a binomially blurred copy (3x3, twice) by a random share up to `max`.
pub fn blur(images: &Tensor, max: f64) -> Tensor {
    let kernel = Tensor::from_slice(&[1.0f32, 2.0, 1.0]) / 4.0;
    let kernel = kernel
        .outer(&kernel)
        .reshape([1, 1, 3, 3])
        .expand([3, 1, 3, 3], false);
    let kernel = kernel.to_device(images.device());
    let once = |x: &Tensor| {
        x.replication_pad2d([1, 1, 1, 1]).conv2d(
            &kernel,
            None::<&Tensor>,
            [1, 1],
            [0, 0],
            [1, 1],
            3,
        )
    };
    let blurred = once(&once(images));
    let share = strengths(images, max);
    images + share * (blurred - images)
}

/// Gaussian noise of a random standard deviation up to `max`.
pub fn noise(images: &Tensor, max: f64) -> Tensor {
    (images + images.randn_like() * strengths(images, max)).clamp(0.0, 1.0)
}

/// Mix with the mean colour of the image by a random share up to `max`: low contrast.
pub fn fade(images: &Tensor, max: f64) -> Tensor {
    let mean = images.mean_dim(&[2i64, 3][..], true, Kind::Float);
    let share = strengths(images, max);
    images + share * (mean - images)
}

/// Two random rectangles exchanged between neighbours in the batch: objects cut, doubled or melted together.
pub fn misplace(images: &Tensor) -> Tensor {
    let size = images.size();
    let (h, w) = (size[2], size[3]);
    let rows = Tensor::arange(h, (Kind::Float, images.device())).reshape([1, 1, h, 1]);
    let columns = Tensor::arange(w, (Kind::Float, images.device())).reshape([1, 1, 1, w]);
    let inside = |axis: &Tensor, length: i64| {
        let start = strengths(images, length as f64 * 0.6);
        let extent = strengths(images, length as f64 * 0.3) + length as f64 * 0.15;
        axis.ge_tensor(&start)
            .logical_and(&axis.lt_tensor(&(&start + extent)))
    };
    let window = inside(&rows, h)
        .logical_and(&inside(&columns, w))
        .to_kind(Kind::Float);
    images + window * (images.roll([1], [0]) - images)
}

/// A smooth random field `[B, channels, H, W]`, standard normal on a grid of 5 x 5 and bilinear between.
fn field(images: &Tensor, channels: i64) -> Tensor {
    let size = images.size();
    Tensor::randn([size[0], channels, 5, 5], (Kind::Float, images.device())).upsample_bilinear2d(
        [size[2], size[3]],
        true,
        None,
        None,
    )
}

/// Pixels moved along a smooth random field, by up to about `max` of the image's side: bent and torn outlines.
pub fn warp(images: &Tensor, max: f64) -> Tensor {
    let identity = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0])
        .to_device(images.device())
        .reshape([1, 2, 3])
        .expand([images.size()[0], 2, 3], false);
    let grid = Tensor::affine_grid_generator(&identity, images.size(), false);
    let shift = field(images, 2).permute([0, 2, 3, 1]) * strengths(images, 2.0 * max); // sides are 2 long
    images.grid_sampler(&(grid + shift), 0, 1, false) // bilinear, border
}

/// Mixed with a neighbour in the batch where a smooth random field is high, by a random share: ghosts, and objects
/// that melt into one another.
pub fn melt(images: &Tensor) -> Tensor {
    let mask = (field(images, 1) * 4.0).sigmoid() * strengths(images, 1.0);
    images + mask * (images.roll([1], [0]) - images)
}

/// Shifted by up to `pixels` and scaled by up to a tenth, each image at random; the border goes on outside.
pub fn jitter(images: &Tensor, pixels: f64) -> Tensor {
    let size = images.size();
    let either_way = |max: f64| strengths(images, 2.0 * max).reshape([-1, 1]) - max;
    let scale = either_way(0.1) + 1.0;
    let none = scale.zeros_like();
    let shift = || either_way(2.0 * pixels / size[3] as f64); // sides are 2 long
    let affine = Tensor::cat(&[&scale, &none, &shift(), &none, &scale, &shift()], 1);
    let grid = Tensor::affine_grid_generator(&affine.reshape([-1, 2, 3]), &size, false);
    images.grid_sampler(&grid, 0, 1, false) // bilinear, border
}

/// The mild damage under which a score should not change much.
pub fn mild(images: &Tensor) -> Tensor {
    noise(&blur(images, 0.5), 0.08)
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;

    /// The column as a grey value: 0 at the left, 1 at the right.
    fn ramp(batch: i64) -> Tensor {
        Tensor::linspace(0.0, 1.0, 32, (Kind::Float, Device::Cpu)).expand([batch, 3, 32, 32], false)
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn every_damage_stays_in_range_and_changes_what_it_should() {
        reseed(&[1]);
        let images = Tensor::rand([8, 3, 32, 32], (Kind::Float, Device::Cpu)).round();
        let damages: [(&str, Tensor); 8] = [
            ("blur", blur(&images, 1.0)),
            ("noise", noise(&images, 0.3)),
            ("fade", fade(&images, 0.8)),
            ("misplace", misplace(&images)),
            ("warp", warp(&images, 0.1)),
            ("melt", melt(&images)),
            ("jitter", jitter(&images, 2.0)),
            ("mild", mild(&images)),
        ];
        for (name, damaged) in damages {
            assert_eq!(damaged.size(), images.size(), "{name}");
            let (low, high) = (damaged.min(), damaged.max());
            assert!(low.double_value(&[]) >= -1e-6, "{name}");
            assert!(high.double_value(&[]) <= 1.0 + 1e-6, "{name}");
            assert!(largest(&(damaged - &images)) > 0.01, "{name}");
        }
    }

    #[test]
    fn jitter_moves_by_its_bound_at_most() {
        reseed(&[2]);
        let images = ramp(64);
        // Two pixels, and a tenth of the half side at the border.
        let bound = (2.0 + 1.6 + 0.1) / 31.0;
        assert!(largest(&(jitter(&images, 2.0) - &images)) <= bound);
        assert!(largest(&(jitter(&images, 0.0) - &images)) <= (1.6 + 0.1) / 31.0);
    }

    #[test]
    fn what_is_flat_stays_flat() {
        reseed(&[3]);
        let grey = Tensor::full([4, 3, 32, 32], 0.5, (Kind::Float, Device::Cpu));
        for damaged in [
            warp(&grey, 0.1),
            melt(&grey),
            jitter(&grey, 2.0),
            blur(&grey, 1.0),
        ] {
            assert!(largest(&(damaged - &grey)) < 1e-5);
        }
    }
}
