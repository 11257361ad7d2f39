//! Antialiased bicubic resizing of one axis as a matrix: the weights of PIL, and of torchvision with `antialias=True`.
//!
//! Both take Keys' kernel (IEEE ASSP 29(6), 1981) with a = -1/2, widen it by the factor of reduction, cut it off at the
//! border and make its weights sum to 1. Plain `upsample_bicubic2d` is another filter: a = -3/4, never widened.

/// Half the width of the kernel, in pixels of the coarser side.
const SUPPORT: f64 = 2.0;

/// Keys' cubic at distance `x >= 0`.
fn kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < SUPPORT {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Writes to `row`, one zero for each input pixel, the weights of output pixel `index` of a resize to `output` pixels.
pub(super) fn weights(row: &mut [f32], output: i64, index: i64) {
    let input = row.len() as f64;
    let scale = input / output as f64;
    let widening = scale.max(1.0);
    let center = scale * (index as f64 + 0.5);
    let reach = SUPPORT * widening;
    let first = (center - reach + 0.5).max(0.0) as usize;
    let end = (center + reach + 0.5).min(input) as usize;
    let weight = |pixel: usize| kernel(((pixel as f64 + 0.5 - center) / widening).abs());
    let total: f64 = (first..end).map(weight).sum();
    for (pixel, value) in row.iter_mut().enumerate().take(end).skip(first) {
        *value = (weight(pixel) / total) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_the_same_size_changes_nothing() {
        for (input, output) in [(7, 7), (640, 224), (10, 25), (3, 1)] {
            for index in 0..output {
                let mut row = vec![0.0; input];
                weights(&mut row, output, index);
                let total: f32 = row.iter().sum();
                assert!((total - 1.0).abs() < 1e-6, "{input} to {output}: {total}");
                if input as i64 == output {
                    let unit = |(pixel, &value): (usize, &f32)| {
                        (value - f32::from(u8::from(pixel as i64 == index))).abs() < 1e-6
                    };
                    assert!(row.iter().enumerate().all(unit), "{row:?}");
                }
            }
        }
    }

    #[test]
    fn halving_takes_eight_pixels() {
        let mut row = [0.0; 16];
        weights(&mut row, 8, 4);
        // The kernel at 1/4, 3/4, 5/4 and 7/4, halved.
        let half = [111.0, 29.0, -9.0, -3.0].map(|value| value / 256.0);
        let expected = [
            half[3], half[2], half[1], half[0], half[0], half[1], half[2], half[3],
        ];
        assert!(row[..5].iter().chain(&row[13..]).all(|&value| value == 0.0));
        for (value, expected) in row[5..13].iter().zip(expected) {
            assert!((value - expected).abs() < 1e-7, "{row:?}");
        }
    }
}
