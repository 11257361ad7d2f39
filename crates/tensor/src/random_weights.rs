//! Random numbers instead of weight files: to measure a model whose files are not at hand.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use tch::{Tensor, no_grad_guard};

static IN_USE: AtomicBool = AtomicBool::new(false);

/// From here on this process reads no weight file: what would be loaded is drawn. Configs of models are read as ever.
pub fn use_random_weights() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Whether weights are drawn.
pub fn are_weights_random() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Draws all parameters so that activations keep their size: weights of layers from a normal distribution of variance
/// 1 / `fan_in`; factors of norms are 1, biases 0.
pub(crate) fn draw(params: BTreeMap<String, Tensor>) {
    let _guard = no_grad_guard();
    for (name, mut tensor) in params {
        let shape = tensor.size();
        let _ = match shape.get(1..) {
            Some(fan) if !fan.is_empty() => {
                let fan_in: i64 = fan.iter().product();
                tensor.normal_(0.0, (fan_in.max(1) as f64).powf(-0.5))
            }
            _ if name.ends_with("weight") => tensor.fill_(1.0),
            _ => tensor.zero_(),
        };
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{Init, ParamStore, Scope, reseed};

    #[test]
    fn activations_keep_their_size() {
        let store = ParamStore::frozen(Device::Cpu);
        let root = Scope::root(&store, &[]);
        for (name, shape) in [
            ("linear.weight", vec![64, 256]),
            ("norm.weight", vec![64]),
            ("norm.bias", vec![64]),
        ] {
            let _ = root.param(name, &shape, Init::Zeros);
        }
        reseed(&[1]);
        draw(store.tensors());
        let weight = store.tensor("linear.weight");
        let deviation = weight.std(false).double_value(&[]);
        assert!((deviation - 1.0 / 16.0).abs() < 0.002, "{deviation}");
        let sum = |name: &str| store.tensor(name).sum(Kind::Float).double_value(&[]);
        assert!((sum("norm.weight") - 64.0).abs() < 1e-9 && sum("norm.bias").abs() < 1e-9);
    }
}
