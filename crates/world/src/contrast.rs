//! Prompts that differ from a given one in exactly one fact: hard negatives for contrastive and preference training.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    World,
    prompt::{ColorId, ObjectId, Prompt, Split},
    random::{Stream, generator},
    split::{MAX_COUNT, MIN_COUNT},
};

impl World {
    /// A prompt of the same kind and split that is false of every scene of `prompt`: another object, colour or count,
    /// colours exchanged, or the relation turned round. A pure function of its arguments.
    pub fn contrast(&self, split: Split, prompt: &Prompt, seed: u64) -> Prompt {
        let mut rng = generator(Stream::Contrast, [seed]);
        // Ends: every object, colour, count and relation occurs in every kind of every split's prompts or in the
        // fallback below, which exchanges an object within the split's own list.
        for _ in 0..64 {
            let mut include = prompt.include.clone();
            let mut relation = prompt.relation;
            let which = rng.random_range(0..include.len());
            match rng.random_range(0..3) {
                0 => include[which].object = self.other_object(prompt, &mut rng),
                1 if include[which].count > 1 => {
                    let range = MAX_COUNT - MIN_COUNT + 1;
                    let step = rng.random_range(1..range);
                    include[which].count =
                        MIN_COUNT + (include[which].count - MIN_COUNT + step) % range;
                }
                1 if relation.is_some() => relation = relation.map(crate::Relation::inverse),
                1 | 2 if include[which].color.is_some() => {
                    if include.len() == 2 && rng.random_bool(0.5) {
                        let exchanged = include[0].color;
                        include[0].color = include[1].color;
                        include[1].color = exchanged;
                    } else {
                        let color = self.other_color(prompt, &mut rng);
                        include[which].color = Some(color);
                    }
                }
                _ => continue,
            }
            if self.is_in(split, prompt.kind, &(include.clone(), relation)) {
                return self.worded(prompt.kind, (include, relation));
            }
        }
        let listed = self.prompts(split, prompt.kind);
        let first = rng.random_range(0..listed.len());
        (0..listed.len())
            .map(|offset| &listed[(first + offset) % listed.len()])
            .find(|other| other.include[0].object != prompt.include[0].object)
            .unwrap_or(&listed[first])
            .clone()
    }

    fn other_object(&self, prompt: &Prompt, rng: &mut ChaCha8Rng) -> ObjectId {
        loop {
            let object = ObjectId(rng.random_range(0..self.objects().len()));
            if prompt.include.iter().all(|clause| clause.object != object) {
                return object;
            }
        }
    }

    fn other_color(&self, prompt: &Prompt, rng: &mut ChaCha8Rng) -> ColorId {
        loop {
            let color = ColorId(rng.random_range(0..self.colors().len()));
            if prompt
                .include
                .iter()
                .all(|clause| clause.color != Some(color))
            {
                return color;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmdr_config::WorldPreset;

    #[test]
    fn one_fact_differs_and_the_split_is_kept() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        for split in [Split::Train, Split::Validation, Split::Test] {
            for index in 0..300 {
                let prompt = world.prompt(split, 3, index);
                let other = world.contrast(split, &prompt, index);
                assert_eq!(prompt.kind, other.kind);
                assert_ne!(prompt.caption, other.caption);
                assert!(
                    world.prompts(split, prompt.kind).contains(&other),
                    "{}",
                    other.caption
                );
                assert_eq!(other, world.contrast(split, &prompt, index));
            }
        }
    }
}
