//! Planes of numbers at another size, bilinear: as OpenCV, PyTorch and PIL do it.

/// Bits of OpenCV's weights.
const BITS: u32 = 11;

/// An 8-bit plane `from [height, width]` at the size `to`, between the centres of pixels and without a filter: OpenCV's
/// `INTER_LINEAR` in its whole numbers (`HResizeLinear` and `VResizeLinear` in modules/imgproc/src/resize.cpp).
pub(crate) fn opencv(from: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let columns: Vec<_> = (0..to[1])
        .map(|at| {
            let (first, part) = whole_and_part(at, width, to[1]);
            // Beyond the outer centres their values go on.
            let is_inside = (0..width as i64 - 1).contains(&first);
            let first = first.clamp(0, width as i64 - 1) as usize;
            let weights = fixed_point(if is_inside { part } else { 0.0 });
            (first, (first + 1).min(width - 1), weights)
        })
        .collect();
    let mut rows = Vec::with_capacity(height * to[1]);
    for row in from.chunks_exact(width) {
        let row: Vec<i32> = row.iter().map(|value| value.round() as i32).collect();
        let mix = columns
            .iter()
            .map(|&(left, right, [a, b])| row[left] * a + row[right] * b);
        rows.extend(mix);
    }
    let mut found = Vec::with_capacity(to[0] * to[1]);
    for at in 0..to[0] {
        // Rows beyond the outer ones are those again, with their weights: the sum is rounded twice.
        let (first, part) = whole_and_part(at, height, to[0]);
        let [above, below] = [first, first + 1].map(|row| {
            let row = row.clamp(0, height as i64 - 1) as usize;
            &rows[row * to[1]..(row + 1) * to[1]]
        });
        let [a, b] = fixed_point(part);
        found.extend(above.iter().zip(below).map(|(above, below)| {
            let sum = ((a * (above >> 4)) >> 16) + ((b * (below >> 4)) >> 16);
            ((sum + 2) >> 2) as f32
        }));
    }
    found
}

/// The pixel of a side of `from` whose centre lies before pixel `at` of `to`, perhaps none, and how far on that is.
fn whole_and_part(at: usize, from: usize, to: usize) -> (i64, f32) {
    let center = ((at as f64 + 0.5) * (from as f64 / to as f64) - 0.5) as f32;
    (center.floor() as i64, center - center.floor())
}

/// Weights of a pixel and the next one.
fn fixed_point(part: f32) -> [i32; 2] {
    [1.0 - part, part].map(|weight| (weight * (1 << BITS) as f32).round_ties_even() as i32)
}

/// `from [height, width]` at the size `to`, between the centres of pixels and without a filter. Beyond the outer centres
/// their values go on.
pub(crate) fn bilinear(from: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let columns: Vec<_> = (0..to[1]).map(|at| neighbours(at, width, to[1])).collect();
    let mut found = Vec::with_capacity(to[0] * to[1]);
    for at in 0..to[0] {
        let (above, below, down) = neighbours(at, height, to[0]);
        let [above, below] = [above, below].map(|row| &from[row * width..(row + 1) * width]);
        for &(left, right, across) in &columns {
            let mix = |row: &[f32]| row[left] + (row[right] - row[left]) * across;
            found.push(mix(above) + (mix(below) - mix(above)) * down);
        }
    }
    found
}

/// The two pixels of a side of `from` between which pixel `at` of `to` lies, and how far on the way.
fn neighbours(at: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let center = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let center = center.clamp(0.0, (from - 1) as f64);
    let first = center as usize;
    (
        first,
        (first + 1).min(from - 1),
        (center - first as f64) as f32,
    )
}

/// The same as PyTorch's `interpolate(mode="bilinear", align_corners=False)` computes it, in f32 throughout: what is
/// compared with zero afterwards falls on the same side.
pub(crate) fn interpolate(from: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let place = |at: usize, from: usize, to: usize| {
        let center = (from as f32 / to as f32) * (at as f32 + 0.5) - 0.5;
        let center = center.max(0.0);
        let first = (center as usize).min(from - 1);
        let on = (center - first as f32).min(1.0);
        (first, (first + 1).min(from - 1), on)
    };
    let columns: Vec<_> = (0..to[1]).map(|at| place(at, width, to[1])).collect();
    let mut found = Vec::with_capacity(to[0] * to[1]);
    for at in 0..to[0] {
        let (above, below, down) = place(at, height, to[0]);
        let [above, below] = [above, below].map(|row| &from[row * width..(row + 1) * width]);
        for &(left, right, across) in &columns {
            let mix = |row: &[f32]| row[left] * (1.0 - across) + row[right] * across;
            found.push(mix(above) * (1.0 - down) + mix(below) * down);
        }
    }
    found
}

