//! What a request to a language model says besides model and question.

use serde_json::{Map, Value};

use crate::JudgeError;

/// Fields that only the judge itself can fill, or whose answer it could not read.
const OWN: [&str; 4] = ["model", "messages", "stream", "n"];

/// How a model answers. Servers differ in what they take: some want `max_completion_tokens` and refuse `temperature`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// The most tokens of an answer. A model that thinks before it speaks needs hundreds.
    pub max_tokens: u64,
    /// Further fields of the request, as they are sent; they win over those that are always there.
    pub extra: Map<String, Value>,
    /// Fields that are not sent, such as `temperature` or `max_tokens`.
    pub omit: Vec<String>,
}

impl Default for Parameters {
    /// Enough tokens for a word or a number, and nothing else.
    fn default() -> Self {
        Self {
            max_tokens: 16,
            extra: Map::new(),
            omit: Vec::new(),
        }
    }
}

impl Parameters {
    /// Refuses fields that are not the user's to set.
    ///
    /// # Errors
    /// The first such field.
    pub(super) fn check(&self) -> Result<(), JudgeError> {
        let mut names = self.extra.keys().chain(&self.omit);
        match names.find(|name| OWN.contains(&name.as_str())) {
            Some(name) => Err(JudgeError::Parameter { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// The fields of a request.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("temperature".to_owned(), 0.into());
        fields.insert("max_tokens".to_owned(), self.max_tokens.into());
        fields.extend(self.extra.clone());
        fields.retain(|name, _| !self.omit.contains(name));
        fields
    }
}
