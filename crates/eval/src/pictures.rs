//! Measuring on prompts whose truth is not known.

use std::{collections::BTreeMap, rc::Rc};

use dmdr_batches::Prompts;
use dmdr_events::Statistic;
use dmdr_tensor::{Device, no_grad_guard};

use crate::{
    EvalError, Measure, Measured, Rater, Sampler,
    rating::{DIVERSITY, all_finite},
    sampling::Sampling,
    set::Batch,
};

/// Reward models and numbers of pixels, where no truth is known.
#[derive(Debug)]
pub struct Pictures {
    /// What scores.
    pub rater: Rc<Rater>,
    /// Split of the prompts, as reports name it.
    pub split: &'static str,
    /// The prompts, in the batches that are drawn and scored at a time.
    pub prompts: Vec<Prompts>,
    /// Of the noise.
    pub seeds: Vec<u64>,
    /// Shape `[C, H, W]` of the noise, and where it is drawn.
    pub noise: ([i64; 3], Device),
}

/// Results are a pure function of sampler, prompts, their batches and seeds; libtorch's random state is left changed.
impl Measure for Pictures {
    fn measure(
        &self,
        sampler: &dyn Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Measured, EvalError> {
        let rater = &*self.rater;
        let num_prompts = self.prompts.iter().map(Prompts::len).sum();
        let (shape, device) = self.noise;
        let mut sampling = Sampling::new(sampler, shape, device);
        let mut by_seed = vec![BTreeMap::<String, Vec<f64>>::new(); self.seeds.len()];
        let (mut distances, mut features) = (Vec::new(), Vec::new());
        let mut num_done = 0;
        for batch in Batch::of(&self.prompts) {
            // Diversity needs all images of a prompt at once.
            let mut of_seeds = Vec::with_capacity(self.seeds.len());
            for (&seed, scores) in self.seeds.iter().zip(&mut by_seed) {
                let images = sampling.images(&batch, seed)?;
                let _no_grad = no_grad_guard();
                for (name, found) in rater.score(&images, &batch)? {
                    scores.entry(name).or_default().extend(found);
                }
                if let Some((encoder, _)) = &rater.fidelity {
                    features.push(encoder.features(&images));
                }
                if let Some(diversity) = &rater.diversity {
                    of_seeds.push(diversity.resize(&images));
                }
                num_done += batch.prompts.len();
                progress(num_done, num_prompts * self.seeds.len());
            }
            if let Some(diversity) = &rater.diversity {
                distances.extend(diversity.of_prompts(&of_seeds));
            }
        }
        let mut scores = BTreeMap::<String, Vec<f64>>::new();
        for (name, found) in by_seed.into_iter().flatten() {
            scores.entry(name).or_default().extend(found);
        }
        if rater.diversity.is_some() {
            all_finite(DIVERSITY, &distances, 0)?;
            scores.insert(DIVERSITY.to_owned(), distances);
        }
        let mut metrics = statistics(&scores, num_prompts);
        metrics.extend(rater.compare(features)?);
        Ok(Measured {
            scores,
            ..sampling.measured(self.split, num_prompts, &self.seeds, metrics)
        })
    }
}

/// Each metric's mean over all images of `num_prompts` prompts, or over the prompts themselves, with the means of each seed.
/// Where a judge left images out, it is over those with a score; a metric that left out all has none.
fn statistics(
    scores: &BTreeMap<String, Vec<f64>>,
    num_prompts: usize,
) -> BTreeMap<String, Statistic> {
    let statistic = |(name, scores): (&String, &Vec<f64>)| {
        let mean = mean(scores)?;
        let per_seed: Vec<f64> = scores.chunks(num_prompts).filter_map(self::mean).collect();
        let statistic = Statistic {
            mean,
            ..Statistic::of(per_seed)
        };
        Some((name.clone(), statistic))
    };
    scores.iter().filter_map(statistic).collect()
}

/// Over the scores that there are, if there are any.
fn mean(scores: &[f64]) -> Option<f64> {
    let there = || scores.iter().filter(|score| !score.is_nan());
    let count = there().count();
    (count > 0).then(|| there().sum::<f64>() / count as f64)
}
