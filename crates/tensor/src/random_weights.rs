//! Random numbers instead of weight files: to measure a model whose files are not at hand.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Kind, Tensor};

static IN_USE: AtomicBool = AtomicBool::new(false);

/// From here on this process reads no weight file: what would be loaded is drawn. Configs of models are read as ever.
pub fn use_random_weights() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Whether weights are drawn.
pub fn are_weights_random() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Draws a parameter so that activations keep their size: weights of layers from a normal distribution of variance
/// 1 / `fan_in`; factors of norms are 1, biases 0.
pub(crate) fn draw(name: &str, shape: &[i64], device: Device) -> Tensor {
    let options = (Kind::Float, device);
    match shape.get(1..) {
        Some(fan) if !fan.is_empty() => {
            let fan_in: i64 = fan.iter().product();
            Tensor::randn(shape, options) * (fan_in.max(1) as f64).powf(-0.5)
        }
        _ if name.ends_with("weight") => Tensor::ones(shape, options),
        _ => Tensor::zeros(shape, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reseed;

    #[test]
    fn activations_keep_their_size() {
        reseed(&[1]);
        let draw = |name: &str, shape: &[i64]| draw(name, shape, Device::Cpu);
        let deviation = draw("linear.weight", &[64, 256]).std(false);
        let deviation = deviation.double_value(&[]);
        assert!((deviation - 1.0 / 16.0).abs() < 0.002, "{deviation}");
        let sum = |name: &str| draw(name, &[64]).sum(Kind::Float).double_value(&[]);
        assert!((sum("norm.weight") - 64.0).abs() < 1e-9 && sum("norm.bias").abs() < 1e-9);
    }
}
