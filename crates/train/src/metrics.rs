//! Metrics that a config names, where no truth is known: reward models, numbers of pixels, diversity.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{
    Detector as DetectorConfig, Diversity as DiversityConfig, LpipsTrunk as TrunkConfig, Metric,
};
use dmdr_eval::{Detector, Diversity, Rater};
use dmdr_events::InputFile;
use dmdr_models::{Lpips, LpipsTrunk, Placement};
use dmdr_rewards::{RewardModel, Settings};
use serde::Serialize;

use crate::{TrainError, rewards::reward_model};

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

/// What scores images one by one, or the images of a prompt, and what each metric is.
///
/// # Errors
/// Files that cannot be read or do not fit.
pub(crate) fn rater(
    metrics: &[Metric],
    detectors: &[DetectorConfig],
    diversity: Option<&DiversityConfig>,
    placement: Placement,
) -> Result<(Rater, Vec<MetricSource>), TrainError> {
    let mut rater = Rater::default();
    let mut sources = Vec::new();
    for metric in metrics {
        let model = reward_model(metric.name(), &metric.model, placement)?;
        sources.push(MetricSource {
            name: metric.name().to_owned(),
            model: metric.model.name(),
            factor: metric.factor(),
            settings: model.describe(),
            files: read(metric.model.files())?,
        });
        rater.push(metric.name(), metric.factor(), model);
    }
    for detector in detectors {
        let name = detector.name();
        let model = match detector {
            DetectorConfig::Saturation => Detector::Saturation,
            DetectorConfig::HighFrequency => Detector::HighFrequency,
            DetectorConfig::Grid => Detector::Grid,
        };
        sources.push(MetricSource {
            name: name.to_owned(),
            model: name,
            factor: 1.0,
            settings: model.describe(),
            files: Vec::new(),
        });
        rater.push(name, 1.0, Box::new(model));
    }
    if let Some(diversity) = diversity {
        sources.push(measure_diversity(&mut rater, diversity, placement)?);
    }
    Ok((rater, sources))
}

fn measure_diversity(
    rater: &mut Rater,
    config: &DiversityConfig,
    placement: Placement,
) -> Result<MetricSource, TrainError> {
    let trunk = match config.trunk {
        TrunkConfig::Alex => LpipsTrunk::Alex,
        TrunkConfig::Vgg => LpipsTrunk::Vgg16,
    };
    let net = Lpips::load(&config.features, &config.linear, trunk, placement.device)?;
    rater.measure_diversity(Diversity::new(net, config.size as i64));
    Ok(MetricSource {
        name: "diversity".to_owned(),
        model: "lpips",
        factor: 1.0,
        settings: BTreeMap::from([
            ("trunk", config.trunk.name().to_owned()),
            ("size", config.size.to_string()),
        ]),
        files: read(config.files())?,
    })
}
