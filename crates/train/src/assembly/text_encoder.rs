//! The frozen text tower of World-CLIP, which reads the captions of the emoji world.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{Conditioning, WorldClip, load_config};
use dmdr_tensor::{Device, ParamStore, no_grad_guard};
use dmdr_world::World;

use crate::TrainError;

/// The frozen text tower of World-CLIP.
#[derive(Debug)]
pub struct TextEncoder {
    clip: WorldClip,
    max_tokens: usize,
    null: Conditioning,
}

impl TextEncoder {
    /// Loads the tower in `path`, which config key `key` names, and encodes the empty caption.
    ///
    /// # Errors
    /// An unreadable file or a tower of another world.
    pub fn load(key: &str, path: &Path, world: &World, device: Device) -> Result<Self, TrainError> {
        let config = load_config::<WorldClip>(path)?;
        let vocabulary = world.tokenizer().vocab_len() as i64;
        if config.text.vocabulary != vocabulary {
            return Err(TrainError::Incompatible {
                what: key.to_owned(),
                reason: format!(
                    "`{}` knows {} words, this world has {vocabulary}",
                    path.display(),
                    config.text.vocabulary
                ),
            });
        }
        let store = ParamStore::frozen(device);
        let clip = WorldClip::new(&store, config);
        store.load(path)?;
        let max_tokens = clip.config().text.max_tokens as usize;
        let null = clip.condition(&Prompts::null_ids(world, max_tokens, device)?);
        Ok(Self {
            clip,
            max_tokens,
            null,
        })
    }

    /// Encoding of prompts.
    pub fn encode(&self, prompts: &Prompts) -> Conditioning {
        let _guard = no_grad_guard();
        self.clip.condition(&prompts.scenes().ids)
    }

    /// Tokens a caption is padded to.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Checks that what config key `key` names reads captions of this encoder's length.
    ///
    /// # Errors
    /// If `tokens` is another number.
    pub(crate) fn check_length(&self, key: &str, tokens: usize) -> Result<(), TrainError> {
        if tokens == self.max_tokens {
            return Ok(());
        }
        Err(TrainError::Incompatible {
            what: key.to_owned(),
            reason: format!(
                "it reads {tokens} tokens a caption, the text encoder makes {}",
                self.max_tokens
            ),
        })
    }

    /// Encoding of the empty caption, one row.
    pub fn null(&self) -> &Conditioning {
        &self.null
    }

    /// Width of tokens and of the pooled vector.
    pub fn widths(&self) -> (i64, i64) {
        (self.clip.config().text.dim, self.clip.config().embed_dim)
    }
}

/// Checks that the network in `weights`, which config key `key` names and which reads text of widths `found`, takes what
/// `text` makes.
pub(crate) fn check_widths(
    key: &str,
    weights: &Path,
    found: (i64, i64),
    text: &TextEncoder,
) -> Result<(), TrainError> {
    if found == text.widths() {
        return Ok(());
    }
    Err(TrainError::Incompatible {
        what: key.to_owned(),
        reason: format!(
            "`{}` was trained on text features of widths {found:?}, its text encoder makes {:?}",
            weights.display(),
            text.widths()
        ),
    })
}
