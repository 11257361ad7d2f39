//! What a run's samplers are measured with, on prompts that are not trained on and the same noise every time.

use std::rc::Rc;

use dmdr_batches::Prompts;
use dmdr_config::Experiment;
use dmdr_eval::{EvalSet, Measure, Pictures, Scenes};
use dmdr_rewards::Complaints;
use dmdr_tensor::Runtime;
use dmdr_world::Split;

use crate::{Source, TrainError, assembly::metrics::rater};

/// The metrics of the emoji world where `source` is one, else what `[evaluation]` of `experiment` names, on `num_prompts`
/// validation prompts, or all that there are. Noise has the shape `image_shape`. Pictures that a judge elsewhere gives no score
/// are left out of the means and told of in `complaints`, or are errors.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub(crate) fn measure_of(
    experiment: &Experiment,
    source: &dyn Source,
    image_shape: [i64; 3],
    runtime: Runtime,
    (num_prompts, seeds): (usize, Vec<u64>),
    complaints: Option<&Complaints>,
) -> Result<Box<dyn Measure>, TrainError> {
    if let Some(evaluator) = source.evaluator(experiment)? {
        let set = EvalSet {
            split: Split::Validation,
            num_prompts,
            seeds,
        };
        return Ok(Box::new(Scenes { evaluator, set }));
    }
    let config = &experiment.evaluation;
    let diversity = config.diversity.as_ref();
    let (metrics, detectors) = (&config.metrics, &config.detectors);
    let captions = source.validation(num_prompts)?;
    let batch_size = experiment.method.recipe().plan().batch_size;
    Ok(Box::new(Pictures {
        rater: Rc::new(rater(metrics, detectors, diversity, runtime, complaints)?),
        split: "validation",
        prompts: batches(source, &captions, batch_size)?,
        seeds,
        noise: (image_shape, runtime.device),
    }))
}

/// `captions` as `source`'s networks read them, `batch_size` at a time.
///
/// # Errors
/// A caption that cannot be encoded.
pub(crate) fn batches(
    source: &dyn Source,
    captions: &[String],
    batch_size: usize,
) -> Result<Vec<Prompts>, TrainError> {
    let chunks = captions.chunks(batch_size);
    chunks.map(|captions| source.described(captions)).collect()
}
