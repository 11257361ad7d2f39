//! True pictures that the images of a table are compared with.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_config::{Fidelity, FidelityEncoder};
use dmdr_eval::{Encoder, Features, Reference, pictures};
use dmdr_models::{ClipPairConfig, ClipVision, DinoVision, Inception};
use dmdr_rewards::{
    Settings, check_clip, clip_preprocess,
    preprocess::{Fit, Preprocess},
};
use dmdr_tensor::{Device, Kind, Runtime, read_metadata, read_tensors, write_tensors};
use sha2::{Digest, Sha256};

use crate::{
    TrainError,
    assembly::metrics::{MetricSource, read},
};

/// Side in pixels of what DINOv2 reads: its features are published at this size.
const DINO_SIDE: i64 = 224;

/// True pictures that generated ones are compared with.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) encoder: Encoder,
    files: Vec<PathBuf>,
    pub(super) source: MetricSource,
}

impl Truth {
    pub(super) fn open(config: &Fidelity, runtime: Runtime) -> Result<Self, TrainError> {
        let files = pictures(&config.reference)?;
        let store = runtime.store();
        let mut settings = Settings::new();
        let encoder = match &config.encoder {
            FidelityEncoder::Inception { weights } => {
                Encoder::Inception(Inception::load(weights, runtime.device)?)
            }
            FidelityEncoder::Clip { checkpoint, tower } => {
                let checkpoint = *checkpoint;
                let sizes = ClipPairConfig::of_folder(tower)?;
                check_clip(checkpoint, &sizes, tower)?;
                settings.insert("checkpoint", checkpoint.name().to_owned());
                let preprocess = clip_preprocess(checkpoint, sizes.vision_config.image_size);
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
