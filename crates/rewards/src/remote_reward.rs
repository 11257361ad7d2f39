//! A reward model on a server (docs/rewards.md): pictures as PNG there, scores back, no gradient.
//!
//! An answer that cannot be used costs the pictures that it is about; a server that is gone ends the run.

use std::{env, time::Duration};

use dmdr_batches::{Prompts, images_from_tensor};
use dmdr_config::RemoteReward as Config;
use dmdr_remote::{ApiKey, Client, Endpoint, JudgeError, RemoteReward as Server};
use dmdr_tensor::{Kind, Tensor, phantom};

use crate::gaps::{Complaints, Gaps};
use crate::{RewardError, RewardModel, Settings};

/// The client of one server.
#[derive(Debug)]
pub struct RemoteReward {
    name: String,
    url: String,
    server: Server,
    gaps: Gaps,
}

impl RemoteReward {
    /// Nothing is asked yet. Pictures without a score are left out and told of in `complaints`, or are errors.
    ///
    /// # Errors
    /// An address that is none, or an environment variable without a key.
    pub fn new(config: &Config, complaints: Option<&Complaints>) -> Result<Self, RewardError> {
        let endpoint = Endpoint {
            timeout: Duration::from_secs(config.timeout_s),
            ..Endpoint::new(&config.url)
        };
        let client = client(&config.name, endpoint, config.key_env.as_deref())?;
        Ok(Self {
            name: config.name.clone(),
            url: config.url.clone(),
            server: Server::new(client),
            gaps: Gaps::new(&config.name, complaints),
        })
    }
}

/// The client of `endpoint` for the reward `name`, with the key that the environment variable `key_env` holds.
///
/// # Errors
/// An address that is none, or an environment variable without a key.
pub(crate) fn client(
    name: &str,
    endpoint: Endpoint,
    key_env: Option<&str>,
) -> Result<Client, RewardError> {
    let failed = |reason: String| RewardError::Remote {
        name: name.to_owned(),
        reason,
    };
    let key = |variable: &str| {
        let key = env::var(variable).map_err(|_| {
            failed(format!(
                "`key_env` names the environment variable `{variable}`, which is not set"
            ))
        })?;
        let wrong =
            |error: JudgeError| failed(format!("environment variable `{variable}`: {error}"));
        ApiKey::new(&key).map_err(wrong)
    };
    let endpoint = Endpoint {
        api_key: key_env.map(key).transpose()?,
        ..endpoint
    };
    endpoint.client().map_err(|error| failed(error.to_string()))
}

/// What a rehearsal gives `images`: nobody is asked.
pub(crate) fn rehearsed(images: &Tensor) -> Option<Tensor> {
    let ones = |device| Tensor::ones(&images.size()[..1], (Kind::Float, device));
    phantom::is_phantom(images.device()).then(|| ones(images.device()))
}

/// `images [B, 3, H, W]` in `[0, 1]` as PNG files.
pub(crate) fn pngs(images: &Tensor) -> Vec<Vec<u8>> {
    let images = images_from_tensor(images);
    images.iter().map(|image| image.png(&[])).collect()
}

impl RewardModel for RemoteReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn may_leave_out(&self) -> bool {
        self.gaps.are_allowed()
    }

    fn describe(&self) -> Settings {
        Settings::from([("url", self.url.clone())])
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        if let Some(scores) = rehearsed(images) {
            return Ok(scores);
        }
        let pngs = pngs(images);
        let pngs: Vec<&[u8]> = pngs.iter().map(Vec::as_slice).collect();
        let captions: Vec<&str> = prompts.captions.iter().map(String::as_str).collect();
        let scores = match self.server.score(&captions, &pngs) {
            Ok(scores) => scores
                .into_iter()
                .map(|score| score.ok_or(JudgeError::Unscored))
                .collect(),
            // All of its pictures are without a score, for one reason.
            Err(error) => std::iter::once(Err(error))
                .chain((1..pngs.len()).map(|_| Err(JudgeError::Unscored)))
                .collect(),
        };
        let scores = self.gaps.fill(scores)?;
        Ok(Tensor::from_slice(&scores).to_device(images.device()))
    }
}
