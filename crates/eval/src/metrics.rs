//! From images' scores and features to metrics.

use std::collections::BTreeMap;

use dmdr_events::Statistic;
use dmdr_tensor::{Kind as Dtype, Tensor};
use dmdr_world::Kind;
use serde::{Deserialize, Serialize};

use crate::Gaussian;

/// What is known of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageScore {
    /// Place of the prompt in the set.
    pub prompt: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// `GenEval`'s kind of the prompt.
    pub kind: Kind,
    /// The prompt.
    pub caption: String,
    /// The judge's verdict.
    pub correct: bool,
    /// What is wrong first; empty when nothing is.
    pub reason: String,
    /// Whether it is background and whole objects alone, whatever the prompt: what an aesthetic model would say of it.
    pub well_formed: bool,
    /// Cosine with the caption, by World-CLIP.
    pub world_clip: f64,
    /// Score of the preference model.
    pub preference: f64,
    /// Score of the preference model that no run is trained on.
    pub preference_heldout: f64,
    /// Colourfulness, see `texture.rs`.
    pub saturation: f64,
    /// Share of fine detail, see `texture.rs`.
    pub high_frequency: f64,
}

/// Metrics of single images, by name; `geneval/overall` is their mean with each kind weighing the same.
pub(crate) type Score = fn(&ImageScore) -> f64;

/// Name of `GenEval`'s overall accuracy.
pub(crate) const OVERALL: &str = "geneval/overall";

/// Means over all images, whatever their kind.
pub(crate) const MEANS: [(&str, Score); 6] = [
    ("world_clip", |score| score.world_clip),
    ("preference", |score| score.preference),
    ("preference_heldout", |score| score.preference_heldout),
    ("well_formed", |score| {
        f64::from(u8::from(score.well_formed))
    }),
    ("saturation", |score| score.saturation),
    ("high_frequency", |score| score.high_frequency),
];

/// How far apart the images of a prompt are.
const DIVERSITY: &str = "diversity";
/// The same of the correct ones among them: a wrong object is no variety.
const DIVERSITY_CORRECT: &str = "diversity_correct";
const WORLD_FRECHET: &str = "world_frechet";

/// Names of the metrics that an evaluation of the emoji world gives besides `GenEval`'s.
pub fn metric_names() -> impl Iterator<Item = &'static str> {
    let of_images = MEANS.into_iter().map(|(name, _)| name);
    of_images.chain([DIVERSITY, DIVERSITY_CORRECT, WORLD_FRECHET])
}

/// 1 for a correct image.
pub(crate) fn accuracy(score: &ImageScore) -> f64 {
    f64::from(u8::from(score.correct))
}

/// Metrics that follow from `scores`, which are `num_prompts` a seed, seed by seed.
pub(crate) fn of_scores(scores: &[ImageScore], num_prompts: usize) -> BTreeMap<String, Statistic> {
    let mut per_seed: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for scores in scores.chunks(num_prompts) {
        let mut add = |name: String, value| per_seed.entry(name).or_default().push(value);
        for (name, score) in MEANS {
            add(name.to_owned(), mean(scores.iter().map(score)));
        }
        let kinds: Vec<(Kind, f64)> = Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let mut of_kind = scores.iter().filter(|score| score.kind == kind).peekable();
                of_kind.peek()?;
                Some((kind, mean(of_kind.map(accuracy))))
            })
            .collect();
        for (kind, value) in &kinds {
            add(format!("geneval/{}", kind.name()), *value);
        }
        add(
            OVERALL.to_owned(),
            mean(kinds.into_iter().map(|(_, value)| value)),
        );
    }
    per_seed
        .into_iter()
        .map(|(name, values)| (name, Statistic::of(values)))
        .collect()
}

/// Metrics of features `[N, E]`, one tensor a seed, unit length, images of the same prompts in the same order as `scores`,
/// seed by seed.
pub(crate) fn of_features(
    features: &[Tensor],
    scores: &[ImageScore],
    truth: &Gaussian,
) -> BTreeMap<String, Statistic> {
    let mut metrics = BTreeMap::new();
    if features.iter().all(|features| features.size()[0] > 1) {
        let distance = |features| Gaussian::fit(features).frechet_distance(truth);
        let per_seed = features.iter().map(distance).collect();
        metrics.insert(WORLD_FRECHET.to_owned(), Statistic::of(per_seed));
    }
    if features.len() > 1 {
        let features = Tensor::stack(features, 0);
        let correct: Vec<f64> = scores.iter().map(accuracy).collect();
        let correct = Tensor::from_slice(&correct).reshape(&features.size()[..2]);
        for (name, counts) in [
            (DIVERSITY, correct.ones_like()),
            (DIVERSITY_CORRECT, correct),
        ] {
            if let Some(value) = diversity(&features, &counts) {
                metrics.insert(name.to_owned(), Statistic::of(vec![value]));
            }
        }
    }
    metrics
}

