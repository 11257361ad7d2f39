//! A vision-language model as a reward (docs/rewards.md): it is asked for a number about every picture, no gradient.
//!
//! An answer that cannot be used costs its picture; a judge that is gone ends the run.

use std::{ops::RangeInclusive, rc::Rc, sync::Arc, thread, time::Duration};

use dmdr_batches::Prompts;
use dmdr_config::VlmReward as Config;
use dmdr_remote::{Cache, Endpoint, JudgeError, Parameters, Retry, VlmJudge};
use dmdr_tensor::Tensor;

use crate::gaps::{Complaints, Gaps};
use crate::remote_reward::{client, elsewhere, pngs};
use crate::{RewardError, RewardModel, Scoring, Settings};

/// Questions asked at a time.
const JOBS: usize = 8;

/// One model with its question.
#[derive(Debug)]
pub struct VlmReward {
    name: String,
    told: Settings,
    judge: Arc<VlmJudge>,
    range: RangeInclusive<f64>,
    gaps: Rc<Gaps>,
}

impl VlmReward {
    /// Nothing is asked yet. Pictures without a score are left out and told of in `complaints`, or are errors.
    ///
    /// # Errors
    /// An address that is none, or an environment variable without a key.
    pub fn new(config: &Config, complaints: Option<&Complaints>) -> Result<Self, RewardError> {
        let gaps = Gaps::new(&config.name, complaints);
        let endpoint = Endpoint {
            timeout: Duration::from_secs(config.timeout_s),
            retry: Retry {
                attempts: u32::try_from(config.attempts).unwrap_or(u32::MAX),
                ..Retry::default()
            },
            ..Endpoint::new(&config.url)
        };
        let client = client(&config.name, endpoint, config.key_env.as_deref())?;
        let parameters = parameters(config);
        let [low, high] = config.range.map(|end| end as f64);
        let mut told = Settings::from([
            ("url", config.url.clone()),
            ("model", config.model.clone()),
            ("template", config.template.clone()),
            ("range", format!("{low} to {high}")),
        ]);
        if parameters != Parameters::default() {
            told.insert("parameters", format!("{parameters:?}"));
        }
        let judge = VlmJudge::new(client, &config.model)
            .with_templates(VlmJudge::YES_NO_TEMPLATE, &config.template)
            .and_then(|judge| judge.with_parameters(parameters))
            .map_err(|error| gaps.failed(&error.to_string()))?;
        Ok(Self {
            name: config.name.clone(),
            told,
            judge: Arc::new(match &config.cache {
                Some(folder) => judge.with_cache(Cache::new(folder)),
                None => judge,
            }),
            range: low..=high,
            gaps: Rc::new(gaps),
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

    fn may_leave_out(&self) -> bool {
        self.gaps.are_allowed()
    }

    fn describe(&self) -> Settings {
        self.told.clone()
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        self.begin(images, prompts)?()
    }

    fn begin(&self, images: &Tensor, prompts: &Prompts) -> Result<Scoring, RewardError> {
        let (expected, found) = (images.size()[0], prompts.len());
        if expected != found as i64 {
            let name = self.name.clone();
            return Err(RewardError::Captions {
                name,
                expected,
                found,
            });
        }
        let (judge, range, pngs) = (Arc::clone(&self.judge), self.range.clone(), pngs(images));
        let captions = prompts.captions.clone();
        let asked = move || numbers(&judge, &range, &pngs, &captions);
        Ok(elsewhere(images, &self.gaps, asked))
    }
}

/// What `judge` says of each picture, some at a time.
fn numbers(
    judge: &VlmJudge,
    range: &RangeInclusive<f64>,
    pngs: &[Vec<u8>],
    captions: &[String],
) -> Vec<Result<f32, JudgeError>> {
    let pairs: Vec<_> = pngs.iter().zip(captions).collect();
    let mut scores = Vec::with_capacity(pairs.len());
    for some in pairs.chunks(JOBS) {
        thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|&(png, caption)| scope.spawn(move || judge.number(png, caption, range)))
                .collect();
            for thread in asked {
                let number = thread.join().expect("asking does not panic");
                scores.push(number.map(|number| number as f32));
            }
        });
        // One that is gone is not asked about the next pictures.
        let is_gone = |score: &Result<f32, JudgeError>| {
            score.as_ref().is_err_and(|error| !error.is_of_one_answer())
        };
        if scores.iter().any(is_gone) {
            break;
        }
    }
    scores
}

/// What every request says besides model and question.
fn parameters(config: &Config) -> Parameters {
    let told = config.parameters.iter();
    Parameters {
        max_tokens: config.max_tokens,
        extra: told
            .map(|(name, value)| {
                let value = serde_json::to_value(value).expect("a value of TOML is one of JSON");
                (name.clone(), value)
            })
            .collect(),
        omit: config.omit.clone(),
    }
}
