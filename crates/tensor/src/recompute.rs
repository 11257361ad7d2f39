//! Gradients without keeping activations (Chen et al., arXiv 1604.06174; PyTorch's `torch.utils.checkpoint`).

use tch::Tensor;

use crate::{has_tangent, ranks::serve::fail, shim};

/// `piece(inputs)`, whose gradient costs a second run instead of memory: of what the piece computes only `inputs` are kept,
/// and going backwards it is run again. Gradients reach `inputs` and every trained tensor that `piece` reads.
///
/// The piece owns what it reads, as the graph may outlive the caller. It must make the same of the same inputs: no random
/// numbers, nothing that is trained in between. Within a [`jvp`](crate::jvp) the piece simply runs: there is no way back.
///
/// # Panics
/// If `piece` does, or libtorch fails. In a backward pass that is an error of the pass instead.
pub fn recompute(inputs: &[&Tensor], piece: impl Fn(&[Tensor]) -> Tensor + 'static) -> Tensor {
    if inputs.iter().any(|input| has_tangent(input)) {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
        return piece(&inputs);
    }
    shim::recompute(inputs, piece).unwrap_or_else(|error| fail(&error))
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use tch::{Device, Kind, no_grad_guard};

    use super::*;
    use crate::{gradients::gradients, reseed};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    /// Two layers and a skip; a trained matrix is used twice, an input in both.
    fn layer(x: &Tensor, c: &Tensor, w: &Tensor) -> Tensor {
        let h = (x.matmul(w) * c).tanh();
        x + h.matmul(w) * c.exp()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_plain_chain() {
        reseed(&[3]);
        let weights = [random(&[6, 6]), random(&[6, 6])].map(|w| w.set_requires_grad(true));
        let (x, c) = (random(&[5, 6]), random(&[1, 6]).set_requires_grad(true));
        let runs = Rc::new(Cell::new(0));
        let chain = |again: bool| {
            weights.iter().fold(x.shallow_clone(), |x, weight| {
                if !again {
                    return layer(&x, &c, weight);
                }
                let (weight, runs) = (weight.shallow_clone(), Rc::clone(&runs));
                recompute(&[&x, &c], move |inputs| {
                    runs.set(runs.get() + 1);
                    layer(&inputs[0], &inputs[1], &weight)
                })
            })
        };
        let targets = [&weights[0], &weights[1], &c].map(Tensor::shallow_clone);
        let loss = |again| chain(again).square().sum(Kind::Float);
        let (plain, found) = (loss(false), loss(true));
        assert_eq!((&plain, runs.get()), (&found, 2));
        let expected = gradients(&plain, &targets).expect("a graph");
        let found = gradients(&found, &targets).expect("a graph");
        assert_eq!(runs.get(), 4, "each piece once more, none twice");
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs().max() / expected.abs().max();
            assert!(error.double_value(&[]) < 1e-6);
        }
    }

    #[test]
    fn a_piece_lives_as_long_as_its_graph() {
        let owned = Rc::new(());
        let x = random(&[3]).set_requires_grad(true);
        let make = || {
            let owned = Rc::clone(&owned);
            recompute(&[&x], move |inputs| {
                let _ = &owned;
                inputs[0].exp()
            })
        };
        let y = make();
        assert_eq!(Rc::strong_count(&owned), 2);
        drop(y);
        assert_eq!(Rc::strong_count(&owned), 1);
        let _guard = no_grad_guard();
        assert!(!make().requires_grad());
        assert_eq!(Rc::strong_count(&owned), 1);
    }

    #[test]
    fn without_anything_trained_there_is_no_graph() {
        let y = recompute(&[&random(&[3])], |inputs| inputs[0].exp());
        assert!(!y.requires_grad());
    }

    #[test]
    fn a_piece_that_fails_on_the_way_back_is_an_error() {
        let fails = Rc::new(RefCell::new(false));
        let x = random(&[3]).set_requires_grad(true);
        let flag = Rc::clone(&fails);
        let y = recompute(&[&x], move |inputs| {
            assert!(!*flag.borrow(), "out of memory, say");
            inputs[0].exp()
        });
        *fails.borrow_mut() = true;
        let error = gradients(&y.sum(Kind::Float), &[x]).expect_err("the piece panics");
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
