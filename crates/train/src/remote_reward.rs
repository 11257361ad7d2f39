//! A reward model on a server (docs/remote-rewards.md): pictures as PNG there, scores back, no gradient.

use std::{env, time::Duration};

use dmdr_bench::judge::{ApiKey, Client, Endpoint, RemoteReward as Server};
use dmdr_config::RemoteReward as Config;
use dmdr_data::{Prompts, images_from_tensor};
use dmdr_rewards::{RewardError, RewardModel, Settings};
use dmdr_tensor::{Kind, Tensor, phantom};

/// The client of one server.
#[derive(Debug)]
pub(crate) struct RemoteReward {
    name: String,
    url: String,
    server: Server,
}

impl RemoteReward {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// An address that is none, or an environment variable that is not set.
    pub(crate) fn new(config: &Config) -> Result<Self, RewardError> {
        let endpoint = Endpoint {
            timeout: Duration::from_secs(config.timeout_s),
            ..Endpoint::new(&config.url)
        };
        let client = client(&config.name, endpoint, config.key_env.as_deref())?;
        Ok(Self {
            name: config.name.clone(),
            url: config.url.clone(),
            server: Server::new(client),
        })
    }
}

/// The client of `endpoint` for the reward `name`, with the key that the environment variable `key_env` holds.
///
/// # Errors
/// An address that is none, or an environment variable that is not set.
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
        Ok::<_, RewardError>(ApiKey::new(key))
    };
    let endpoint = Endpoint {
        api_key: key_env.map(key).transpose()?,
        ..endpoint
    };
    endpoint.client().map_err(|error| failed(error.to_string()))
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

    fn describe(&self) -> Settings {
        Settings::from([("url", self.url.clone())])
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let device = images.device();
        if phantom::is_phantom(device) {
            return Ok(Tensor::ones(
                images.size()[..1].to_vec(),
                (Kind::Float, device),
            )); // a rehearsal asks nobody
        }
        let pngs = pngs(images);
        let pngs: Vec<&[u8]> = pngs.iter().map(Vec::as_slice).collect();
        let captions: Vec<&str> = prompts.captions.iter().map(String::as_str).collect();
        let scores = self.server.score(&captions, &pngs);
        let scores = scores.map_err(|error| RewardError::Remote {
            name: self.name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Tensor::from_slice(&scores).to_device(device))
    }
}
