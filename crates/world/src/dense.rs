//! Dense prompts: several sentences about three or four kinds of objects, and the questions that DPG-Bench would ask.
//!
//! DPG-Bench (arXiv 2403.05135) asks a graph of yes-or-no questions: a question about an attribute, a count or a relation
//! depends on the questions whether its objects are there. Here the graph is exact, because the caption is made from it.

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    Scene, World,
    caption::{NUMBERS, Names, plural},
    layout::Constraint,
    prompt::{Clause, ColorId, ObjectId, Relation, Split},
    random::{Stream, generator, text_hash},
};

/// Kinds of objects in a dense prompt.
const NUM_CLAUSES: std::ops::RangeInclusive<usize> = 3..=4;
/// Relations in a dense prompt, at most.
const MAX_RELATIONS: usize = 2;
/// Probability that a kind of object has a colour.
const COLOR_PROB: f64 = 0.6;
/// Probability that one kind of object is there twice.
const TWO_PROB: f64 = 0.5;

/// What a question asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// At least one of this object is there.
    Entity(ObjectId),
    /// The objects of this kind have this colour; as many as the prompt asks for, the most confident ones.
    Attribute(ObjectId, ColorId, usize),
    /// Exactly so many of this object are there.
    Count(ObjectId, usize),
    /// The first object has this relation to the second.
    Relation(ObjectId, Relation, ObjectId),
}

/// A yes-or-no question about an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// In words.
    pub text: String,
    /// What has to be true for a yes.
    pub fact: Fact,
    /// Earlier questions of the same prompt (places in its list) without which this one is pointless.
    pub parents: Vec<usize>,
}

/// A caption of several sentences and its questions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DensePrompt {
    /// The text.
    pub caption: String,
    /// What must be there, one clause per kind of object.
    pub include: Vec<Clause>,
    /// Relations between clauses (places in `include`), each of a single object.
    pub relations: Vec<(usize, Relation, usize)>,
    /// Questions, parents before children.
    pub questions: Vec<Question>,
}

/// What a dense caption says, before it is worded.
struct Request {
    include: Vec<Clause>,
    relations: Vec<(usize, Relation, usize)>,
}

impl World {
    /// Side of the square images of dense scenes in pixels.
    pub fn dense_canvas(&self) -> usize {
        self.table().dense_canvas
    }

    /// The `index`-th dense prompt of a split: a pure function of its arguments. The splits are those of the short prompts:
    /// every pair, colour, count and relation in the caption counts.
    pub fn dense_prompt(&self, split: Split, seed: u64, index: u64) -> DensePrompt {
        let mut rng = generator(Stream::DensePrompt, [seed, split as u64, index]);
        // Ends: among random captions of this size, more than one in a hundred is in each split (tested).
        loop {
            let request = self.draw_dense(&mut rng);
            if self
                .splits()
                .of_several(&request.include, &request.relations)
                == Some(split)
            {
                return self.word_dense(request);
            }
        }
    }

    /// A random scene that a dense prompt describes, on the larger canvas: a pure function of its arguments.
    ///
    /// # Panics
    /// When the prompt asks for more than the canvas can hold; no prompt of the same world does.
    pub fn dense_scene(&self, prompt: &DensePrompt, seed: u64) -> Scene {
        let mut rng = generator(
            Stream::DenseScene,
            [text_hash(Stream::DenseScene, &prompt.caption), seed],
        );
        let first_item = |clause: usize| {
            prompt.include[..clause]
                .iter()
                .map(|clause| clause.count)
                .sum()
        };
        let constraints: Vec<Constraint> = prompt
            .relations
            .iter()
            .map(|&(first, relation, second)| Constraint {
                first: first_item(first),
                relation,
                second: first_item(second),
            })
            .collect();
        let sizes = self.table().sizes_for(1);
        self.compose(
            self.dense_canvas(),
            sizes,
            &prompt.include,
            &constraints,
            &mut rng,
        )
        .expect("every dense prompt of a world fits its canvas")
    }

    /// Three or four kinds of objects, at most one of them twice; one or two relations between single ones.
    fn draw_dense(&self, rng: &mut ChaCha8Rng) -> Request {
        let num = rng.random_range(NUM_CLAUSES);
        let mut objects: Vec<usize> = (0..self.objects().len()).collect();
        let (objects, _) = objects.partial_shuffle(rng, num);
        let mut include: Vec<Clause> = objects
            .iter()
            .map(|&object| {
                let color = rng.random_range(0..self.colors().len());
                let color = rng.random_bool(COLOR_PROB).then_some(ColorId(color));
                Clause {
                    object: ObjectId(object),
                    count: 1,
                    color,
                }
            })
            .collect();
        if rng.random_bool(TWO_PROB) {
            include[rng.random_range(0..num)].count = 2;
        }
        let mut single: Vec<usize> = (0..num)
            .filter(|&clause| include[clause].count == 1)
            .collect();
        single.shuffle(rng);
        // A chain of different objects never contradicts itself; two equal relations would need a row of three.
        let mut kinds = Relation::ALL;
        kinds.shuffle(rng);
        let num_relations = rng.random_range(1..=MAX_RELATIONS.min(single.len() - 1));
        let relations = single
            .windows(2)
            .zip(kinds)
            .take(num_relations)
            .map(|(pair, relation)| (pair[0], relation, pair[1]))
            .collect();
        Request { include, relations }
    }

