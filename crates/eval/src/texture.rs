//! Three numbers of pixels that rise when a student games its reward: garish colours, fine noise, and grids.

use dmdr_tensor::{Kind, Tensor};

/// Periods in pixels of the grids that are looked for: a cell of the usual autoencoders' latents, and a patch of two.
const PERIODS: [i64; 2] = [8, 16];
/// Frequencies of a period's peak and of its neighbours are whole numbers if the side is a multiple of this.
const UNIT: i64 = 32;
/// Least side of images in which [`grid`] looks, so that a peak has neighbours.
pub const GRID_SIDE: i64 = 2 * UNIT;
/// Power of what 8-bit pixels are rounded by, which keeps quotients of nothing finite.
const FLOOR: f64 = 1.0 / (12.0 * 255.0 * 255.0);

/// Mean over pixels of the largest minus the smallest channel: 0 for grey, 1 for pure colours. `[B, 3, H, W]` -> `[B]`.
pub fn saturation(images: &Tensor) -> Tensor {
    let chroma = images.amax([1i64], false) - images.amin([1i64], false);
    chroma.mean_dim(&[1i64, 2][..], false, Kind::Float)
}

/// Share of the power of the grey image, its mean left out, at periods of at most 4 pixels along either axis: the fine
/// half of the spectrum, and the period of a patch's grid. `[B, 3, H, W]` -> `[B]`.
pub fn high_frequency(images: &Tensor) -> Tensor {
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

/// How far the power of the grey image at a period of 8 or 16 pixels stands above that of the frequencies around it, in
/// decibels, the larger of rows and columns: a few in a picture without a grid, tens in one made of visible tiles.
/// `[B, 3, H, W]`, sides at least [`GRID_SIDE`] -> `[B]`.
///
/// The power of a row is averaged over all of them, so the grid's pattern may be anything. Up to 31 pixels at the right
/// and lower edges are left out.
pub fn grid(images: &Tensor) -> Tensor {
    let grey = images.mean_dim(&[1i64][..], false, Kind::Float);
    let peaks = [grey.transpose(1, 2), grey]
        .iter()
        .flat_map(|grey| {
            let side = grey.size()[2] / UNIT * UNIT;
            let spectrum = grey.narrow(2, 0, side).fft_rfft(None, -1, "ortho");
            let power = spectrum
                .abs()
                .square()
                .mean_dim(&[1i64][..], false, Kind::Float);
            PERIODS.map(|period| peak(&power, side / period, side / UNIT))
        })
        .collect::<Vec<_>>();
    Tensor::stack(&peaks, 0).amax([0i64], false)
}

/// Decibels of frequency `place` of `power [B, F]` above the mean of those nearer than `reach`.
fn peak(power: &Tensor, place: i64, reach: i64) -> Tensor {
    let around = [place - reach + 1, place + 1].map(|first| power.narrow(1, first, reach - 1));
    let around = Tensor::cat(&around, 1).mean_dim(&[1i64][..], false, Kind::Float);
    let ratio = (power.select(1, place) + FLOOR) / (around + FLOOR);
    ratio.log10() * 10.0
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;

    fn columns(value: impl Fn(i64) -> f32) -> Tensor {
        columns_of(16, value)
    }

    fn columns_of(side: i64, value: impl Fn(i64) -> f32) -> Tensor {
        let row: Vec<f32> = (0..side).map(value).collect();
        Tensor::from_slice(&row)
            .reshape([1, 1, 1, side])
            .expand([1, 3, side, side], false)
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
    fn grids_stand_out_whatever_their_pattern_and_the_picture() {
        reseed(&[3]);
        let options = (Kind::Float, Device::Cpu);
        // A picture: noise whose neighbours are alike.
        let soft = Tensor::rand([2, 3, 160, 131], options).avg_pool2d(5, 1, 2, false, true, None);
        let plain = grid(&soft);
        assert!(plain.amax([0i64], false).double_value(&[]) < 4.0, "{plain}");
        for period in PERIODS {
            let cell = Tensor::rand([1, 1, period, period], options);
            let tiles = cell.repeat([2, 3, 160 / period, 131 / period + 1]);
            let tiled = &soft + (tiles.narrow(3, 0, 131) - 0.5) * 0.3;
            let found = grid(&tiled).amin([0i64], false).double_value(&[]);
            assert!(found > 8.0, "{period}: {found}");
        }
        // Lines 12 apart are no such grid, and a flat picture has none.
        let lines = columns_of(192, |x| if x % 12 == 0 { 1.0 } else { 0.0 });
        assert!(number(&grid(&lines)) < 1.0, "{}", number(&grid(&lines)));
        let flat = Tensor::full([1, 3, 64, 64], 0.5, options);
        assert!(number(&grid(&flat)).abs() < 1e-3);
    }

    #[test]
    fn a_wave_is_as_many_decibels_as_it_has_power() {
        // Amplitude a: power a^2 / 4 times the side at its frequency, nothing beside it.
        let wave = columns_of(64, |x| {
            0.5 + 0.1 * (std::f32::consts::TAU * x as f32 / 16.0).cos()
        });
        let expected = 10.0 * ((0.01 / 4.0 * 64.0 + FLOOR) / FLOOR).log10();
        assert!((number(&grid(&wave)) - expected).abs() < 0.1);
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
