//! A reward model on a server (docs/remote-rewards.md): pictures as PNG there, scores back, no gradient.

use std::{env, time::Duration};

use dmdr_bench::judge::{ApiKey, Endpoint, RemoteReward as Server};
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
        let failed = |reason: String| RewardError::Remote {
            name: config.name.clone(),
            reason,
        };
        let key = |name: &String| {
            let key = env::var(name).map_err(|_| {
                failed(format!(
                    "`key_env` names the environment variable `{name}`, which is not set"
                ))
            })?;
            Ok::<_, RewardError>(ApiKey::new(key))
        };
        let endpoint = Endpoint {
            api_key: config.key_env.as_ref().map(key).transpose()?,
            timeout: Duration::from_secs(config.timeout_s),
            ..Endpoint::new(&config.url)
        };
        let client = endpoint
            .client()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            name: config.name.clone(),
            url: config.url.clone(),
            server: Server::new(client),
        })
    }
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
        let pngs: Vec<Vec<u8>> = images_from_tensor(images)
            .iter()
            .map(|image| image.png(&[]))
            .collect();
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
