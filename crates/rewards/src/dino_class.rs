//! How sure DINOv2's classifier is of the class an image was asked for: the log-probability, at most 0. Its negative is
//! the cross-entropy that DMDR's class-conditional demo adds to the loss (`train_cc/sit`), times 0.05.
//!
//! Checkpoints: `dinov2_vitl14_pretrain.pth` and `dinov2_vitl14_linear4_head.pth` (github.com/facebookresearch/dinov2),
//! converted with `tools/convert_pickle.py`. Preprocessing is the demo's: squashed to 224, bicubic, ImageNet's
//! normalisation. The demo normalises before it resizes, which is the same.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{DinoClassifier, DinoConfig};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings, captions,
    preprocess::{Fit, Preprocess},
};

/// Side in pixels of the images the demo's classifier sees; its positions are those of 518.
const SIDE: i64 = 224;

/// The log-probability of an image's class. For class-conditional models, whose captions are the
/// numbers of the classes.
#[derive(Debug)]
pub struct DinoClass {
    name: String,
    net: DinoClassifier,
    preprocess: Preprocess,
}

impl DinoClass {
    /// `name` appears in metrics.
    pub fn new(name: &str, net: DinoClassifier) -> Self {
        Self {
            name: name.to_owned(),
            net,
            preprocess: Preprocess::imagenet(Fit::Squash, SIDE),
        }
    }

    /// The weights in the files `backbone` and `head`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        name: &str,
        backbone: &Path,
        head: &Path,
        runtime: Runtime,
    ) -> Result<Self, RewardError> {
        let config = DinoConfig::of_weights(backbone, head)?;
        let store = runtime.store();
        let head_store = ParamStore::frozen(runtime.device);
        let net = DinoClassifier::new(&store, &head_store, config)?;
        store.load(backbone)?;
        head_store.load(head)?;
        Ok(Self::new(name, net))
    }
}

impl RewardModel for DinoClass {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn describe(&self) -> Settings {
        self.preprocess.describe()
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let count = self.net.config().num_classes;
        let number = |caption: &str| match caption.trim().parse() {
            Ok(class) if (0..count).contains(&class) => Ok(class),
            _ => Err(RewardError::Class {
                name: self.name.clone(),
                found: caption.to_owned(),
                count,
            }),
        };
        let classes = captions::of(&self.name, images, prompts)?
            .into_iter()
            .map(number)
            .collect::<Result<Vec<i64>, _>>()?;
        let logits = self.net.forward(&self.preprocess.forward(images));
        let log_probabilities = logits.log_softmax(1, Kind::Float);
        let classes = Tensor::from_slice(&classes)
            .unsqueeze(1)
            .to_device(logits.device());
        Ok(log_probabilities.gather(1, &classes, false).squeeze_dim(1))
    }
}
