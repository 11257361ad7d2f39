//! A batch of prompts with their token ids.

use std::ops::Range;

use dmdr_tensor::{Device, Ranks, Tensor};
use dmdr_world::{Prompt, Tokenizer, World, WorldError};

/// Prompts of any world.
#[derive(Debug)]
pub struct Prompts {
    /// The text.
    pub captions: Vec<String>,
    /// What is known of them in the emoji world, if they are of it.
    emoji: Option<EmojiPrompts>,
}

/// What the emoji world knows of prompts.
#[derive(Debug)]
pub struct EmojiPrompts {
    /// What makes an image of each caption right.
    pub prompts: Vec<Prompt>,
    /// Token ids of the text towers `[B, L]` (i64), padded to `L`.
    pub ids: Tensor,
}

/// Errors of turning captions into tensors.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A word that the world's vocabulary lacks.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A caption that does not fit the text tower.
    #[error("caption `{caption}` has {found} tokens; the text tower takes {max_tokens}")]
    TooLong {
        /// The text.
        caption: String,
        /// Its length, start and end included.
        found: usize,
        /// The limit.
        max_tokens: usize,
    },
}

impl Prompts {
    /// Tokenises `prompts` for a tower of `max_tokens`.
    ///
    /// # Errors
    /// An unknown word or a caption that is too long.
    pub fn new(
        world: &World,
        prompts: Vec<Prompt>,
        max_tokens: usize,
        device: Device,
    ) -> Result<Self, BatchError> {
        let captions: Vec<String> = prompts
            .iter()
            .map(|prompt| prompt.caption.clone())
            .collect();
        let ids = tokenize(world, &captions, max_tokens, device)?;
        Ok(Self {
            captions,
            emoji: Some(EmojiPrompts { prompts, ids }),
        })
    }

    /// Text of which no more is known.
    pub fn plain(captions: Vec<String>) -> Self {
        Self {
            captions,
            emoji: None,
        }
    }

    /// What the emoji world knows of them; none if they are of another one.
    pub fn emoji(&self) -> Option<&EmojiPrompts> {
        self.emoji.as_ref()
    }

    /// As [`Self::emoji`], where they are known to be of that world.
    ///
    /// # Panics
    /// If they are not.
    pub fn scenes(&self) -> &EmojiPrompts {
        self.emoji().expect("prompts of the emoji world")
    }

    /// The first `count` prompts, each `times` times in a row.
    #[must_use]
    pub fn groups(&self, count: usize, times: usize) -> Self {
        let emoji = self.emoji().map(|EmojiPrompts { prompts, ids }| {
            let ids = ids.narrow(0, 0, count as i64);
            EmojiPrompts {
                prompts: repeat(prompts, count, times),
                ids: ids.repeat_interleave_self_int(times as i64, 0, None),
            }
        });
        Self {
            captions: repeat(&self.captions, count, times),
            emoji,
        }
    }

    /// Those of one of `ranks`: every so many, from its number on.
    #[must_use]
    pub fn every(self, ranks: Ranks) -> Self {
        if ranks.count() == 1 {
            return self;
        }
        let (first, step) = (ranks.rank() as usize, ranks.count() as usize);
        let emoji = self
            .emoji
            .map(|EmojiPrompts { prompts, ids }| EmojiPrompts {
                prompts: prompts.into_iter().skip(first).step_by(step).collect(),
                ids: ids.slice(0, first as i64, None, step as i64).contiguous(),
            });
        Self {
            captions: self
                .captions
                .into_iter()
                .skip(first)
                .step_by(step)
                .collect(),
            emoji,
        }
    }

    /// The prompts of a range.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let (start, len) = (rows.start as i64, rows.len() as i64);
        let emoji = self
            .emoji()
            .map(|EmojiPrompts { prompts, ids }| EmojiPrompts {
                prompts: prompts[rows.clone()].to_vec(),
                ids: ids.narrow(0, start, len),
            });
        Self {
            captions: self.captions[rows].to_vec(),
            emoji,
        }
    }

    /// The same text with `prefix` before each caption, of which the emoji world knows nothing.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> Self {
        let captions = self.captions.iter();
        let captions = captions.map(|caption| format!("{prefix}{caption}"));
        Self::plain(captions.collect())
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.captions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.captions.is_empty()
    }

    /// Ids of the empty caption, `[1, L]`: the unconditional one of classifier-free guidance.
    ///
    /// # Errors
    /// A tower too short even for start and end.
    pub fn null_ids(
        world: &World,
        max_tokens: usize,
        device: Device,
    ) -> Result<Tensor, BatchError> {
        tokenize(world, &[""], max_tokens, device)
    }
}

fn repeat<T: Clone>(items: &[T], count: usize, times: usize) -> Vec<T> {
    let repeated = |item: &T| std::iter::repeat_n(item.clone(), times);
    items.iter().take(count).flat_map(repeated).collect()
}

fn tokenize(
    world: &World,
    captions: &[impl AsRef<str>],
    max_tokens: usize,
    device: Device,
) -> Result<Tensor, BatchError> {
    let mut flat = Vec::with_capacity(captions.len() * max_tokens);
    for caption in captions {
        let caption = caption.as_ref();
        let ids = world.tokenizer().encode(caption)?;
        if ids.len() > max_tokens {
            return Err(BatchError::TooLong {
                caption: caption.to_owned(),
                found: ids.len(),
                max_tokens,
            });
        }
        let padding = std::iter::repeat_n(Tokenizer::PAD, max_tokens - ids.len());
        flat.extend(ids.iter().copied().chain(padding).map(i64::from));
    }
    let shape = [captions.len() as i64, max_tokens as i64];
    Ok(Tensor::from_slice(&flat).reshape(shape).to_device(device))
}

#[cfg(test)]
mod tests {
    use dmdr_config::WorldPreset;
    use dmdr_world::Split;

    use super::*;

    #[test]
    fn captions_are_padded_and_too_long_ones_refused() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let drawn: Vec<Prompt> = (0..6)
            .map(|index| world.prompt(Split::Train, 0, index))
            .collect();
        let prompts = Prompts::new(&world, drawn.clone(), 16, Device::Cpu).expect("fits");
        let ids = &prompts.scenes().ids;
        assert_eq!(ids.size(), [6, 16]);
        assert_eq!(ids.int64_value(&[0, 15]), i64::from(Tokenizer::PAD));
        let error = Prompts::new(&world, drawn, 5, Device::Cpu).expect_err("long");
        assert!(
            error.to_string().contains("the text tower takes 5"),
            "{error}"
        );
    }
}