/// Mean of `1 - cosine` over the pairs of a prompt's images, of unit `features [S, N, E]`, that both count (`[S, N]`, 1 or
/// 0); none without such a pair.
fn diversity(features: &Tensor, counts: &Tensor) -> Option<f64> {
    let by_prompt = features.to_kind(Dtype::Double).transpose(0, 1); // [N, S, E]
    let distances: Tensor = 1.0 - by_prompt.bmm(&by_prompt.transpose(1, 2));
    let counts = counts.transpose(0, 1).unsqueeze(-1); // [N, S, 1]
    let pairs = counts.bmm(&counts.transpose(1, 2)).tril(-1);
    let num = pairs.sum(Dtype::Double).double_value(&[]);
    let sum = (distances * pairs).sum(Dtype::Double).double_value(&[]);
    (num > 0.0).then_some(sum / num)
}

/// NaN without any.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(kind: Kind, correct: bool, world_clip: f64) -> ImageScore {
        ImageScore {
            prompt: 0,
            seed: 0,
            kind,
            caption: String::new(),
            correct,
            reason: String::new(),
            well_formed: correct,
            world_clip,
            preference: 0.0,
            preference_heldout: 1.0,
            saturation: 0.0,
            high_frequency: 0.0,
        }
    }

    #[test]
    fn kinds_weigh_the_same_however_many_images_they_have() {
        let scores = [
            score(Kind::Colors, true, 0.5),
            score(Kind::Counting, false, 0.25),
            score(Kind::Counting, true, 0.0),
            score(Kind::Counting, false, 0.25),
        ];
        let metrics = of_scores(&scores, 4);
        let value = |name: &str| metrics[name].mean;
        assert!((value("geneval/counting") - 1.0 / 3.0).abs() < 1e-12);
        assert!((value(OVERALL) - 2.0 / 3.0).abs() < 1e-12);
        assert!((value("world_clip") - 0.25).abs() < 1e-12);
        assert!(!metrics.contains_key("geneval/position"));
        let seeds = of_scores(&scores, 2);
        assert_eq!(seeds["geneval/counting"].per_seed, [0.0, 0.5]);
        assert_eq!(seeds["world_clip"].per_seed, [0.375, 0.125]);
    }

    #[test]
    fn diversity_is_the_mean_over_pairs() {
        // Three seeds, two prompts: e1, e1, e2 (distances 0, 1, 1) and e1, -e1, e2 (2, 1, 1).
        let features =
            Tensor::from_slice(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        let features = features.reshape([3, 2, 2]);
        let of =
            |counts: [f64; 6]| diversity(&features, &Tensor::from_slice(&counts).reshape([3, 2]));
        let is =
            |value: Option<f64>, expected: f64| (value.expect("pairs") - expected).abs() < 1e-12;
        assert!(is(of([1.0; 6]), 1.0));
        // Of the first prompt the first two images, of the second all but the last: 0 and 2.
        assert!(is(of([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]), 1.0));
        assert!(is(of([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), 0.5));
        assert_eq!(of([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), None);
    }

    #[test]
    fn the_diversity_of_correct_images_counts_those_that_the_judge_finds_correct() {
        // The images above; scores are seed by seed, as features are.
        let seed = |values: [f64; 4]| Tensor::from_slice(&values).reshape([2, 2]);
        let features = [
            seed([1.0, 0.0, 1.0, 0.0]),
            seed([1.0, 0.0, -1.0, 0.0]),
            seed([0.0, 1.0, 0.0, 1.0]),
        ];
        let correct = [true, false, true, true, false, true];
        let scores = correct.map(|correct| score(Kind::Colors, correct, 0.0));
        let metrics = of_features(&features, &scores, &Gaussian::fit(&features[0]));
        assert!((metrics[DIVERSITY].mean - 1.0).abs() < 1e-12);
        assert!((metrics[DIVERSITY_CORRECT].mean - 0.5).abs() < 1e-12);
    }
}
