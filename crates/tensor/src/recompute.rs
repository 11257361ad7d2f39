//! Gradients through a long frozen chain, such as an image decoder, without keeping its activations.
//!
//! The chain runs without a graph and only the input of every segment is kept; going backwards, one segment at a time is
//! run again with a graph (Chen et al., arXiv 1604.06174). `tch` has no custom autograd nodes, so the loss comes in as a
//! closure, and the gradient that was found is put behind the result by hand.

use std::slice;

use tch::{Kind, Tensor, no_grad_guard};

use crate::{TensorError, gradients::gradients};

/// A piece of a chain: deterministic, row by row over the first dimension, and without trained parameters.
pub type Segment<'a> = Box<dyn Fn(&Tensor) -> Tensor + 'a>;

/// `loss(y)` of `y = f_n(.. f_1(x))`, a scalar whose gradient with respect to `x [B, ..]` is that of the plain chain.
///
/// Rows of `x` run one at a time, so memory is that of the largest segment for one row, plus all segments' inputs. `loss`
/// may depend on trained tensors only through `y`: it reaches no others.
///
/// # Errors
/// If the loss has no graph, or libtorch cannot differentiate it.
pub fn recompute(
    segments: &[Segment<'_>],
    x: &Tensor,
    loss: impl FnOnce(&Tensor) -> Tensor,
) -> Result<Tensor, TensorError> {
    let rows = x.detach().split(1, 0);
    let mut inputs: Vec<Vec<Tensor>> = Vec::with_capacity(rows.len());
    let mut outputs = Vec::with_capacity(rows.len());
    {
        let _guard = no_grad_guard();
        for mut state in rows {
            let mut kept = Vec::with_capacity(segments.len());
            for segment in segments {
                let next = segment(&state);
                kept.push(std::mem::replace(&mut state, next));
            }
            inputs.push(kept);
            outputs.push(state);
        }
    }
    let y = Tensor::cat(&outputs, 0);
    drop(outputs);
    if !x.requires_grad() {
        return Ok(loss(&y));
    }
    let y = y.set_requires_grad(true);
    let value = loss(&y);
    let gradients = gradient(&value, &y)?
        .split(1, 0)
        .into_iter()
        .zip(inputs)
        .map(|(gradient, inputs)| backwards(segments, inputs, gradient))
        .collect::<Result<Vec<_>, _>>()?;
    let gradient = Tensor::cat(&gradients, 0);
    // Zero, with the gradient that was found.
    let carrier = ((x - x.detach()) * gradient).sum(Kind::Float);
    Ok(value.detach() + carrier)
}

/// The gradient with respect to the chain's input, from that of its output; frees each segment's input on the way.
fn backwards(
    segments: &[Segment<'_>],
    mut inputs: Vec<Tensor>,
    mut cotangent: Tensor,
) -> Result<Tensor, TensorError> {
    for segment in segments.iter().rev() {
        let input = inputs.pop().expect("one input a segment");
        let input = input.detach().set_requires_grad(true);
        let product = (segment(&input) * &cotangent).sum(Kind::Float);
        cotangent = gradient(&product, &input)?;
    }
    Ok(cotangent)
}

fn gradient(scalar: &Tensor, input: &Tensor) -> Result<Tensor, TensorError> {
    Ok(gradients(scalar, slice::from_ref(input))?.remove(0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tch::Device;

    use super::*;
    use crate::reseed;

    fn weight(rows: i64, columns: i64) -> Tensor {
        Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)) * 0.4
    }

    #[test]
    fn value_and_gradient_are_those_of_the_plain_chain() {
        reseed(&[3]);
        let (a, b) = (weight(6, 9), weight(9, 4));
        let calls = Cell::new(0);
        let count = || calls.set(calls.get() + 1);
        let segments: [Segment<'_>; 3] = [
            Box::new(|x| {
                count();
                x.matmul(&a).tanh()
            }),
            Box::new(|x| {
                count();
                x.matmul(&b).sigmoid()
            }),
            Box::new(|x| {
                count();
                x.square()
            }),
        ];
        let x = weight(5, 6).set_requires_grad(true);
        // Rows interact in the loss, as samples of a group do.
        let loss = |y: &Tensor| {
            y.sum_dim_intlist(&[0i64][..], false, Kind::Float)
                .prod(Kind::Float)
        };
        let plain = loss(&x.matmul(&a).tanh().matmul(&b).sigmoid().square()) * 3.0;
        let found = recompute(&segments, &x, loss).expect("differentiable") * 3.0;
        assert_eq!(calls.get(), 2 * 3 * 5, "each segment twice for each row");
        let relative =
            |a: &Tensor, b: &Tensor| ((a - b).abs().max() / b.abs().max()).double_value(&[]);
        assert!(relative(&found, &plain) < 1e-6);
        let expected = gradient(&plain, &x).expect("differentiable");
        let got = gradient(&found, &x).expect("differentiable");
        assert!(relative(&got, &expected) < 1e-6);
    }

    #[test]
    fn without_a_gradient_to_take_the_chain_runs_once() {
        let calls = Cell::new(0);
        let segments: [Segment<'_>; 1] = [Box::new(|x| {
            calls.set(calls.get() + 1);
            x * 2.0
        })];
        let x = Tensor::ones([1, 2], (Kind::Float, Device::Cpu));
        let found = recompute(&segments, &x, |y| y.sum(Kind::Float)).expect("no gradient");
        assert_eq!((found.double_value(&[]), calls.get()), (4.0, 1));
        assert!(!found.requires_grad());
    }

    #[test]
    fn a_loss_that_ignores_the_chain_is_an_error() {
        let segments: [Segment<'_>; 1] = [Box::new(|x| x * 2.0)];
        let x = Tensor::ones([1, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let error = recompute(&segments, &x, |_| Tensor::from(1f32)).expect_err("no graph");
        assert!(error.to_string().starts_with("backward: "), "{error}");
    }
}
