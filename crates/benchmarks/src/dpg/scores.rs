//! DPG-Bench's scores (`dpg_bench/compute_dpg_bench.py`), as the paper means them or as the script counts.

use std::collections::{BTreeMap, HashMap};

use dmdr_events::Statistic;
use serde::{Deserialize, Serialize};

use super::{Answers, Cascade, DpgError, Graph, ImageAnswers, Item, graph::broad};

/// All scores, each in `[0, 1]`; publications give them times 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean over items of the mean over their images of the part of questions that count.
    pub overall: f64,
    /// Part of the questions that are answered with yes, by broad category, whatever became of their parents.
    pub broad: BTreeMap<String, f64>,
    /// The same by detailed category.
    pub detailed: BTreeMap<String, f64>,
    /// Number of items in the mean.
    pub num_items: usize,
    /// Items with answers that are not in it, which the official scorer does not tell. Without defects there are none.
    pub left_out: Vec<String>,
}

/// Number of questions and of those answered with yes.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    yes: usize,
    all: usize,
}

impl Tally {
    fn add(&mut self, yes: bool) {
        self.yes += usize::from(yes);
        self.all += 1;
    }

    fn share(self) -> f64 {
        self.yes as f64 / self.all as f64
    }
}

impl Graph {
    /// Scores the answers of a model.
    ///
    /// # Errors
    /// No items at all; unless defects may pass, an item without answers, answers without an item, a missing answer.
    pub fn score(&self, answers: &Answers) -> Result<Scores, DpgError> {
        let items: HashMap<&str, &Item> = self
            .items
            .iter()
            .map(|item| (item.id.as_str(), item))
            .collect();
        if !self.quirks.defects_pass
            && let Some(item) = self
                .items
                .iter()
                .find(|item| !answers.items.contains_key(&item.id))
        {
            let item = item.id.clone();
            return Err(DpgError::Unanswered { item });
        }
        let (mut sum, mut num_items) = (0.0, 0);
        let mut detailed: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (id, images) in &answers.items {
            let scored = match items.get(id.as_str()) {
                Some(item) => self.item(item, images).map(|scored| (*item, scored)),
                None => Err(DpgError::UnknownItem { item: id.clone() }),
            };
            let (item, (score, raw)) = match scored {
                Ok(scored) => scored,
                Err(_) if self.quirks.defects_pass => {
                    left_out.push(id.clone());
                    continue;
                }
                Err(error) => return Err(error),
            };
            sum += score;
            num_items += 1;
            let first = if self.quirks.last_image_categories {
                raw.len() - 1
            } else {
                0
            };
            for image in &raw[first..] {
                for (question, &yes) in item.questions.iter().zip(image) {
                    detailed.entry(&question.category).or_default().add(yes);
                }
            }
        }
        if num_items == 0 {
            return Err(DpgError::Empty);
        }
        Ok(Scores {
            overall: sum / f64::from(num_items),
            broad: broad_shares(&detailed),
            detailed: detailed
                .into_iter()
                .map(|(name, tally)| (name.to_owned(), tally.share()))
                .collect(),
            num_items: num_items as usize,
            left_out,
        })
    }

