//! A vision-language model as a reward (docs/remote-rewards.md): it is asked for a number about every picture, no gradient.

use std::{ops::RangeInclusive, thread, time::Duration};

use dmdr_bench::judge::{Cache, Endpoint, JudgeError, Retry, VlmJudge};
use dmdr_config::VlmReward as Config;
use dmdr_data::Prompts;
use dmdr_rewards::{RewardError, RewardModel, Settings};
use dmdr_tensor::{Kind, Tensor, phantom};

use crate::remote_reward::{client, pngs};

/// Questions asked at a time.
const JOBS: usize = 8;

/// One model with its question.
#[derive(Debug)]
pub(crate) struct VlmReward {
    name: String,
    told: Settings,
    judge: VlmJudge,
    range: RangeInclusive<f64>,
}

impl VlmReward {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// An address that is none, or an environment variable that is not set.
    pub(crate) fn new(config: &Config) -> Result<Self, RewardError> {
        let endpoint = Endpoint {
            timeout: Duration::from_secs(config.timeout_s),
            retry: Retry {
                attempts: u32::try_from(config.attempts).unwrap_or(u32::MAX),
                ..Retry::default()
            },
            ..Endpoint::new(&config.url)
        };
        let client = client(&config.name, endpoint, config.key_env.as_deref())?;
        let judge = VlmJudge::new(client, &config.model)
            .with_templates(VlmJudge::YES_NO_TEMPLATE, &config.template)
            .map_err(|error| failed(&config.name, &error))?;
        let [low, high] = config.range.map(|end| end as f64);
        Ok(Self {
            name: config.name.clone(),
            told: Settings::from([
                ("url", config.url.clone()),
                ("model", config.model.clone()),
                ("template", config.template.clone()),
                ("range", format!("{low} to {high}")),
            ]),
            judge: match &config.cache {
                Some(folder) => judge.with_cache(Cache::new(folder)),
                None => judge,
            },
            range: low..=high,
        })
    }
}

impl RewardModel for VlmReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn describe(&self) -> Settings {
        self.told.clone()
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let device = images.device();
        if phantom::is_phantom(device) {
            let size = images.size()[..1].to_vec();
            return Ok(Tensor::ones(size, (Kind::Float, device))); // a rehearsal asks nobody
        }
        let pngs = pngs(images);
        let (expected, found) = (pngs.len() as i64, prompts.len());
        if expected != found as i64 {
            let name = self.name.clone();
            return Err(RewardError::Captions {
                name,
                expected,
                found,
            });
        }
        let pairs: Vec<_> = pngs.iter().zip(&prompts.captions).collect();
        let mut scores = Vec::with_capacity(pairs.len());
        for some in pairs.chunks(JOBS) {
            let numbers: Vec<Result<f64, JudgeError>> = thread::scope(|scope| {
                let asked: Vec<_> = some
                    .iter()
                    .map(|&(png, caption)| {
                        scope.spawn(move || self.judge.number(png, caption, &self.range))
                    })
                    .collect();
                let answers = asked.into_iter();
                answers
                    .map(|thread| thread.join().expect("asking does not panic"))
                    .collect()
            });
            for number in numbers {
                scores.push(number.map_err(|error| failed(&self.name, &error))? as f32);
            }
        }
        Ok(Tensor::from_slice(&scores).to_device(device))
    }
}

fn failed(name: &str, error: &JudgeError) -> RewardError {
    RewardError::Remote {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}
