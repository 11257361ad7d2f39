//! The prompts of a world: drawn at random or listed, by split and kind.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    World,
    caption::Names,
    prompt::{Clause, ColorId, Kind, ObjectId, Prompt, Relation, Split},
    random::{Stream, generator},
    split::{MAX_COUNT, MIN_COUNT},
};

/// What a caption asks for, before it is worded.
type Request = (Vec<Clause>, Option<Relation>);

impl World {
    /// The `index`-th prompt of a split: a pure function of its arguments. The kinds take turns, so each is as frequent
    /// as any other; within a kind, all prompts of the split are equally likely.
    pub fn prompt(&self, split: Split, seed: u64, index: u64) -> Prompt {
        let kind = Kind::ALL[(index % Kind::ALL.len() as u64) as usize];
        self.prompt_of(kind, split, seed, index)
    }

    /// The `index`-th prompt of a split if it is to be of this kind; all prompts of the kind are equally likely.
    pub fn prompt_of(&self, kind: Kind, split: Split, seed: u64, index: u64) -> Prompt {
        let mut rng = generator(Stream::Prompt, [seed, split as u64, index]);
        // Ends: every kind has prompts in every split (tested for every preset).
        loop {
            let request = self.draw(kind, &mut rng);
            if self.is_in(split, kind, &request) {
                return self.worded(kind, request);
            }
        }
    }

    /// Every prompt of a kind in a split, each once, in a fixed order.
    pub fn prompts(&self, split: Split, kind: Kind) -> Vec<Prompt> {
        let requests = self
            .list(kind)
            .into_iter()
            .filter(|request| self.is_in(split, kind, request));
        requests.map(|request| self.worded(kind, request)).collect()
    }

    pub(crate) fn is_in(&self, split: Split, kind: Kind, (include, relation): &Request) -> bool {
        kind == Kind::SingleObject || self.splits().of(include, *relation) == Some(split)
    }

    pub(crate) fn worded(&self, kind: Kind, (include, relation): Request) -> Prompt {
        let names = Names {
            objects: self.objects(),
            colors: self.colors(),
        };
        Prompt {
            kind,
            caption: names.caption(&include, relation),
            include,
            relation,
        }
    }

    /// A request of this kind, out of all splits.
    fn draw(&self, kind: Kind, rng: &mut ChaCha8Rng) -> Request {
        let num_objects = self.objects().len();
        let first = rng.random_range(0..num_objects);
        let second = (first + rng.random_range(1..num_objects)) % num_objects;
        let num_colors = self.colors().len();
        let color = rng.random_range(0..num_colors);
        let other_color = (color + rng.random_range(1..num_colors)) % num_colors;
        let count = rng.random_range(MIN_COUNT..=MAX_COUNT);
        let relation = Relation::ALL.choose(rng).copied();
        match kind {
            Kind::SingleObject => (vec![clause(first, 1, None)], None),
            Kind::TwoObject => (vec![clause(first, 1, None), clause(second, 1, None)], None),
            Kind::Counting => (vec![clause(first, count, None)], None),
            Kind::Colors => (vec![clause(first, 1, Some(color))], None),
            Kind::Position => (
                vec![clause(first, 1, None), clause(second, 1, None)],
                relation,
            ),
            Kind::ColorAttr => (
                vec![
                    clause(first, 1, Some(color)),
                    clause(second, 1, Some(other_color)),
                ],
                None,
            ),
        }
    }

    /// Every request of this kind, out of all splits.
    fn list(&self, kind: Kind) -> Vec<Request> {
        let (num_objects, num_colors) = (self.objects().len(), self.colors().len());
        let objects = || 0..num_objects;
        let pairs =
            || objects().flat_map(move |a| objects().filter(move |&b| a != b).map(move |b| (a, b)));
        let colors = || 0..num_colors;
        let color_pairs =
            || colors().flat_map(move |c| colors().filter(move |&d| c != d).map(move |d| (c, d)));
        let two = |a, b| vec![clause(a, 1, None), clause(b, 1, None)];
        match kind {
            Kind::SingleObject => objects()
                .map(|a| (vec![clause(a, 1, None)], None))
                .collect(),
            Kind::TwoObject => pairs().map(|(a, b)| (two(a, b), None)).collect(),
            Kind::Counting => objects()
                .flat_map(|a| {
                    (MIN_COUNT..=MAX_COUNT).map(move |count| (vec![clause(a, count, None)], None))
                })
                .collect(),
            Kind::Colors => objects()
                .flat_map(|a| colors().map(move |c| (vec![clause(a, 1, Some(c))], None)))
                .collect(),
            Kind::Position => pairs()
                .flat_map(|(a, b)| Relation::ALL.map(|relation| (two(a, b), Some(relation))))
                .collect(),
            Kind::ColorAttr => pairs()
                .flat_map(|(a, b)| {
                    color_pairs().map(move |(c, d)| {
                        (vec![clause(a, 1, Some(c)), clause(b, 1, Some(d))], None)
                    })
                })
                .collect(),
        }
    }
}

