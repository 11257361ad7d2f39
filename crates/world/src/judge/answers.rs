//! Answers to the questions of dense prompts, and DPG-Bench's score.

use dmdr_image::Image;
use serde::{Deserialize, Serialize};

use super::{Detection, Judge, Reading};
use crate::{
    dense::{DensePrompt, Fact},
    geometry::Bounds,
    prompt::ObjectId,
};

/// Answers to all questions of one dense prompt about one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Every question on its own, whatever the answers to its parents.
    pub yes: Vec<bool>,
    /// Part of the questions that are answered with yes and whose parents are, all the way up; in `[0, 1]`.
    pub score: f32,
}

impl Answers {
    /// Scores answers as DPG-Bench does: a question counts as no when one of its parents does.
    fn new(yes: Vec<bool>, prompt: &DensePrompt) -> Self {
        let mut counted: Vec<bool> = Vec::with_capacity(yes.len());
        for (answer, question) in yes.iter().zip(&prompt.questions) {
            let is_counted = *answer && question.parents.iter().all(|&parent| counted[parent]);
            counted.push(is_counted);
        }
        let num_yes = counted.iter().filter(|&&answer| answer).count();
        let score = num_yes as f32 / counted.len().max(1) as f32;
        Self { yes, score }
    }
}

impl Judge {
    /// Looks at an image and answers the questions of a dense prompt.
    pub fn answers(&self, image: &Image, prompt: &DensePrompt) -> Answers {
        let reading = self.read(image);
        let yes = prompt
            .questions
            .iter()
            .map(|question| is_true(&reading, question.fact))
            .collect();
        Answers::new(yes, prompt)
    }
}

fn is_true(reading: &Reading, fact: Fact) -> bool {
    let of = |object: ObjectId| -> Vec<&Detection> {
        reading
            .detections
            .iter()
            .filter(|found| found.object == object)
            .collect()
    };
    match fact {
        Fact::Entity(object) => !of(object).is_empty(),
        Fact::Attribute(object, color, count) => {
            let found = of(object);
            !found.is_empty()
                && found
                    .iter()
                    .take(count)
                    .all(|found| found.color == Some(color))
        }
        Fact::Count(object, count) => of(object).len() == count,
        Fact::Relation(first, relation, second) => {
            let best = |object| of(object).first().map(|found| found.bounds);
            let holds = |a: Bounds, b: Bounds| a.is(relation, &b);
            best(first)
                .zip(best(second))
                .is_some_and(|(a, b)| holds(a, b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Split, World, prompt::ColorId};
    use dmdr_config::WorldPreset;

    #[test]
    fn a_missing_object_takes_its_dependents_with_it() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        let prompt = (0..1000)
            .map(|index| world.dense_prompt(Split::Train, 0, index))
            .find(|prompt| prompt.include[0].count == 1 && prompt.include[0].color.is_some())
            .expect("colours are frequent");
        let mut scene = world.dense_scene(&prompt, 0);
        scene.items.remove(0);
        let answers = judge.answers(&world.render(&scene), &prompt);
        let depends = |place: usize| place == 0 || prompt.questions[place].parents.contains(&0);
        for (place, &yes) in answers.yes.iter().enumerate() {
            assert_eq!(yes, !depends(place), "{}", prompt.questions[place].text);
        }
        let kept = (0..answers.yes.len())
            .filter(|&place| !depends(place))
            .count();
        assert!((answers.score - kept as f32 / answers.yes.len() as f32).abs() < 1e-6);
    }

    #[test]
    fn a_question_whose_parent_fails_counts_as_no() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let prompt = world.dense_prompt(Split::Train, 0, 0);
        let mut yes = vec![true; prompt.questions.len()];
        yes[0] = false;
        let dependents = prompt
            .questions
            .iter()
            .filter(|question| question.parents.contains(&0))
            .count();
        let expected = 1.0 - (1 + dependents) as f32 / yes.len() as f32;
        assert!((Answers::new(yes, &prompt).score - expected).abs() < 1e-6);
    }

    #[test]
    fn a_wrong_colour_costs_only_its_own_question() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        let prompt = (0..1000)
            .map(|index| world.dense_prompt(Split::Train, 9, index))
            .find(|prompt| prompt.include[0].color.is_some())
            .expect("colours are frequent");
        let mut scene = world.dense_scene(&prompt, 0);
        let wrong = scene.items[0]
            .color
            .map(|ColorId(color)| ColorId((color + 3) % world.colors().len()));
        scene
            .items
            .iter_mut()
            .take(prompt.include[0].count)
            .for_each(|item| item.color = wrong);
        let answers = judge.answers(&world.render(&scene), &prompt);
        assert_eq!(answers.yes.iter().filter(|&&yes| !yes).count(), 1);
    }
}
