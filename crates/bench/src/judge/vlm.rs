//! A vision-language model behind an OpenAI-compatible `/v1/chat/completions`, asked about an image.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::cache::Key;
use super::{Cache, Client, JudgeError, reply};

/// Where a template takes the question.
const PLACE: &str = "{question}";

/// Raised when a request changes in a way that changes answers: cached ones are then asked anew.
const REQUEST_VERSION: &[u8] = b"vlm 1";

/// A model that answers questions about images. Temperature is 0, but servers promise no more than that.
#[derive(Debug)]
pub struct VlmJudge {
    client: Client,
    model: String,
    cache: Option<Cache>,
    yes_no: String,
    number: String,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl VlmJudge {
    /// The question with the demand for one word.
    pub const YES_NO_TEMPLATE: &'static str =
        "Look at the image and answer the question with one word, yes or no.\n{question}";
    /// The question with the demand for a number.
    pub const NUMBER_TEMPLATE: &'static str =
        "Look at the image and answer the question with one number and nothing else.\n{question}";
    /// The most tokens of an answer: enough for a word or a number.
    const MAX_TOKENS: u32 = 16;

    /// A judge that asks `model` at an endpoint such as `http://localhost:8000/v1/chat/completions`.
    pub fn new(client: Client, model: impl Into<String>) -> Self {
        Self {
            client,
            model: model.into(),
            cache: None,
            yes_no: Self::YES_NO_TEMPLATE.to_owned(),
            number: Self::NUMBER_TEMPLATE.to_owned(),
        }
    }

    /// Keeps answers in `cache` and takes them from there. An answer is found by the model's name, the prompt and the
    /// image, whatever the address; what cannot be parsed is not kept.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Self {
        let cache = Some(cache);
        Self { cache, ..self }
    }

    /// Asks in other words: both templates hold `{question}`.
    ///
    /// # Errors
    /// A template without it.
    pub fn with_templates(self, yes_no: &str, number: &str) -> Result<Self, JudgeError> {
        for template in [yes_no, number] {
            if !template.contains(PLACE) {
                let template = template.to_owned();
                return Err(JudgeError::Template { template });
            }
        }
        let (yes_no, number) = (yes_no.to_owned(), number.to_owned());
        Ok(Self {
            yes_no,
            number,
            ..self
        })
    }

    /// The template of a question for yes or no.
    pub fn yes_no_template(&self) -> &str {
        &self.yes_no
    }

    /// Whether the model answers with yes.
    ///
    /// # Errors
    /// No answer, or one that is neither yes nor no.
    pub fn yes_no(&self, png: &[u8], question: &str) -> Result<bool, JudgeError> {
        self.ask(png, &self.yes_no.replace(PLACE, question), reply::yes_no)
    }

    /// The number that the model answers with.
    ///
    /// # Errors
    /// No answer, or one that is not a number of the range.
    pub fn number(
        &self,
        png: &[u8],
        question: &str,
        range: &RangeInclusive<f64>,
    ) -> Result<f64, JudgeError> {
        let prompt = self.number.replace(PLACE, question);
        self.ask(png, &prompt, |text| reply::number(text, range))
    }

    fn ask<T>(
        &self,
        png: &[u8],
        prompt: &str,
        parse: impl Fn(&str) -> Result<T, JudgeError>,
    ) -> Result<T, JudgeError> {
        let key = Key::new(&[
            REQUEST_VERSION,
            self.model.as_bytes(),
            prompt.as_bytes(),
            png,
        ]);
        if let Some(cache) = &self.cache
            && let Some(reply) = cache.get(&key)?
        {
            return parse(&reply);
        }
        let reply = self.complete(png, prompt)?;
        let parsed = parse(&reply)?;
        if let Some(cache) = &self.cache {
            cache.put(&key, &reply)?;
        }
        Ok(parsed)
    }

    fn complete(&self, png: &[u8], prompt: &str) -> Result<String, JudgeError> {
        let image = format!("data:image/png;base64,{}", STANDARD.encode(png));
        let completion: Completion = self.client.post(&json!({
            "model": self.model,
            "temperature": 0,
            "max_tokens": Self::MAX_TOKENS,
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": image}},
                {"type": "text", "text": prompt},
            ]}],
        }))?;
        let choice = completion.choices.into_iter().next();
        let content = choice.and_then(|choice| choice.message.content);
        content.ok_or_else(|| self.client.protocol("no choice with a text", ""))
    }
}
