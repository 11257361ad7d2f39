//! Judging the judge: right prompts, wrong prompts and malformed images, where the truth is known.

use std::fmt::Write;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Defect, Disturbance, Judge, Kind, ObjectId, Prompt, Split, World,
    caption::Names,
    prompt::{ColorId, Relation},
    random::{Stream, generator},
    split::{MAX_COUNT, MIN_COUNT},
};

/// How often the judge was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Right verdicts.
    pub right: usize,
    /// All verdicts.
    pub total: usize,
}

impl Rate {
    fn count(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.total += 1;
    }

    /// Right verdicts over all, in `[0, 1]`; 1 when there are none.
    pub fn value(&self) -> f64 {
        if self.total == 0 {
            1.0
        } else {
            self.right as f64 / self.total as f64
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} % ({}/{})",
            100.0 * self.value(),
            self.right,
            self.total
        )
    }
}

/// One way in which a prompt is wrong about the scene it is judged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Another object.
    Object,
    /// Another colour.
    Color,
    /// Another number.
    Count,
    /// The opposite relation, or the other axis.
    Relation,
    /// The two colours exchanged.
    Exchange,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Object,
        Self::Color,
        Self::Count,
        Self::Relation,
        Self::Exchange,
    ];

    /// A prompt with this mistake; `None` where the kind of prompt cannot have it.
    fn introduce(self, world: &World, prompt: &Prompt, rng: &mut ChaCha8Rng) -> Option<Prompt> {
        let mut include = prompt.include.clone();
        let mut relation = prompt.relation;
        let place = rng.random_range(0..include.len());
        match self {
            Self::Object => {
                let is_used = |id| {
                    prompt
                        .include
                        .iter()
                        .any(|clause| clause.object == ObjectId(id))
                };
                let others: Vec<usize> = (0..world.objects().len())
                    .filter(|&id| !is_used(id))
                    .collect();
                include[place].object = ObjectId(others[rng.random_range(0..others.len())]);
            }
            Self::Color => {
                let ColorId(color) = include[place].color?;
                let num = world.colors().len();
                include[place].color = Some(ColorId((color + rng.random_range(1..num)) % num));
            }
            Self::Count => {
                let count = (prompt.kind == Kind::Counting).then_some(include[0].count)?;
                let others: Vec<usize> = (MIN_COUNT..=MAX_COUNT)
                    .filter(|&other| other != count)
                    .collect();
                include[0].count = others[rng.random_range(0..others.len())];
            }
            Self::Relation => {
                let others: Vec<Relation> = Relation::ALL
                    .into_iter()
                    .filter(|&other| Some(other) != relation)
                    .collect();
                relation = relation.map(|_| others[rng.random_range(0..others.len())]);
                relation?;
            }
            Self::Exchange => {
                let (first, second) = (include[0].color?, include.get(1)?.color?);
                (include[0].color, include[1].color) = (Some(second), Some(first));
            }
        }
        let names = Names {
            objects: world.objects(),
            colors: world.colors(),
        };
        Some(Prompt {
            kind: prompt.kind,
            caption: names.caption(&include, relation),
            include,
            relation,
        })
    }
}

/// How often the judge is right about a world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Accepted true scenes, by kind in the order of [`Kind::ALL`].
    pub accepted: [Rate; 6],
    /// Rejected wrong prompts, by mistake in the order of [`Mistake::ALL`].
    pub rejected: [Rate; 5],
    /// Rejected malformed images, by defect in the order of [`Defect::ALL`].
    pub malformed: [Rate; 5],
    /// How often an object (row) was seen as another (column) in scenes with one object; the last column counts those seen as nothing or as several things.
    pub confusion: Vec<Vec<usize>>,
}

impl Audit {
    /// Judges `num` scenes, taken from the three splits in turn, each with its own prompt and every wrong one. `disturbance`
    /// changes the images before the judge sees them.
    pub fn of_scenes(
        world: &World,
        judge: &Judge,
        disturbance: Option<Disturbance>,
        num: u64,
    ) -> Self {
        let num_objects = world.objects().len();
        let mut audit = Self {
            confusion: vec![vec![0; num_objects + 1]; num_objects],
            ..Self::default()
        };
        for index in 0..num {
            let mut rng = generator(Stream::Audit, [index]);
            let split = [Split::Test, Split::Validation, Split::Train][(index / 6 % 3) as usize];
            let prompt = world.prompt(split, 0, index);
            let mut image = world.render(&world.scene(&prompt, index));
            if let Some(disturbance) = disturbance {
                image = disturbance.apply(&image, index);
            }
            let reading = judge.read(&image);
            audit.accepted[prompt.kind as usize].count(judge.verdict_of(&reading, &prompt).correct);
            for (rate, mistake) in audit.rejected.iter_mut().zip(Mistake::ALL) {
                if let Some(wrong) = mistake.introduce(world, &prompt, &mut rng) {
                    rate.count(!judge.verdict_of(&reading, &wrong).correct);
                }
            }
            if let [clause] = prompt.include[..]
                && clause.count == 1
            {
                let seen = if let [one] = reading.detections[..] {
                    one.object.0
                } else {
                    num_objects
                };
                audit.confusion[clause.object.0][seen] += 1;
            }
        }
        audit
    }

