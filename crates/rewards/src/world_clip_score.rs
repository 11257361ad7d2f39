//! The cosine of an image with its caption: CLIP score (World-CLIP) and HPS-like preference are of this form.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{WorldClip, load_config};
use dmdr_tensor::{Device, ParamStore, Tensor};

use crate::{RewardError, RewardModel};

/// A frozen pair of towers.
#[derive(Debug)]
pub struct WorldClipScore {
    name: String,
    net: WorldClip,
}

impl WorldClipScore {
    /// Loads the towers in `path`; `name` appears in metrics.
    ///
    /// # Errors
    /// An unreadable file, or one of another kind of network.
    pub fn load(name: &str, path: &Path, device: Device) -> Result<Self, RewardError> {
        let store = ParamStore::frozen(device);
        let net = WorldClip::new(&store, load_config::<WorldClip>(path)?);
        store.load(path).map_err(dmdr_models::ModelError::from)?;
        Ok(Self {
            name: name.to_owned(),
            net,
        })
    }

    /// The towers, for features.
    pub fn towers(&self) -> &WorldClip {
        &self.net
    }
}

impl RewardModel for WorldClipScore {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let expected = self.net.config().text.max_tokens;
        let ids = prompts.emoji().map(|emoji| &emoji.ids);
        let found = ids.map_or(0, |ids| ids.size()[1]);
        match ids {
            Some(ids) if found == expected => Ok(self.net.score(images, ids)),
            _ => Err(RewardError::Tokens {
                name: self.name.clone(),
                expected,
                found,
            }),
        }
    }
}
