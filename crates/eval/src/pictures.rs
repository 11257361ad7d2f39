//! Measuring on prompts whose truth is not known.

use dmdr_data::Prompts;
use dmdr_tensor::Device;

use crate::{EvalError, Measure, Measured, Rater, Sampler};

/// Reward models and numbers of pixels, where no truth is known.
#[derive(Debug)]
pub struct Pictures {
    /// What scores.
    pub rater: Rater,
    /// The prompts, which are held out.
    pub captions: Vec<String>,
    /// Prompts drawn and scored at a time.
    pub batch_size: usize,
    /// Of the noise.
    pub seeds: Vec<u64>,
    /// Shape `[C, H, W]` of the noise, and where it is drawn.
    pub noise: ([i64; 3], Device),
}

impl Measure for Pictures {
    fn measure(
        &self,
        sampler: &dyn Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Measured, EvalError> {
        let batches = self.captions.chunks(self.batch_size);
        let batches = batches.map(|captions| Prompts::plain(captions.to_vec()));
        let batches: Vec<Prompts> = batches.collect();
        let rated = self
            .rater
            .rate(sampler, batches, &self.seeds, self.noise, progress)?;
        Ok(Measured {
            split: "validation",
            num_prompts: self.captions.len(),
            seeds: self.seeds.clone(),
            num_evaluations: rated.num_evaluations,
            guidance: rated.guidance,
            metrics: rated.statistics(self.captions.len()),
            images_per_second: rated.images_per_second,
        })
    }
}
