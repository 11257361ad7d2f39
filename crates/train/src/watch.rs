//! The periodic evaluation of a student on held-out prompts, from the same noise every time.

use std::collections::BTreeMap;

use dmdr_config::Experiment;
use dmdr_data::Prompts;
use dmdr_eval::{EvalSet, Evaluator, Rater, Sampler, scalars};
use dmdr_tensor::{Device, Runtime};
use dmdr_world::Split;

use crate::{Source, TrainError, gaps::Complaints, metrics::rater};

/// What a student is measured with on its way.
#[derive(Debug)]
pub(crate) enum Watch {
    /// The judge and the towers of the emoji world.
    Scenes {
        /// They.
        evaluator: Box<Evaluator>,
        /// Prompts and seeds.
        set: EvalSet,
    },
    /// Reward models, where no truth is known.
    Pictures {
        /// They.
        rater: Box<Rater>,
        /// The prompts.
        captions: Vec<String>,
        /// Prompts drawn and scored at a time: what an update takes.
        batch_size: usize,
        /// Of the noise.
        seeds: Vec<u64>,
        /// Shape `[C, H, W]` of the noise, and where it is drawn.
        noise: ([i64; 3], Device),
    },
}

impl Watch {
    /// What `[evaluation]` of `experiment` names; the student draws from noise of shape `image_shape`. Pictures that a judge
    /// elsewhere gives no score are left out of the means and told of in `complaints`.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub(crate) fn load(
        experiment: &Experiment,
        source: &dyn Source,
        image_shape: [i64; 3],
        runtime: Runtime,
        complaints: &Complaints,
    ) -> Result<Self, TrainError> {
        let config = &experiment.evaluation;
        let seeds = (0..config.num_seeds as u64).collect();
        if let Some(evaluator) = source.evaluator(experiment)? {
            return Ok(Self::Scenes {
                evaluator: Box::new(evaluator),
                set: EvalSet {
                    split: Split::Validation,
                    num_prompts: config.num_prompts,
                    seeds,
                },
            });
        }
        let diversity = config.diversity.as_ref();
        let (metrics, detectors) = (&config.metrics, &config.detectors);
        let rater = rater(metrics, detectors, diversity, runtime, Some(complaints))?;
        Ok(Self::Pictures {
            rater: Box::new(rater),
            captions: source.validation(config.num_prompts)?,
            batch_size: experiment.method.recipe().plan().batch_size,
            seeds,
            noise: (image_shape, runtime.device),
        })
    }

    /// Means of all metrics of what `sampler` draws of `source`'s prompts.
    ///
    /// # Errors
    /// A sampler or a metric that fails.
    pub(crate) fn measure(
        &self,
        sampler: &dyn Sampler,
        source: &dyn Source,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        match self {
            Self::Scenes { evaluator, set } => {
                let evaluation = evaluator.evaluate(sampler, set, &mut |_, _| {})?;
                Ok(scalars(&evaluation))
            }
            Self::Pictures {
                rater,
                captions,
                batch_size,
                seeds,
                noise,
            } => {
                let batches = captions.chunks(*batch_size);
                let batches = batches
                    .map(|captions| source.described(captions))
                    .collect::<Result<Vec<Prompts>, _>>()?;
                let rated = rater.rate(sampler, batches, seeds, *noise, &mut |_, _| {})?;
                Ok(rated.means())
            }
        }
    }
}
