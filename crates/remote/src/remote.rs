//! A reward model elsewhere: prompts and images there, scores back. `docs/rewards.md` is the protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::{Client, JudgeError, error::ask_again};

/// A server that scores images against prompts.
#[derive(Debug)]
pub struct RemoteReward {
    client: Client,
}

#[derive(Deserialize)]
struct Scores {
    scores: Vec<Option<f64>>,
}

impl RemoteReward {
    /// Scores from the server behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// One finite score for each pair of a prompt and a PNG; none where the server says `null`. An answer that does not
    /// keep to the protocol is asked for anew, three times in all.
    ///
    /// # Errors
    /// No answer, or one that does not hold as many finite numbers.
    ///
    /// # Panics
    /// There are not as many images as prompts.
    pub fn score(&self, prompts: &[&str], pngs: &[&[u8]]) -> Result<Vec<Option<f32>>, JudgeError> {
        assert_eq!(prompts.len(), pngs.len(), "a prompt for every image");
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let images: Vec<String> = pngs.iter().map(|png| STANDARD.encode(png)).collect();
        let request = json!({"prompts": prompts, "images": images});
        ask_again(|| {
            let Scores { scores } = self.client.post(&request)?;
            self.checked(&scores, prompts.len())
        })
    }

    /// `scores`, if they are finite and as many as `expected`.
    fn checked(
        &self,
        scores: &[Option<f64>],
        expected: usize,
    ) -> Result<Vec<Option<f32>>, JudgeError> {
        let wrong = |message: String| {
            let told = serde_json::to_string(scores).expect("numbers render");
            self.client.protocol(message, &told)
        };
        if scores.len() != expected {
            let found = scores.len();
            return Err(wrong(format!("{found} scores for {expected} images")));
        }
        let scores = scores.iter().map(|score| score.map(|score| score as f32));
        let scores: Vec<Option<f32>> = scores.collect();
        let is_wrong = |score: &Option<f32>| score.is_some_and(|score| !score.is_finite());
        match scores.iter().position(is_wrong) {
            Some(place) => Err(wrong(format!("score {place} is not finite"))),
            None => Ok(scores),
        }
    }
}