    fn word_dense(&self, Request { include, relations }: Request) -> DensePrompt {
        let names = Names {
            objects: self.objects(),
            colors: self.colors(),
        };
        let object = |clause: usize| self.objects()[include[clause].object.0];
        let mut phrases: Vec<String> = include.iter().map(|clause| names.phrase(clause)).collect();
        let last = phrases.pop().unwrap_or_default();
        let mut caption = format!("a photo of {} and {last}.", phrases.join(", "));
        for &(first, relation, second) in &relations {
            let (first, second) = (object(first), object(second));
            caption.extend([
                " the ",
                first,
                " is ",
                relation.phrase(),
                " the ",
                second,
                ".",
            ]);
        }
        let questions = self.questions(&include, &relations);
        DensePrompt {
            caption,
            include,
            relations,
            questions,
        }
    }

    /// Entities first, then what depends on them.
    fn questions(
        &self,
        include: &[Clause],
        relations: &[(usize, Relation, usize)],
    ) -> Vec<Question> {
        let name = |clause: &Clause| self.objects()[clause.object.0];
        let entity = |clause: &Clause| Question {
            text: format!(
                "is there {}?",
                Names {
                    objects: self.objects(),
                    colors: &[]
                }
                .phrase(&Clause {
                    count: 1,
                    color: None,
                    ..*clause
                })
            ),
            fact: Fact::Entity(clause.object),
            parents: Vec::new(),
        };
        let mut questions: Vec<Question> = include.iter().map(entity).collect();
        for (parent, clause) in include.iter().enumerate() {
            let parents = vec![parent];
            if clause.count > 1 {
                let text = format!(
                    "are there {} {}?",
                    NUMBERS[clause.count - 1],
                    plural(name(clause))
                );
                questions.push(Question {
                    text,
                    fact: Fact::Count(clause.object, clause.count),
                    parents: parents.clone(),
                });
            }
            if let Some(color) = clause.color {
                let noun = if clause.count > 1 {
                    plural(name(clause))
                } else {
                    name(clause).to_owned()
                };
                let verb = if clause.count > 1 { "are" } else { "is" };
                let text = format!("{verb} the {noun} {}?", self.colors()[color.0]);
                questions.push(Question {
                    text,
                    fact: Fact::Attribute(clause.object, color, clause.count),
                    parents,
                });
            }
        }
        for &(first, relation, second) in relations {
            let (a, b) = (&include[first], &include[second]);
            let text = format!("is the {} {} the {}?", name(a), relation.phrase(), name(b));
            let fact = Fact::Relation(a.object, relation, b.object);
            questions.push(Question {
                text,
                fact,
                parents: vec![first, second],
            });
        }
        questions
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Judge;
    use dmdr_config::WorldPreset;

    const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    #[test]
    fn dense_prompts_are_reproducible_and_have_words_and_a_graph() {
        for preset in [WorldPreset::Mini, WorldPreset::Geneval] {
            let world = World::new(preset).expect("the drawings are valid");
            for (split, index) in SPLITS
                .into_iter()
                .flat_map(|split| (0..50).map(move |index| (split, index)))
            {
                let prompt = world.dense_prompt(split, 5, index);
                assert_eq!(prompt, world.dense_prompt(split, 5, index));
                world
                    .tokenizer()
                    .encode(&prompt.caption)
                    .expect("every word is known");
                for (place, question) in prompt.questions.iter().enumerate() {
                    assert!(
                        question.parents.iter().all(|&parent| parent < place),
                        "{}",
                        prompt.caption
                    );
                    let is_entity = matches!(question.fact, Fact::Entity(_));
                    assert_eq!(question.parents.is_empty(), is_entity, "{}", question.text);
                }
                let num_sprites: usize = prompt.include.iter().map(|clause| clause.count).sum();
                assert!((3..=5).contains(&num_sprites));
            }
        }
    }

    #[test]
    fn splits_share_no_dense_caption() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let captions = |split| -> BTreeSet<String> {
            (0..400)
                .map(|index| world.dense_prompt(split, 0, index).caption)
                .collect()
        };
        let [train, validation, test] = SPLITS.map(captions);
        assert!(
            train.is_disjoint(&validation)
                && train.is_disjoint(&test)
                && validation.is_disjoint(&test)
        );
        assert!(train.len() > 300);
    }

    #[test]
    fn true_dense_scenes_answer_every_question_with_yes() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        for index in 0..60 {
            let prompt = world.dense_prompt(Split::Test, 1, index);
            let image = world.render(&world.dense_scene(&prompt, index));
            assert_eq!(image.width, world.dense_canvas());
            let answers = judge.answers(&image, &prompt);
            assert!(
                (answers.score - 1.0).abs() < 1e-6,
                "{} {:?}",
                prompt.caption,
                answers.yes
            );
        }
    }
}