/// The pixel of a side of `from` that PyTorch's `interpolate(mode="nearest")` takes for pixel `at` of `to`.
pub(crate) fn nearest(at: usize, from: usize, to: usize) -> usize {
    let place = (at as f32 * (from as f32 / to as f32)) as usize;
    place.min(from - 1)
}

/// An 8-bit plane `from [height, width]` at the size `to` with PIL's bilinear filter: a triangle as wide as what becomes
/// one pixel. Rows first, in PIL's whole numbers (src/libImaging/Resample.c). torchvision's `antialias=True` is the same to
/// one step of 255 in some pixels.
pub(crate) fn filtered(from: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let across: Vec<_> = (0..to[1]).map(|at| weights(at, width, to[1])).collect();
    let mut rows = Vec::with_capacity(height * to[1]);
    for row in from.chunks_exact(width) {
        let row: Vec<i64> = row.iter().map(|value| value.round() as i64).collect();
        rows.extend(across.iter().map(|(first, weights)| {
            let values = row[*first..].iter().zip(weights);
            to_8_bits(values.map(|(value, weight)| value * weight).sum())
        }));
    }
    let mut found = Vec::with_capacity(to[0] * to[1]);
    for at in 0..to[0] {
        let (first, weights) = weights(at, height, to[0]);
        for column in 0..to[1] {
            let value =
                |(place, weight): (usize, &i64)| rows[(first + place) * to[1] + column] * weight;
            found.push(to_8_bits(weights.iter().enumerate().map(value).sum()) as f32);
        }
    }
    found
}

/// Bits of PIL's weights behind the point.
const PRECISION: u32 = 32 - 8 - 2;

/// The first pixel of a side of `from` that reaches pixel `at` of `to`, and the weights from there on, of sum 1.
fn weights(at: usize, from: usize, to: usize) -> (usize, Vec<i64>) {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let center = scale * (at as f64 + 0.5);
    let first = (center - reach + 0.5).max(0.0) as usize;
    let end = ((center + reach + 0.5) as usize).min(from);
    let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - center) / reach).abs()).max(0.0);
    let total: f64 = (first..end).map(weight).sum();
    let fixed = |pixel| (weight(pixel) / total * f64::from(1 << PRECISION) + 0.5) as i64;
    (first, (first..end).map(fixed).collect())
}

/// A sum of weighted numbers, rounded.
fn to_8_bits(sum: i64) -> i64 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_a_ramp_between_centres() {
        for resize in [bilinear, interpolate] {
            let doubled = resize(&[0.0, 4.0, 8.0], [1, 3], [1, 6]);
            assert_eq!(doubled, [0.0, 1.0, 3.0, 5.0, 7.0, 8.0]);
            let halved = resize(&[0.0, 2.0, 4.0, 6.0], [4, 1], [2, 1]);
            assert_eq!(halved, [1.0, 5.0]);
        }
    }

    #[test]
    fn whole_numbers_are_those_of_opencv() {
        // cv2.resize(picture, (5, 3)) and so on, of 4.14 and 5.0.
        let picture = [0.0, 50.0, 255.0, 10.0, 200.0, 30.0];
        assert_eq!(
            opencv(&picture, [2, 3], [3, 5]),
            [
                0.0, 20.0, 50.0, 173.0, 255.0, 5.0, 53.0, 125.0, 135.0, 143.0, 10.0, 86.0, 200.0,
                98.0, 30.0
            ]
        );
        assert_eq!(opencv(&picture, [2, 3], [1, 2]), [35.0, 138.0]);
        assert_eq!(opencv(&picture, [2, 3], [1, 1]), [125.0]);
        assert_eq!(opencv(&picture, [2, 3], [2, 3]), picture, "nothing to do");
    }

    #[test]
    fn a_filter_looks_at_all_pixels_that_become_one() {
        // PIL: Image.fromarray(np.array([[0, 0, 255, 0, 0, 0, 0, 255]], np.uint8)).resize((2, 1), Image.BILINEAR).
        let row = [0.0, 0.0, 255.0, 0.0, 0.0, 0.0, 0.0, 255.0];
        assert_eq!(filtered(&row, [1, 8], [1, 2]), [64.0, 55.0]);
        assert_eq!(filtered(&row, [8, 1], [2, 1]), [64.0, 55.0]);
        assert_eq!(filtered(&row, [2, 4], [2, 4]), row, "nothing to do");
        assert_eq!(filtered(&[7.0], [1, 1], [2, 3]), [7.0; 6]);
    }

    #[test]
    fn nearest_goes_down() {
        let all: Vec<usize> = (0..5).map(|at| nearest(at, 3, 5)).collect();
        assert_eq!(all, [0, 0, 1, 1, 2]);
        let all: Vec<usize> = (0..2).map(|at| nearest(at, 5, 2)).collect();
        assert_eq!(all, [0, 2]);
    }
}
