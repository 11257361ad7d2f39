//! Outputs of a network's blocks, beside its prediction: what a discriminator looks at.

use std::{cell::RefCell, mem};

use dmdr_tensor::Tensor;

use crate::ModelError;

/// Which blocks' outputs a forward pass is to keep ([`Call::taps`](crate::Call)), and behind the pass those outputs. They are
/// part of the graph if there is one.
#[derive(Debug)]
pub struct Taps {
    /// Ascending.
    blocks: Vec<usize>,
    num_blocks: usize,
    pass: RefCell<Pass>,
}

/// What is known of a pass that is under way.
#[derive(Debug, Default)]
struct Pass {
    /// Blocks behind us.
    done: usize,
    /// How many tokens of each sequence are the image's, where a network says so; otherwise all.
    num_image: Option<i64>,
    outputs: Vec<Tensor>,
}

impl Taps {
    /// The outputs of `blocks`, which ascend and are counted from 0, of a network that has `num_blocks`
    /// ([`Denoiser::num_blocks`](crate::Denoiser)).
    ///
    /// # Errors
    /// No block, blocks that do not ascend, or one that the network does not have.
    pub fn new(blocks: &[usize], num_blocks: usize) -> Result<Self, ModelError> {
        let reason = match blocks.last() {
            None => "none is named".to_owned(),
            Some(_) if !blocks.is_sorted_by(|a, b| a < b) => format!("{blocks:?} do not ascend"),
            Some(&last) if last >= num_blocks => {
                format!("there is no block {last} among {num_blocks} (counted from 0)")
            }
            Some(_) => {
                return Ok(Self {
                    blocks: blocks.to_vec(),
                    num_blocks,
                    pass: RefCell::default(),
                });
            }
        };
        Err(ModelError::Taps { reason })
    }

    /// Counts the block that made `output`, and keeps it if it is asked for.
    ///
    /// # Panics
    /// If all blocks have been counted.
    pub(crate) fn record(&self, output: &Tensor) {
        let mut pass = self.pass.borrow_mut();
        let (index, num_blocks) = (pass.done, self.num_blocks);
        assert!(
            index < num_blocks,
            "taps hold one pass through {num_blocks} blocks: take it before the next"
        );
        pass.done += 1;
        if self.blocks.binary_search(&index).is_ok() {
            let kept = match pass.num_image {
                Some(num_image) => output.narrow(1, 0, num_image),
                None => output.shallow_clone(),
            };
            pass.outputs.push(kept);
        }
    }

    /// Of the sequences that follow in this pass, only the first `num_image` tokens are the image's.
    pub(crate) fn keep_image(&self, num_image: i64) {
        self.pass.borrow_mut().num_image = Some(num_image);
    }

    /// The outputs of one forward pass, in the order of the blocks; the taps are as new. Transformers give the tokens of the
    /// image, `[B, N, D]`, row by row, and U-Nets feature maps `[B, C, H, W]`.
    ///
    /// # Panics
    /// If there has been no pass, or one through another number of blocks.
    pub fn take(&self) -> Vec<Tensor> {
        let pass = mem::take(&mut *self.pass.borrow_mut());
        assert_eq!(
            pass.done, self.num_blocks,
            "taps are for one pass through a network of as many blocks"
        );
        pass.outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_ascend_and_exist() {
        let error = |blocks: &[usize]| Taps::new(blocks, 4).expect_err("refused").to_string();
        assert_eq!(error(&[]), "tapped blocks: none is named");
        assert_eq!(error(&[2, 1]), "tapped blocks: [2, 1] do not ascend");
        assert_eq!(error(&[1, 1]), "tapped blocks: [1, 1] do not ascend");
        assert_eq!(
            error(&[1, 4]),
            "tapped blocks: there is no block 4 among 4 (counted from 0)"
        );
        assert!(Taps::new(&[0, 3], 4).is_ok());
    }

    #[test]
    #[should_panic(expected = "take it before the next")]
    fn two_passes_do_not_mix() {
        let taps = Taps::new(&[0], 1).expect("it exists");
        taps.record(&Tensor::from(1.0));
        taps.record(&Tensor::from(2.0));
    }

    #[test]
    #[should_panic(expected = "as many blocks")]
    fn another_network_is_noticed() {
        let taps = Taps::new(&[0], 2).expect("it exists");
        taps.record(&Tensor::from(1.0));
        taps.take();
    }
}
