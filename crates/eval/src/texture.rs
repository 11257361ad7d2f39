//! Two numbers of pixels that rise when a generator games its reward: garish colours, and grids or noise.

use dmdr_tensor::{Kind, Tensor};

/// Mean over pixels of the largest minus the smallest channel: 0 for grey, 1 for pure colours. `[B, 3, H, W]` -> `[B]`.
pub(crate) fn saturation(images: &Tensor) -> Tensor {
    let chroma = images.amax([1i64], false) - images.amin([1i64], false);
    chroma.mean_dim(&[1i64, 2][..], false, Kind::Float)
}

/// Share of the power of the grey image, its mean left out, at periods of at most 4 pixels along either axis: the fine
/// half of the spectrum, and the period of a patch's grid. `[B, 3, H, W]` -> `[B]`.
pub(crate) fn high_frequency(images: &Tensor) -> Tensor {
    let grey = images.mean_dim(&[1i64][..], false, Kind::Float);
    let mean = grey.mean_dim(&[1i64, 2][..], true, Kind::Float);
    let power = (grey - mean)
        .fft_fft2(None::<&[i64]>, [-2i64, -1], "ortho")
        .abs()
        .square();
    let size = power.size();
    let frequency = |length| Tensor::fft_fftfreq(length, 1.0, (Kind::Float, power.device())).abs();
    let rows = frequency(size[1]).unsqueeze(1);
    let columns = frequency(size[2]).unsqueeze(0);
    let is_fine = rows.maximum(&columns).ge(0.25).to_kind(Kind::Float);
    let total = power.sum_dim_intlist(&[1i64, 2][..], false, Kind::Float);
    let fine = (power * is_fine).sum_dim_intlist(&[1i64, 2][..], false, Kind::Float);
    fine / total.clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Device;

    use super::*;

    fn columns(value: impl Fn(i64) -> f32) -> Tensor {
        let row: Vec<f32> = (0..16).map(value).collect();
        Tensor::from_slice(&row)
            .reshape([1, 1, 1, 16])
            .expand([1, 3, 16, 16], false)
    }

    fn number(tensor: &Tensor) -> f64 {
        tensor.double_value(&[0])
    }

    #[test]
    fn pure_colours_are_saturated_and_grey_is_not() {
        let red = Tensor::from_slice(&[1.0f32, 0.0, 0.0])
            .reshape([1, 3, 1, 1])
            .expand([1, 3, 8, 8], false);
        assert!((number(&saturation(&red)) - 1.0).abs() < 1e-6);
        let pale = &red * 0.5 + 0.25;
        assert!((number(&saturation(&pale)) - 0.5).abs() < 1e-6);
        assert!(number(&saturation(&columns(|x| x as f32 / 16.0))).abs() < 1e-6);
    }

    #[test]
    fn stripes_count_by_their_period() {
        let wave = |period: f32| {
            columns(move |x| 0.5 + 0.4 * (std::f32::consts::TAU * (x as f32 + 0.5) / period).cos())
        };
        assert!(number(&high_frequency(&wave(8.0))) < 1e-5);
        assert!(number(&high_frequency(&wave(4.0))) > 1.0 - 1e-5);
        let both = (wave(8.0) + wave(4.0)) / 2.0;
        assert!((number(&high_frequency(&both)) - 0.5).abs() < 1e-5);
        let flat = Tensor::full([1, 3, 8, 8], 0.5, (Kind::Float, Device::Cpu));
        assert!(number(&high_frequency(&flat)).abs() < 1e-12);
    }
}
