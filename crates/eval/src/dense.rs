//! Dense prompts, question by question: DPG-Bench's protocol (arXiv 2403.05135) with the judge's exact answers.
//!
//! An image's score is the part of its questions answered with yes, a question counting as no when one of its parents
//! does; categories count every answer on its own, as `compute_dpg_bench.py` does. Deviation: they use all images, where
//! that script keeps the last of each prompt only, and scores are in `[0, 1]`.

use std::collections::BTreeMap;

use dmdr_batches::images_from_tensor;
use dmdr_events::Statistic;
use dmdr_image::Image;
use dmdr_tensor::Device;
use dmdr_world::{DensePrompt, Fact, Judge, Kind, Prompt, World};
use serde::{Deserialize, Serialize};

use crate::{
    EvalError, EvalSet, Evaluation, Sampler,
    judging::over_threads,
    metrics::mean,
    sampling::Sampling,
    set::{Batch, tokenised},
};

/// Scores images of dense prompts, which are larger than others.
#[derive(Debug)]
pub struct DenseEvaluator {
    world: World,
    judge: Judge,
    max_tokens: usize,
    device: Device,
    num_kept: usize,
}

/// The answers about one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseScore {
    /// Place of the prompt in the set.
    pub prompt: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// The prompt.
    pub caption: String,
    /// Part of the questions that count as yes, in `[0, 1]`.
    pub score: f64,
    /// Every question, and its answer whatever its parents'.
    pub answers: Vec<(String, bool)>,
}

impl DenseEvaluator {
    /// For samplers on `device` that read `max_tokens` a caption and make images of [`World::dense_canvas`].
    pub fn new(world: World, max_tokens: usize, device: Device) -> Self {
        Self {
            judge: Judge::new(&world),
            world,
            max_tokens,
            device,
            num_kept: 0,
        }
    }

    /// Keeps the images of the first `num_prompts` prompts of every seed in [`Evaluation::images`].
    #[must_use]
    pub fn keep_images(mut self, num_prompts: usize) -> Self {
        self.num_kept = num_prompts;
        self
    }

    /// Samples every dense prompt of `set` once a seed and asks its questions; as [`crate::Evaluator::evaluate`].
    ///
    /// Metrics: `dense/overall`, and `dense/entity`, `attribute`, `count` and `relation`.
    ///
    /// # Errors
    /// An empty set, captions longer than `max_tokens`, or a sampler that fails or makes images of another shape or with
    /// pixels that are not finite.
    pub fn evaluate(
        &self,
        sampler: &dyn Sampler,
        set: &EvalSet,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation<DenseScore>, EvalError> {
        set.check()?;
        let prompts = set.dense_prompts(&self.world);
        let plain: Vec<Prompt> = prompts.iter().map(plain).collect();
        let plain = tokenised(&plain, &self.world, self.max_tokens, self.device)?;
        let batches = Batch::of(&plain);
        let side = self.world.dense_canvas() as i64;
        let mut sampling = Sampling::new(sampler, [3, side, side], self.device).of_squares(side);
        let mut kept = Vec::new();
        let mut scores = Vec::with_capacity(set.num_images());
        let mut per_seed: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for &seed in &set.seeds {
            let first = scores.len();
            for batch in &batches {
                let images = images_from_tensor(&sampling.images(batch, seed)?);
                self.ask(batch.first, seed, &images, &prompts, &mut scores);
                let num_kept = self.num_kept.saturating_sub(batch.first);
                kept.extend(images.into_iter().take(num_kept));
                progress(scores.len(), set.num_images());
            }
            for (name, value) in means(&scores[first..], &prompts) {
                per_seed.entry(name).or_default().push(value);
            }
        }
        let metrics = per_seed
            .into_iter()
            .map(|(name, values)| (format!("dense/{name}"), Statistic::of(values)))
            .collect();
        Ok(Evaluation {
            sampler: sampler.name().to_owned(),
            measured: sampling.measured(set.split_name(), set.num_prompts, &set.seeds, metrics),
            scores,
            images: kept,
        })
    }

    /// Adds the answers about images of the prompts from `first`.
    fn ask(
        &self,
        first: usize,
        seed: u64,
        images: &[Image],
        prompts: &[DensePrompt],
        scores: &mut Vec<DenseScore>,
    ) {
        let prompts = &prompts[first..first + images.len()];
        let ask = |image: &Image, prompt: &DensePrompt| self.judge.answers(image, prompt);
        let answers = over_threads(images, prompts, ask);
        for (index, (prompt, answers)) in prompts.iter().zip(answers).enumerate() {
            let texts = prompt
                .questions
                .iter()
                .map(|question| question.text.clone());
            scores.push(DenseScore {
                prompt: first + index,
                seed,
                caption: prompt.caption.clone(),
                score: f64::from(answers.score),
                answers: texts.zip(answers.yes).collect(),
            });
        }
    }
}

/// What a sampler gets: it reads captions and clauses. No kind is that of a dense prompt; this one's clauses are most like.
fn plain(prompt: &DensePrompt) -> Prompt {
    Prompt {
        kind: Kind::ColorAttr,
        caption: prompt.caption.clone(),
        include: prompt.include.clone(),
        relation: None,
    }
}

/// Means over the images of one seed, by metric; categories without a question are left out.
fn means(scores: &[DenseScore], prompts: &[DensePrompt]) -> Vec<(&'static str, f64)> {
    let mut categories: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for score in scores {
        let questions = &prompts[score.prompt].questions;
        for (question, (_, is_yes)) in questions.iter().zip(&score.answers) {
            let values = categories.entry(category(question.fact)).or_default();
            values.push(f64::from(u8::from(*is_yes)));
        }
    }
    let overall = mean(scores.iter().map(|score| score.score));
    let categories = categories
        .into_iter()
        .map(|(name, values)| (name, mean(values.into_iter())));
    std::iter::once(("overall", overall))
        .chain(categories)
        .collect()
}

fn category(fact: Fact) -> &'static str {
    match fact {
        Fact::Entity(..) => "entity",
        Fact::Attribute(..) => "attribute",
        Fact::Count(..) => "count",
        Fact::Relation(..) => "relation",
    }
}
