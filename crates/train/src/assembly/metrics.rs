//! Metrics that a config names, where no truth is known: reward models, numbers of pixels, diversity.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{Detector, Diversity as DiversityConfig, Metric};
use dmdr_eval::{Diversity, PixelMetric, Rater};
use dmdr_events::InputFile;
use dmdr_models::Lpips;
use dmdr_rewards::{Complaints, Settings};
use dmdr_tensor::Runtime;
use serde::Serialize;

use crate::{TrainError, assembly::rewards::reward_model};

/// What a metric was computed with.
#[derive(Debug, Clone, Serialize)]
pub struct MetricSource {
    /// Its name in the table; of several metrics of one network, all names.
    pub name: String,
    /// Kind of the model.
    pub model: &'static str,
    /// What scores were multiplied by.
    pub factor: f64,
    /// Checkpoint, preprocessing, length of texts, address.
    pub settings: Settings,
    /// Its files.
    pub files: Vec<InputFile>,
}

/// The hashes of `files`.
pub(crate) fn read<'a>(
    files: impl IntoIterator<Item = (&'static str, &'a Path)>,
) -> Result<Vec<InputFile>, TrainError> {
    let files = files.into_iter().map(|(_, path)| InputFile::read(path));
    Ok(files.collect::<Result<_, _>>()?)
}

/// What scores images one by one, or the images of a prompt. Pictures that a judge elsewhere gives no score are told of in
/// `complaints`, or are errors.
///
/// # Errors
/// Files that cannot be read or do not fit.
pub(crate) fn rater(
    metrics: &[Metric],
    detectors: &[Detector],
    diversity: Option<&DiversityConfig>,
    runtime: Runtime,
    complaints: Option<&Complaints>,
) -> Result<Rater, TrainError> {
    let mut rater = Rater::default();
    for metric in metrics {
        let model = reward_model(metric.name(), &metric.model, runtime, complaints)?;
        rater.push(metric.name(), metric.factor(), model);
    }
    for detector in detectors {
        rater.push(detector.name(), 1.0, Box::new(PixelMetric(*detector)));
    }
    if let Some(config) = diversity {
        let net = Lpips::load(
            &config.features,
            &config.linear,
            config.trunk,
            runtime.device,
        )?;
        rater.measure_diversity(Diversity::new(net, config.size as i64));
    }
    Ok(rater)
}

/// What each metric of `rater` is, which was made of the same three. Files are read whole for their hashes.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn sources(
    rater: &Rater,
    metrics: &[Metric],
    detectors: &[Detector],
    diversity: Option<&DiversityConfig>,
) -> Result<Vec<MetricSource>, TrainError> {
    let source = |(name, factor, settings): (&str, f64, Settings), model, files| MetricSource {
        name: name.to_owned(),
        model,
        factor,
        settings,
        files,
    };
    let mut described = rater.describe();
    let mut sources = Vec::new();
    for (metric, described) in metrics.iter().zip(&mut described) {
        let files = read(metric.model.files())?;
        sources.push(source(described, metric.model.name(), files));
    }
    for (detector, described) in detectors.iter().zip(described) {
        sources.push(source(described, detector.name(), Vec::new()));
    }
    if let Some(config) = diversity {
        let settings = BTreeMap::from([
            ("trunk", config.trunk.name().to_owned()),
            ("size", config.size.to_string()),
        ]);
        let files = read(config.files())?;
        sources.push(source(("diversity", 1.0, settings), "lpips", files));
    }
    Ok(sources)
}