    /// Judges `num` images of every defect.
    #[must_use]
    pub fn with_malformed(mut self, world: &World, judge: &Judge, num: u64) -> Self {
        for index in 0..num {
            let kind = [Kind::SingleObject, Kind::Colors][(index % 2) as usize];
            let prompt = world.prompt(
                Split::Train,
                1,
                index * Kind::ALL.len() as u64 + kind as u64,
            );
            let scene = world.scene(&prompt, index);
            for (rate, defect) in self.malformed.iter_mut().zip(Defect::ALL) {
                let image = defect.spoil(world, &scene, index);
                rate.count(!judge.verdict(&image, &prompt).correct);
            }
        }
        self
    }

    /// All right prompts together.
    pub fn accepted_rate(&self) -> Rate {
        sum(&self.accepted)
    }

    /// All wrong prompts together.
    pub fn rejected_rate(&self) -> Rate {
        sum(&self.rejected)
    }

    /// Every confusion: what was drawn, what was seen, how often.
    pub fn confusions(&self, world: &World) -> Vec<(&'static str, &'static str, usize)> {
        let names = world.objects();
        let name = |id: usize| names.get(id).copied().unwrap_or("no single object");
        let cells = self.confusion.iter().enumerate();
        let cells = cells.flat_map(|(drawn, row)| {
            row.iter()
                .enumerate()
                .map(move |(seen, &n)| (drawn, seen, n))
        });
        cells
            .filter(|&(drawn, seen, n)| n > 0 && drawn != seen)
            .map(|(a, b, n)| (name(a), name(b), n))
            .collect()
    }

    /// The confusions as a Markdown table; rows are what was drawn.
    pub fn confusion_table(&self, world: &World) -> String {
        let mut text = format!("| drawn | {} | none |\n", world.objects().join(" | "));
        let _ = writeln!(
            text,
            "|---{}",
            "|---".repeat(world.objects().len() + 1) + "|"
        );
        for (name, row) in world.objects().iter().zip(&self.confusion) {
            let cells: Vec<String> = row
                .iter()
                .map(|&n| if n == 0 { String::new() } else { n.to_string() })
                .collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text
    }
}

fn sum(rates: &[Rate]) -> Rate {
    rates.iter().fold(Rate::default(), |all, rate| Rate {
        right: all.right + rate.right,
        total: all.total + rate.total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmdr_config::WorldPreset;

    #[test]
    fn true_scenes_are_accepted_and_wrong_prompts_rejected() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let audit = Audit::of_scenes(&world, &Judge::new(&world), None, 600);
        for (kind, rate) in Kind::ALL.into_iter().zip(audit.accepted) {
            assert!(rate.total == 100 && rate.value() >= 0.99, "{kind:?} {rate}");
        }
        for (mistake, rate) in Mistake::ALL.into_iter().zip(audit.rejected) {
            assert!(
                rate.total >= 100 && rate.value() >= 0.99,
                "{mistake:?} {rate}"
            );
        }
        assert_eq!(audit.confusions(&world), []);
    }

    #[test]
    fn slightly_disturbed_scenes_are_accepted() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        let disturbances = [
            Disturbance::Blur(0.6),
            Disturbance::Noise(0.05),
            Disturbance::Jpeg(85),
            Disturbance::Scale(0.95),
            Disturbance::Scale(1.05),
            Disturbance::Shift(0.5, 0.5),
        ];
        for disturbance in disturbances {
            let audit = Audit::of_scenes(&world, &judge, Some(disturbance), 240);
            assert!(
                audit.accepted_rate().value() >= 0.97,
                "{disturbance} {}",
                audit.accepted_rate()
            );
            assert!(
                audit.rejected_rate().value() >= 0.99,
                "{disturbance} {}",
                audit.rejected_rate()
            );
        }
    }

    #[test]
    fn malformed_objects_do_not_count() {
        // Half a mixture is the object itself: the mildest of the defects.
        const EXPECTED: [f64; 5] = [0.97, 0.97, 0.97, 0.85, 0.97];
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let audit = Audit::default().with_malformed(&world, &Judge::new(&world), 100);
        for ((defect, rate), expected) in Defect::ALL.into_iter().zip(audit.malformed).zip(EXPECTED)
        {
            assert!(
                rate.total == 100 && rate.value() >= expected,
                "{defect:?} {rate}"
            );
        }
    }

    #[test]
    fn the_larger_world_is_judged_as_well() {
        let world = World::new(WorldPreset::Geneval).expect("the drawings are valid");
        let audit = Audit::of_scenes(&world, &Judge::new(&world), None, 120);
        assert!(
            audit.accepted_rate().value() >= 0.99,
            "{}",
            audit.accepted_rate()
        );
        assert!(
            audit.rejected_rate().value() >= 0.99,
            "{}",
            audit.rejected_rate()
        );
    }
}
