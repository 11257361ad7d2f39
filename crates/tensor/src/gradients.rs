//! Gradients of a scalar, without accumulating them anywhere.

use tch::Tensor;

use crate::TensorError;

/// Gradients of `scalar` with respect to `inputs`, which must be leaves or parts of its graph; zeros for those it does
/// not reach.
///
/// # Errors
/// If `scalar` has no graph (libtorch's engine would crash), or libtorch refuses.
pub fn gradients(scalar: &Tensor, inputs: &[Tensor]) -> Result<Vec<Tensor>, TensorError> {
    if !scalar.requires_grad() {
        let message = "the scalar depends on nothing that requires a gradient";
        return Err(TensorError::torch("backward", message));
    }
    let found = Tensor::f_run_backward(&[scalar], inputs, false, false)
        .map_err(|error| TensorError::torch("backward", &error.to_string()))?;
    let defined = |(gradient, input): (Tensor, &Tensor)| {
        if gradient.defined() {
            gradient
        } else {
            input.zeros_like()
        }
    };
    Ok(found.into_iter().zip(inputs).map(defined).collect())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn zeros_where_it_does_not_reach_and_an_error_without_a_graph() {
        let leaf = || Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let inputs = [leaf(), leaf()];
        let found = gradients(&inputs[0].square().sum(Kind::Float), &inputs).expect("a graph");
        assert_eq!(Vec::<f32>::try_from(&found[0]).expect("f32"), [2.0, 2.0]);
        assert_eq!(Vec::<f32>::try_from(&found[1]).expect("f32"), [0.0, 0.0]);
        let error = gradients(&Tensor::from(1f32), &inputs).expect_err("no graph");
        assert!(error.to_string().starts_with("backward: "), "{error}");
    }
}
