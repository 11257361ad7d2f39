//! Classifier-free guidance (Ho & Salimans, arXiv 2207.12598).

use dmdr_tensor::Tensor;

/// `u + w (c - u)`: `w = 1` is no guidance. Linear, so equal in x0, noise or velocity at one `t`.
pub fn guide(conditional: &Tensor, unconditional: &Tensor, scale: f64) -> Tensor {
    unconditional + (conditional - unconditional) * scale
}