fn clause(object: usize, count: usize, color: Option<usize>) -> Clause {
    Clause {
        object: ObjectId(object),
        count,
        color: color.map(ColorId),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use dmdr_config::WorldPreset;

    const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// Every combination in a prompt, in words that do not depend on order: objects with colours, objects with counts,
    /// pairs of objects, relations, and pairs of coloured objects.
    fn combinations(prompt: &Prompt) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for clause in &prompt.include {
            if let Some(color) = clause.color {
                found.insert(format!("object {} colour {}", clause.object.0, color.0));
            }
            if clause.count > 1 {
                found.insert(format!("object {} count {}", clause.object.0, clause.count));
            }
        }
        if let [first, second] = prompt.include[..] {
            let (a, b) = (
                first.object.0.min(second.object.0),
                first.object.0.max(second.object.0),
            );
            found.insert(format!("objects {a} {b}"));
            if let Some(relation) = prompt.relation {
                let told_from_a = if first.object.0 == a {
                    relation
                } else {
                    relation.inverse()
                };
                found.insert(format!("object {a} {told_from_a:?} {b}"));
            }
            if first.color.is_some() {
                let (c, d) = if first.object < second.object {
                    (first, second)
                } else {
                    (second, first)
                };
                found.insert(format!(
                    "{:?} {:?} {:?} {:?}",
                    c.object, c.color, d.object, d.color
                ));
            }
        }
        found
    }

    fn all_prompts(world: &World, split: Split) -> Vec<Prompt> {
        Kind::ALL
            .into_iter()
            .flat_map(|kind| world.prompts(split, kind))
            .collect()
    }

    #[test]
    fn no_training_caption_contains_a_held_out_combination() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let training: BTreeSet<String> = all_prompts(&world, Split::Train)
            .iter()
            .flat_map(combinations)
            .collect();
        let mut captions: BTreeMap<String, Split> = BTreeMap::new();
        for split in [Split::Validation, Split::Test] {
            for prompt in all_prompts(&world, split)
                .iter()
                .filter(|prompt| prompt.kind != Kind::SingleObject)
            {
                assert!(
                    !combinations(prompt).is_subset(&training),
                    "{}",
                    prompt.caption
                );
                assert_eq!(
                    captions.insert(prompt.caption.clone(), split),
                    None,
                    "{}",
                    prompt.caption
                );
            }
        }
        for prompt in all_prompts(&world, Split::Train) {
            assert!(
                !captions.contains_key(&prompt.caption),
                "{}",
                prompt.caption
            );
        }
    }

    #[test]
    fn validation_and_test_hold_out_different_combinations() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let of = |split| -> BTreeSet<String> {
            all_prompts(&world, split)
                .iter()
                .flat_map(combinations)
                .collect()
        };
        let (train, validation, test) = (of(Split::Train), of(Split::Validation), of(Split::Test));
        let new_in_test: BTreeSet<&String> = test.difference(&train).collect();
        let new_in_validation: BTreeSet<&String> = validation.difference(&train).collect();
        assert!(new_in_test.is_disjoint(&new_in_validation));
    }

    #[test]
    fn every_word_is_trained_and_every_split_has_prompts_of_every_kind() {
        for preset in [WorldPreset::Mini, WorldPreset::Geneval] {
            let world = World::new(preset).expect("the drawings are valid");
            for kind in [
                Kind::SingleObject,
                Kind::TwoObject,
                Kind::Counting,
                Kind::Colors,
                Kind::Position,
            ] {
                for split in SPLITS {
                    assert!(
                        world.prompts(split, kind).len() >= 6,
                        "{preset:?} {split:?} {kind:?}"
                    );
                }
                let train = world.prompts(Split::Train, kind);
                let objects: BTreeSet<_> = train
                    .iter()
                    .flat_map(|p| &p.include)
                    .map(|clause| clause.object)
                    .collect();
                assert_eq!(objects.len(), world.objects().len(), "{preset:?} {kind:?}");
            }
        }
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        for split in SPLITS {
            assert!(world.prompts(split, Kind::ColorAttr).len() >= 6);
        }
        let train = all_prompts(&world, Split::Train);
        let colors: BTreeSet<_> = train
            .iter()
            .flat_map(|p| &p.include)
            .filter_map(|clause| clause.color)
            .collect();
        let counts: BTreeSet<_> = train
            .iter()
            .flat_map(|p| &p.include)
            .map(|clause| clause.count)
            .collect();
        let relations: BTreeSet<_> = train.iter().filter_map(|p| p.relation).collect();
        assert_eq!(
            (colors.len(), counts.len(), relations.len()),
            (world.colors().len(), MAX_COUNT, Relation::ALL.len())
        );
    }

    #[test]
    fn drawn_prompts_are_those_of_the_list_and_depend_on_nothing_else() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        for split in SPLITS {
            let listed: BTreeSet<String> = all_prompts(&world, split)
                .into_iter()
                .map(|p| p.caption)
                .collect();
            for index in 0..300 {
                let prompt = world.prompt(split, 7, index);
                assert_eq!(prompt.kind, Kind::ALL[index as usize % 6]);
                assert!(listed.contains(&prompt.caption), "{}", prompt.caption);
                assert_eq!(prompt, world.prompt(split, 7, index));
                world
                    .tokenizer()
                    .encode(&prompt.caption)
                    .expect("every word is known");
            }
        }
        let other = World::new(WorldPreset::Geneval).expect("the drawings are valid");
        for index in 0..600 {
            let prompt = other.prompt(Split::Test, 7, index);
            other
                .tokenizer()
                .encode(&prompt.caption)
                .expect("every word is known");
        }
    }
}
