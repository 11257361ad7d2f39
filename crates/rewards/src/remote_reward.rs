//! A reward model on a server (docs/rewards.md): pictures as PNG there, scores back, no gradient.
//!
//! An answer that cannot be used costs the pictures that it is about; a server that is gone ends the run.

use std::{env, iter, rc::Rc, sync::Arc, thread, time::Duration};

use dmdr_batches::{Prompts, images_from_tensor};
use dmdr_config::RemoteReward as Config;
use dmdr_remote::{ApiKey, Client, Endpoint, JudgeError, RemoteReward as Server};
use dmdr_tensor::{Kind, Tensor, phantom};

use crate::gaps::{Complaints, Gaps};
use crate::{RewardError, RewardModel, Scoring, Settings};

/// The client of one server.
#[derive(Debug)]
pub struct RemoteReward {
    name: String,
    url: String,
    server: Arc<Server>,
    gaps: Rc<Gaps>,
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
            server: Arc::new(Server::new(client)),
            gaps: Rc::new(Gaps::new(&config.name, complaints)),
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

/// The scores of `images` by what `asked` brings from elsewhere, on a thread of its own. In a rehearsal nobody is asked.
pub(crate) fn elsewhere(
    images: &Tensor,
    gaps: &Rc<Gaps>,
    asked: impl FnOnce() -> Vec<Result<f32, JudgeError>> + Send + 'static,
) -> Scoring {
    let device = images.device();
    if phantom::is_phantom(device) {
        let ones = Tensor::ones(&images.size()[..1], (Kind::Float, device));
        return Box::new(move || Ok(ones));
    }
    let (asked, gaps) = (thread::spawn(asked), Rc::clone(gaps));
    Box::new(move || {
        let scores = gaps.fill(asked.join().expect("asking does not panic"))?;
        Ok(Tensor::from_slice(&scores).to_device(device))
    })
}

/// `images [B, 3, H, W]` in `[0, 1]` as PNG files; of a rehearsal's, none.
pub(crate) fn pngs(images: &Tensor) -> Vec<Vec<u8>> {
    if phantom::is_phantom(images.device()) {
        return Vec::new();
    }
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
        self.begin(images, prompts)?()
    }

    fn begin(&self, images: &Tensor, prompts: &Prompts) -> Result<Scoring, RewardError> {
        let (server, pngs) = (Arc::clone(&self.server), pngs(images));
        let captions = prompts.captions.clone();
        let asked = move || {
            let pngs: Vec<&[u8]> = pngs.iter().map(Vec::as_slice).collect();
            let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
            match server.score(&captions, &pngs) {
                Ok(scores) => scores
                    .into_iter()
                    .map(|score| score.ok_or(JudgeError::Unscored))
                    .collect(),
                // All of its pictures are without a score, for one reason.
                Err(error) => iter::once(Err(error))
                    .chain((1..pngs.len()).map(|_| Err(JudgeError::Unscored)))
                    .collect(),
            }
        };
        Ok(elsewhere(images, &self.gaps, asked))
    }
}
