//! A vision-language model behind an OpenAI-compatible `/v1/chat/completions`, asked about an image.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cache::Key;
use crate::chat::Said;
use crate::error::{ask_again, shortened};
use crate::{Cache, Client, JudgeError, Parameters, reply};

/// Where a template takes the question.
const PLACE: &str = "{question}";

/// Raised when a request changes in a way that changes answers: cached ones are then asked anew.
const REQUEST_VERSION: &[u8] = b"vlm 1";

/// A model that answers questions about images. Temperature is 0, but servers promise no more than that. An answer of
/// another form is asked for anew, three times in all.
#[derive(Debug)]
pub struct VlmJudge {
    client: Client,
    model: String,
    cache: Option<Cache>,
    parameters: Parameters,
    yes_no: String,
    number: String,
}

impl VlmJudge {
    /// The question with the demand for one word.
    pub const YES_NO_TEMPLATE: &'static str =
        "Look at the image and answer the question with one word, yes or no.\n{question}";
    /// The question with the demand for a number.
    pub const NUMBER_TEMPLATE: &'static str =
        "Look at the image and answer the question with one number and nothing else.\n{question}";

    /// A judge that asks `model` at an endpoint such as `http://localhost:8000/v1/chat/completions`.
    pub fn new(client: Client, model: impl Into<String>) -> Self {
        Self {
            client,
            model: model.into(),
            cache: None,
            parameters: Parameters::default(),
            yes_no: Self::YES_NO_TEMPLATE.to_owned(),
            number: Self::NUMBER_TEMPLATE.to_owned(),
        }
    }

    /// Says more in every request than model and question.
    ///
    /// # Errors
    /// A field that is not the user's to set.
    pub fn with_parameters(self, parameters: Parameters) -> Result<Self, JudgeError> {
        parameters.check()?;
        Ok(Self { parameters, ..self })
    }

    /// Keeps answers in `cache` and takes them from there. An answer is found by the model's name, the prompt, the image
    /// and the parameters, whatever the address; what cannot be parsed is not kept.
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

    /// What every request says besides model and question.
    pub fn parameters(&self) -> Value {
        Value::Object(self.parameters.fields())
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
        let key = self.key(png, prompt);
        // What another range or form took may be no answer to this one.
        if let Some(cache) = &self.cache
            && let Some(reply) = cache.get(&key)?
            && let Ok(parsed) = parse(&reply)
        {
            return Ok(parsed);
        }
        let (reply, parsed) = ask_again(|| {
            let Said { text, is_cut } = self.complete(png, prompt)?;
            match parse(&text) {
                Ok(parsed) => Ok((text, parsed)),
                Err(JudgeError::Unparsable { .. }) if is_cut => Err(JudgeError::Cut {
                    max_tokens: self.parameters.max_tokens,
                    reply: shortened(&text),
                }),
                Err(error) => Err(error),
            }
        })?;
        if let Some(cache) = &self.cache {
            cache.put(&key, &reply)?;
        }
        Ok(parsed)
    }

    /// What the answer hangs on. Parameters have a part in it where they are not the usual ones.
    fn key(&self, png: &[u8], prompt: &str) -> Key {
        let mut parts = vec![
            REQUEST_VERSION,
            self.model.as_bytes(),
            prompt.as_bytes(),
            png,
        ];
        let told = self.parameters().to_string();
        if self.parameters != Parameters::default() {
            parts.push(told.as_bytes());
        }
        Key::new(&parts)
    }

    fn complete(&self, png: &[u8], prompt: &str) -> Result<Said, JudgeError> {
        let image = format!("data:image/png;base64,{}", STANDARD.encode(png));
        let mut request = self.parameters.fields();
        request.insert("model".to_owned(), json!(self.model));
        let content = json!([
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "text", "text": prompt},
        ]);
        let messages = json!([{"role": "user", "content": content}]);
        request.insert("messages".to_owned(), messages);
        let completion: Value = self.client.post(&Value::Object(request))?;
        Said::of(&completion).ok_or_else(|| {
            let told = completion.to_string();
            self.client.protocol("no choice with a text", &told)
        })
    }
}
