//! What measures the columns of a table, and what each was computed with.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_config::{
    Detector as DetectorConfig, Diversity as DiversityConfig, Fidelity, FidelityEncoder,
    LpipsTrunk as TrunkConfig, Table,
};
use dmdr_eval::{Detector, Diversity, Encoder, Features, Rater, Reference, pictures};
use dmdr_events::InputFile;
use dmdr_models::{
    ClipPairConfig, ClipVision, DinoVision, Inception, Lpips, LpipsTrunk, Placement,
};
use dmdr_rewards::{
    RewardModel, Settings,
    preprocess::{Fit, Preprocess},
};
use dmdr_tensor::{Device, Kind, read_metadata, read_tensors, write_tensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    TrainError,
    rewards::{clip_checkpoint, reward_model},
};

/// Side in pixels of what DINOv2 reads: its features are published at this size.
const DINO_SIDE: i64 = 224;

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

fn read<'a>(
    files: impl IntoIterator<Item = (&'static str, &'a Path)>,
) -> Result<Vec<InputFile>, TrainError> {
    let files = files.into_iter().map(|(_, path)| InputFile::read(path));
    Ok(files.collect::<Result<_, _>>()?)
}

/// The metrics of `table` that score images one by one or prompt by prompt.
pub(super) fn rater(
    table: &Table,
    placement: Placement,
) -> Result<(Rater, Vec<MetricSource>), TrainError> {
    let mut rater = Rater::default();
    let mut sources = Vec::new();
    for metric in &table.metrics {
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
    for detector in &table.detectors {
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
    if let Some(diversity) = &table.diversity {
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

/// True pictures that generated ones are compared with.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) encoder: Encoder,
    files: Vec<PathBuf>,
    pub(super) source: MetricSource,
}

impl Truth {
    pub(super) fn open(config: &Fidelity, placement: Placement) -> Result<Self, TrainError> {
        let files = pictures(&config.reference)?;
        let store = placement.store();
        let mut settings = Settings::new();
        let encoder = match &config.encoder {
            FidelityEncoder::Inception { weights } => {
                Encoder::Inception(Inception::load(weights, placement.device)?)
            }
            FidelityEncoder::Clip { checkpoint, tower } => {
                let checkpoint = clip_checkpoint(*checkpoint);
                let sizes = ClipPairConfig::of_folder(tower)?;
                checkpoint.check(&sizes, tower)?;
                settings.insert("checkpoint", checkpoint.name().to_owned());
                let preprocess = checkpoint.preprocess(sizes.vision_config.image_size);
                let net = ClipVision::load(&store, tower, sizes.vision_config)?;
                Encoder::Clip(net, preprocess)
            }
            FidelityEncoder::Dino { tower } => {
                let preprocess = Preprocess::imagenet(Fit::Squash, DINO_SIDE);
                Encoder::Dino(DinoVision::load(&store, tower)?, preprocess)
            }
        };
        settings.extend(encoder.describe());
        settings.insert("pictures", files.len().to_string());
        let source = MetricSource {
            name: encoder.columns().join(", "),
            model: encoder.name(),
            factor: 1.0,
            settings,
            files: read(config.files())?,
        };
        Ok(Self {
            encoder,
            files,
            source,
        })
    }

    /// Features of the pictures, kept in the file `path`. `progress` is told (done, of).
    pub(super) fn reference(
        &self,
        path: &Path,
        batch_size: usize,
        device: Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Reference, TrainError> {
        const MARK: &str = "fingerprint";
        let source = serde_json::to_string(&self.source).expect("plain values serialise");
        let mark = format!("{:x}", Sha256::digest(source));
        let is_kept = read_metadata(path).is_ok_and(|kept| kept.get(MARK) == Some(&mark));
        if is_kept {
            let mut kept = read_tensors(path)?;
            if let Some(pooled) = kept.remove("pooled") {
                let spatial = kept.remove("spatial");
                return Ok(Reference::new(Features { pooled, spatial }));
            }
        }
        let features = self
            .encoder
            .features_of(&self.files, batch_size, device, progress)?;
        let mut tensors = BTreeMap::from([("pooled".to_owned(), features.pooled.shallow_clone())]);
        if let Some(spatial) = &features.spatial {
            tensors.insert("spatial".to_owned(), spatial.shallow_clone());
        }
        let metadata = BTreeMap::from([(MARK.to_owned(), mark)]);
        write_tensors(path, &tensors, Kind::Float, &metadata)?;
        Ok(Reference::new(features))
    }
}
