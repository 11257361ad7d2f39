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

/// Names of the metrics whose means over all images an evaluation gives, whatever their kind.
pub fn image_metrics() -> impl Iterator<Item = &'static str> {
    MEANS.into_iter().map(|(name, _)| name)
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

/// Metrics of features `[N, E]`, one tensor a seed, unit length, images of the same prompts in the same order.
pub(crate) fn of_features(features: &[Tensor], truth: &Gaussian) -> BTreeMap<String, Statistic> {
    let mut metrics = BTreeMap::new();
    if features.iter().all(|features| features.size()[0] > 1) {
        let distance = |features| Gaussian::fit(features).frechet_distance(truth);
        let per_seed = features.iter().map(distance).collect();
        metrics.insert("world_frechet".to_owned(), Statistic::of(per_seed));
    }
    if features.len() > 1 {
        let value = diversity(&Tensor::stack(features, 0));
        metrics.insert("diversity".to_owned(), Statistic::of(vec![value]));
    }
    metrics
}

/// Mean of `1 - cosine` over pairs of seeds and prompts, of unit `features [S, N, E]`.
///
/// Of n unit vectors f, the cosines of all ordered pairs sum to `|sum f|^2 - n`.
fn diversity(features: &Tensor) -> f64 {
    let num = features.size()[0] as f64;
    let sum = features
        .to_kind(Dtype::Double)
        .sum_dim_intlist(&[0i64][..], false, Dtype::Double);
    let squares = sum
        .square()
        .sum_dim_intlist(&[-1i64][..], false, Dtype::Double); // [N]
    let cosine = (squares - num) / (num * (num - 1.0));
    1.0 - cosine.mean(Dtype::Double).double_value(&[])
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
        let value = diversity(&features.reshape([3, 2, 2]));
        assert!((value - 1.0).abs() < 1e-12, "{value}");
    }
}
