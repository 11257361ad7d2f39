//! Diversity as DMDR's Table 6 measures it: how far apart the images of a prompt look. The paper does not say which
//! trunk, image size or number of images; only the order of methods can be compared with it.

use dmdr_models::Lpips;
use dmdr_rewards::preprocess::{Fit, Preprocess};
use dmdr_tensor::{Tensor, no_grad_guard};

use crate::metrics::mean;

/// Mean LPIPS between the images of a prompt, all resized to one size.
#[derive(Debug)]
pub struct Diversity {
    net: Lpips,
    preprocess: Preprocess,
}

impl Diversity {
    /// By `net`, on squares of side `size`.
    pub fn new(net: Lpips, size: i64) -> Self {
        let preprocess = Preprocess::plain(Fit::Squash, size);
        Self { net, preprocess }
    }

    /// `images [B, 3, H, W]` in `[0, 1]` -> `[B, 3, size, size]`, antialiased, as [`Self::of_prompts`] takes them.
    pub fn resize(&self, images: &Tensor) -> Tensor {
        self.preprocess.forward(images).clamp(0.0, 1.0) // the bicubic filter overshoots
    }

    /// One number a prompt of resized images, one tensor a seed ([`pairwise_lpips`]).
    ///
    /// # Panics
    /// With fewer than two seeds.
    pub fn of_prompts(&self, images: &[Tensor]) -> Vec<f64> {
        pairwise_lpips(&self.net, images)
    }
}

/// Mean LPIPS over all pairs of images of a prompt, one number a prompt. `images`: one tensor `[N, 3, H, W]` in `[0, 1]` a
/// seed, at least two, of the same `N` prompts in the same order. LPIPS depends on the size of the images: compare only
/// what was made or resized to one size.
///
/// # Panics
/// With fewer than two seeds.
pub fn pairwise_lpips(net: &Lpips, images: &[Tensor]) -> Vec<f64> {
    assert!(images.len() > 1, "at least two images a prompt");
    let _guard = no_grad_guard();
    let of_prompt = |prompt: i64| {
        let features: Vec<Vec<Tensor>> = images
            .iter()
            .map(|seed| net.features(&seed.narrow(0, prompt, 1)))
            .collect();
        let pairs = (1..features.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
        mean(pairs.map(|(i, j)| net.between(&features[i], &features[j]).double_value(&[0])))
    };
    (0..images[0].size()[0]).map(of_prompt).collect()
}

#[cfg(test)]
mod tests {
    use dmdr_config::LpipsTrunk;
    use dmdr_tensor::{Device, Kind, ParamStore, reseed};

    use super::*;

    #[test]
    fn the_mean_over_pairs_of_each_prompt() {
        reseed(&[1]);
        let stores = [(); 2].map(|()| ParamStore::frozen(Device::Cpu));
        let net = Lpips::new(&stores[0], &stores[1], LpipsTrunk::Alex);
        for tensor in stores.iter().flat_map(|store| store.group().tensors) {
            let values = tensor.randn_like().abs() * 0.05;
            tensor.shallow_clone().copy_(&values);
        }
        let draw = || Tensor::rand([2, 3, 64, 64], (Kind::Float, Device::Cpu));
        let (a, b, c) = (draw(), draw(), draw());
        // The first prompt's second and third image are the same.
        c.narrow(0, 0, 1).copy_(&b.narrow(0, 0, 1));
        let found = pairwise_lpips(&net, &[a.copy(), b.copy(), c.copy()]);
        let pair = |x: &Tensor, y: &Tensor| {
            Vec::<f64>::try_from(net.forward(x, y).to_kind(Kind::Double)).expect("f64")
        };
        let (ab, ac, bc) = (pair(&a, &b), pair(&a, &c), pair(&b, &c));
        for prompt in 0..2 {
            let expected = (ab[prompt] + ac[prompt] + bc[prompt]) / 3.0;
            assert!(
                (found[prompt] - expected).abs() < 1e-5 * expected,
                "{found:?}"
            );
        }
        assert!(bc[0].abs() < 1e-9 && ab[0] > 0.0, "{bc:?}");
    }
}