    /// `scores`, which are of `answers`, as metrics: `dpg/overall` and every broad category. Where all items have as many
    /// images, with the value over each item's first image, second and so on; of categories if all images count for them.
    ///
    /// # Errors
    /// As for [`Self::score`].
    pub fn metrics(
        &self,
        answers: &Answers,
        scores: &Scores,
    ) -> Result<BTreeMap<String, Statistic>, DpgError> {
        let items = answers.items.iter();
        let items: Vec<_> = items
            .filter(|(id, _)| !scores.left_out.contains(id))
            .collect();
        let num_images = items.first().map_or(0, |(_, images)| images.len());
        let is_same = items.iter().all(|(_, images)| images.len() == num_images);
        let of_image = |image: usize| {
            let items = items.iter();
            let items = items.map(|&(id, images)| (id.clone(), vec![images[image].clone()]));
            let items = items.collect();
            self.score(&Answers { items })
        };
        let of_images = (0..num_images).filter(|_| is_same).map(of_image);
        let of_images: Vec<Scores> = of_images.collect::<Result<_, _>>()?;
        let statistic = |mean: f64, per_seed: Vec<f64>| match per_seed.len() {
            0 => Statistic::of(vec![mean]),
            _ => Statistic {
                mean,
                ..Statistic::of(per_seed)
            },
        };
        let overall = of_images.iter().map(|scores| scores.overall).collect();
        let overall = statistic(scores.overall, overall);
        let categories = scores.broad.iter().map(|(category, &share)| {
            let all_count = !self.quirks.last_image_categories;
            let shares = of_images.iter().filter(|_| all_count);
            let shares = shares.map(|scores| scores.broad[category]).collect();
            (format!("dpg/{category}"), statistic(share, shares))
        });
        let overall = std::iter::once(("dpg/overall".to_owned(), overall));
        Ok(overall.chain(categories).collect())
    }

    /// Mean over the images, and the answers of each as they were given.
    fn item(
        &self,
        item: &Item,
        images: &[ImageAnswers],
    ) -> Result<(f64, Vec<Vec<bool>>), DpgError> {
        if images.is_empty() || item.questions.is_empty() {
            let item = item.id.clone();
            return Err(DpgError::Unanswered { item });
        }
        let (mut sum, mut raw) = (0.0, Vec::with_capacity(images.len()));
        for (number, image) in images.iter().enumerate() {
            let answers = item.answers(number, image)?;
            let counted = item.counted(&answers, self.quirks.cascade)?;
            let num_yes = counted.iter().filter(|&&yes| yes).count();
            sum += num_yes as f64 / counted.len() as f64;
            raw.push(answers);
        }
        Ok((sum / images.len() as f64, raw))
    }
}

impl Item {
    /// Whether each question is answered with yes.
    fn answers(&self, image: usize, answers: &ImageAnswers) -> Result<Vec<bool>, DpgError> {
        let answer = |id: i64| {
            answers
                .get(&id)
                .map(|answer| answer == "yes")
                .ok_or_else(|| DpgError::MissingAnswer {
                    item: self.id.clone(),
                    image,
                    question: id,
                })
        };
        self.questions
            .iter()
            .map(|question| answer(question.id))
            .collect()
    }

    /// The answers with those set to no whose premises fail.
    fn counted(&self, answers: &[bool], cascade: Cascade) -> Result<Vec<bool>, DpgError> {
        let mut counted = answers.to_vec();
        loop {
            let num_before = counted.iter().filter(|&&yes| yes).count();
            for place in 0..counted.len() {
                if self.any_parent_fails(place, &counted)? {
                    counted[place] = false;
                }
            }
            // Going over the questions again until nothing changes reaches all dependents, in any order of the file.
            let num_after = counted.iter().filter(|&&yes| yes).count();
            if cascade == Cascade::FileOrder || num_after == num_before {
                return Ok(counted);
            }
        }
    }

    /// Parents are looked at in their order up to the first that fails, so that one that is not there may go unseen.
    fn any_parent_fails(&self, place: usize, counted: &[bool]) -> Result<bool, DpgError> {
        let question = &self.questions[place];
        for &parent in &question.parents {
            let place = self.questions.iter().position(|other| other.id == parent);
            let place = place.ok_or_else(|| DpgError::MissingParent {
                item: self.id.clone(),
                question: question.id,
                parent,
            })?;
            if !counted[place] {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn broad_shares(detailed: &BTreeMap<&str, Tally>) -> BTreeMap<String, f64> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (category, tally) in detailed {
        let sum = tallies.entry(broad(category)).or_default();
        sum.yes += tally.yes;
        sum.all += tally.all;
    }
    tallies
        .into_iter()
        .map(|(name, tally)| (name.to_owned(), tally.share()))
        .collect()
}
