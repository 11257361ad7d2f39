//! A large picture from overlapping tiles, blended linearly as diffusers' `tiled_decode` does.

use dmdr_tensor::{Kind, Tensor};

/// Decodes `z [B, C, h, w]` in squares of `tile` latent pixels that overlap by a quarter; `decode` makes each `factor`
/// times larger. `tile` is a multiple of 4.
pub(super) fn decode(
    z: &Tensor,
    tile: i64,
    factor: i64,
    decode: impl Fn(&Tensor) -> Tensor,
) -> Tensor {
    let (_, _, height, width) = z.size4().expect("latents are [B, C, h, w]");
    let stride = tile * 3 / 4;
    let (kept, overlap) = (stride * factor, tile / 4 * factor);
    let starts = |length: i64| (0..length).step_by(stride as usize);
    let mut rows = Vec::new();
    let mut above: Vec<Tensor> = Vec::new();
    for top in starts(height) {
        let mut row: Vec<Tensor> = Vec::new();
        for (column, left) in starts(width).enumerate() {
            let piece =
                z.narrow(2, top, tile.min(height - top))
                    .narrow(3, left, tile.min(width - left));
            let mut image = decode(&piece);
            if let Some(neighbour) = above.get(column) {
                image = blend(neighbour, &image, 2, overlap);
            }
            if let Some(neighbour) = row.last() {
                image = blend(neighbour, &image, 3, overlap);
            }
            row.push(image);
        }
        let cut: Vec<Tensor> = row
            .iter()
            .map(|image| {
                let size = image.size();
                image
                    .narrow(2, 0, kept.min(size[2]))
                    .narrow(3, 0, kept.min(size[3]))
            })
            .collect();
        rows.push(Tensor::cat(&cut, 3));
        above = row;
    }
    Tensor::cat(&rows, 2)
}

/// `after`, whose first `overlap` pixels along `dim` fade in from the last ones of `before`.
fn blend(before: &Tensor, after: &Tensor, dim: i64, overlap: i64) -> Tensor {
    let (length, total) = (before.size()[dim as usize], after.size()[dim as usize]);
    let overlap = overlap.min(length).min(total);
    let mut shape = [1; 4];
    shape[dim as usize] = overlap;
    let ramp = Tensor::arange(overlap, (Kind::Float, after.device())) / overlap as f64;
    let ramp = ramp.reshape(shape);
    let mixed = before.narrow(dim, length - overlap, overlap) * (1.0 - &ramp)
        + after.narrow(dim, 0, overlap) * ramp;
    Tensor::cat(&[mixed, after.narrow(dim, overlap, total - overlap)], dim)
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Device;

    use super::*;

    #[test]
    fn tiles_that_agree_where_they_overlap_give_the_whole() {
        let z = Tensor::randn([2, 3, 13, 10], (Kind::Float, Device::Cpu));
        let enlarge = |z: &Tensor| {
            let size = z.size();
            z.upsample_nearest2d([2 * size[2], 2 * size[3]], None, None)
        };
        let tiled = decode(&z, 4, 2, enlarge);
        let error = (tiled - enlarge(&z)).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{error}");
    }
}
