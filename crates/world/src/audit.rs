//! Judging the judge: right prompts, wrong prompts and malformed images, where the truth is known.

use std::fmt::Write;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Disturbance, Image, Judge, Kind, ObjectId, Prompt, Scene, Split, World,
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

/// One way in which a prompt differs from the scene it is judged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
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

impl Error {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Object,
        Self::Color,
        Self::Count,
        Self::Relation,
        Self::Exchange,
    ];

    /// A prompt with this error; `None` where the kind of prompt cannot have it.
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

/// A way to spoil an image so that its objects are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Gaussian blur with a standard deviation of a sixth of the smallest sprite's side.
    Blur,
    /// Only the left part of every object is there.
    Half,
    /// The left half is one object, the right half another.
    Chimera,
    /// The mean of one object and another at the same place.
    Mixture,
    /// The pixels of blocks of a fifth of the smallest sprite's side exchanged with their neighbours.
    Shuffle,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Blur,
        Self::Half,
        Self::Chimera,
        Self::Mixture,
        Self::Shuffle,
    ];

    /// A spoilt image of a scene with one object.
    fn spoil(self, world: &World, scene: &Scene, rng: &mut ChaCha8Rng) -> Image {
        let good = world.render(scene);
        let empty = world.render(&Scene {
            items: Vec::new(),
            ..scene.clone()
        });
        let mut other = scene.clone();
        for item in &mut other.items {
            item.object = ObjectId(
                (item.object.0 + rng.random_range(1..world.objects().len()))
                    % world.objects().len(),
            );
        }
        let other = world.render(&other);
        let smallest = world.table().size_limits().0;
        let middle = world.bounds(&scene.items[0]).centre().0 as usize;
        let select = |source: &dyn Fn(usize, usize) -> [f32; 3]| {
            let mut image = good.clone();
            for at in 0..image.width * image.height {
                let (x, y) = (at % image.width, at / image.width);
                image.set_pixel(x, y, source(x, y));
            }
            image
        };
        match self {
            Self::Blur => Disturbance::Blur(smallest as f32 / 6.0).apply(&good, 0),
            Self::Half => select(&|x, y| {
                if x < middle {
                    good.pixel(x, y)
                } else {
                    empty.pixel(x, y)
                }
            }),
            Self::Chimera => select(&|x, y| {
                if x < middle {
                    good.pixel(x, y)
                } else {
                    other.pixel(x, y)
                }
            }),
            Self::Mixture => select(&|x, y| {
                let (a, b) = (good.pixel(x, y), other.pixel(x, y));
                std::array::from_fn(|c| f32::midpoint(a[c], b[c]))
            }),
            Self::Shuffle => {
                let block = smallest / 5;
                let swap = |v: usize, side: usize| {
                    if (v ^ block) < side / block * block {
                        v ^ block
                    } else {
                        v
                    }
                };
                select(&|x, y| good.pixel(swap(x, good.width), swap(y, good.height)))
            }
        }
    }
}

/// How often the judge is right about a world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Accepted true scenes, by kind in the order of [`Kind::ALL`].
    pub accepted: [Rate; 6],
    /// Rejected wrong prompts, by error in the order of [`Error::ALL`].
    pub rejected: [Rate; 5],
    /// Rejected malformed images, by defect in the order of [`Defect::ALL`].
    pub malformed: [Rate; 5],
    /// How often an object (row) was seen as another (column) in scenes with one object; the last column counts those seen as nothing or as several things.
    pub confusion: Vec<Vec<usize>>,
}

impl Audit {
    /// Judges `num` scenes of the test split, each with its own prompt and every wrong one. `disturbance` changes the
    /// images before the judge sees them.
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
            let prompt = world.prompt(Split::Test, 0, index);
            let mut image = world.render(&world.scene(&prompt, index));
            if let Some(disturbance) = disturbance {
                image = disturbance.apply(&image, index);
            }
            let reading = judge.read(&image);
            audit.accepted[prompt.kind as usize].count(judge.verdict_of(&reading, &prompt).correct);
            for (rate, error) in audit.rejected.iter_mut().zip(Error::ALL) {
                if let Some(wrong) = error.introduce(world, &prompt, &mut rng) {
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
            let mut rng = generator(Stream::Audit, [index, 1]);
            let kind = [Kind::SingleObject, Kind::Colors][(index % 2) as usize];
            let prompt = world.prompt(
                Split::Train,
                1,
                index * Kind::ALL.len() as u64 + kind as u64,
            );
            let scene = world.scene(&prompt, index);
            for (rate, defect) in self.malformed.iter_mut().zip(Defect::ALL) {
                let image = defect.spoil(world, &scene, &mut rng);
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
