//! Word-level tokens: every word that a caption of this world can use.

use std::collections::BTreeMap;

use crate::{WorldError, caption};

/// Words of the sentences around the names; "," and "." are words of their own.
const FRAME: [&str; 19] = [
    "a", "an", "and", "photo", "of", "left", "right", "above", "below", "one", "two", "three",
    "four", "the", "is", "are", "to", ",", ".",
];

/// Turns captions into token ids.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    words: Vec<String>,
    ids: BTreeMap<String, u32>,
}

impl Tokenizer {
    /// Fills the rest of a batch.
    pub const PAD: u32 = 0;
    /// Starts every caption.
    pub const START: u32 = 1;
    /// Ends every caption.
    pub const END: u32 = 2;

    /// The vocabulary of these objects and colours, in alphabetic order after the three special tokens.
    pub(crate) fn new(objects: &[&str], colors: &[&str]) -> Self {
        let mut all: Vec<String> = FRAME
            .iter()
            .chain(colors)
            .map(|&word| word.to_owned())
            .collect();
        for object in objects {
            all.extend(object.split(' ').map(str::to_owned));
            all.extend(caption::plural(object).split(' ').map(str::to_owned));
        }
        all.sort_unstable();
        all.dedup();
        let words: Vec<String> = ["<pad>", "<start>", "<end>"]
            .map(str::to_owned)
            .into_iter()
            .chain(all)
            .collect();
        let ids = words
            .iter()
            .enumerate()
            .map(|(id, word)| (word.clone(), id as u32))
            .collect();
        Self { words, ids }
    }

    /// Number of tokens, special ones included.
    pub fn vocab_len(&self) -> usize {
        self.words.len()
    }

    /// The word of a token.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize).map(String::as_str)
    }

    /// Token ids of a caption between [`Self::START`] and [`Self::END`], without padding. An empty caption is the
    /// unconditional one.
    ///
    /// # Errors
    /// When a word is unknown.
    pub fn encode(&self, caption: &str) -> Result<Vec<u32>, WorldError> {
        let spaced = caption
            .to_lowercase()
            .replace(',', " , ")
            .replace('.', " . ");
        let mut tokens = vec![Self::START];
        for word in spaced.split_whitespace() {
            let unknown = || WorldError::UnknownWord {
                word: word.to_owned(),
                caption: caption.to_owned(),
            };
            tokens.push(*self.ids.get(word).ok_or_else(unknown)?);
        }
        tokens.push(Self::END);
        Ok(tokens)
    }

    /// The words of token ids, without special tokens.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let words: Vec<&str> = tokens
            .iter()
            .filter(|&&id| id > Self::END)
            .filter_map(|&id| self.word(id))
            .collect();
        words.join(" ").replace(" ,", ",").replace(" .", ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_survive_the_round_trip() {
        let tokenizer = Tokenizer::new(&["wine glass", "cat"], &["red"]);
        for caption in [
            "a photo of two wine glasses",
            "a red cat, a wine glass. the cat is left of the wine glass.",
        ] {
            let tokens = tokenizer.encode(caption).expect("every word is known");
            assert_eq!(
                (tokens[0], tokens[tokens.len() - 1]),
                (Tokenizer::START, Tokenizer::END)
            );
            assert_eq!(tokenizer.decode(&tokens), caption);
        }
        assert_eq!(
            tokenizer.encode("").expect("no word"),
            [Tokenizer::START, Tokenizer::END]
        );
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = Tokenizer::new(&["cat"], &["red"])
            .encode("a photo of a unicorn")
            .expect_err("no such word");
        assert_eq!(
            error.to_string(),
            "unknown word `unicorn` in caption `a photo of a unicorn`"
        );
    }
}
