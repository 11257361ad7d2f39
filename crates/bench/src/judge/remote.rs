//! A reward model elsewhere: prompts and images there, scores back. `docs/remote-rewards.md` is the protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{Client, JudgeError};

/// A server that scores images against prompts.
#[derive(Debug)]
pub struct RemoteReward {
    client: Client,
}

#[derive(Deserialize)]
struct Scores {
    scores: Vec<f64>,
}

impl RemoteReward {
    /// Scores from the server behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// One finite score for each pair of a prompt and a PNG.
    ///
    /// # Errors
    /// No answer, or one that does not hold as many finite numbers.
    ///
    /// # Panics
    /// There are not as many images as prompts.
    pub fn score(&self, prompts: &[&str], pngs: &[&[u8]]) -> Result<Vec<f32>, JudgeError> {
        assert_eq!(prompts.len(), pngs.len(), "a prompt for every image");
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let images: Vec<String> = pngs.iter().map(|png| STANDARD.encode(png)).collect();
        let request = json!({"prompts": prompts, "images": images});
        let Scores { scores } = self.client.post(&request)?;
        let wrong = |message: String| self.client.protocol(message, &format!("{scores:?}"));
        if scores.len() != prompts.len() {
            let (found, expected) = (scores.len(), prompts.len());
            return Err(wrong(format!("{found} scores for {expected} images")));
        }
        let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        if let Some(place) = scores.iter().position(|score| !score.is_finite()) {
            return Err(wrong(format!("score {place} is not finite")));
        }
        Ok(scores)
    }
}
