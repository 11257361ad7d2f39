//! Blocks that run one after another, with or without their activations being kept.

use std::rc::Rc;

use dmdr_tensor::{Scope, Tensor, recompute};

use crate::Call;

/// The blocks of a network or a part of one.
#[derive(Debug)]
pub(crate) struct Blocks<B> {
    blocks: Vec<Rc<B>>,
    /// So many, from the first on, compute activations again. The others' are gone by the time these are.
    recomputed: usize,
}

impl<B: 'static> Blocks<B> {
    /// Blocks of a diffusion network, which keeps activations unless its store says otherwise.
    pub(crate) fn new(scope: &Scope<'_>, blocks: impl Iterator<Item = B>) -> Self {
        let blocks: Vec<Rc<B>> = blocks.map(Rc::new).collect();
        Self {
            recomputed: (scope.recomputed() * blocks.len() as f64).ceil() as usize,
            blocks,
        }
    }

    /// Blocks of a frozen tower, whose activations are always computed again: a reward is a small part of an update's work
    /// and would be a large part of its memory.
    pub(crate) fn of_tower(blocks: impl Iterator<Item = B>) -> Self {
        let blocks: Vec<Rc<B>> = blocks.map(Rc::new).collect();
        Self {
            recomputed: blocks.len(),
            blocks,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Block `index` on `inputs`; `run` calls it. Its output is there for taps.
    pub(crate) fn run_one(
        &self,
        index: usize,
        inputs: &[&Tensor],
        call: &Call<'_>,
        run: impl Fn(&B, &[Tensor], &Call<'_>) -> Tensor + 'static,
    ) -> Tensor {
        let block = &self.blocks[index];
        let output = if index >= self.recomputed {
            let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
            run(block, &inputs, &call.untapped())
        } else {
            let (block, train, adapters) = (Rc::clone(block), call.train, call.adapters.to_vec());
            recompute(inputs, move |inputs| {
                let call = Call {
                    train,
                    adapters: &adapters,
                    taps: None,
                };
                run(&block, inputs, &call)
            })
        };
        call.record(&output);
        output
    }

    /// `x` through all blocks. `run` is given a block and, behind what the one before made, the tensors `with`.
    pub(crate) fn run(
        &self,
        x: Tensor,
        with: &[&Tensor],
        call: &Call<'_>,
        run: impl Fn(&B, &[Tensor], &Call<'_>) -> Tensor + Clone + 'static,
    ) -> Tensor {
        (0..self.len()).fold(x, |x, index| {
            let inputs = [&[&x], with].concat();
            self.run_one(index, &inputs, call, run.clone())
        })
    }
}
