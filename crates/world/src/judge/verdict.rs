//! GenEval's verdict over what the judge detects.

use dmdr_image::Image;
use serde::{Deserialize, Serialize};

use super::{Detection, Judge, Reading};
use crate::{
    caption::{Names, plural},
    geometry::Bounds,
    prompt::{Clause, Kind, Prompt},
};

/// Part of the smallest sprite's square that may remain unexplained in a correct image.
const MAX_UNEXPLAINED: f32 = 0.15;

/// Whether an image shows what a prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it does.
    pub correct: bool,
    /// What is wrong first; empty when nothing is.
    pub reason: String,
}

impl Verdict {
    fn from_reasons(reason: Option<String>) -> Self {
        Self {
            correct: reason.is_none(),
            reason: reason.unwrap_or_default(),
        }
    }
}

impl Judge {
    /// Looks at an image and compares it with a prompt.
    pub fn verdict(&self, image: &Image, prompt: &Prompt) -> Verdict {
        self.verdict_of(&self.read(image), prompt)
    }

    /// Compares what was seen with a prompt.
    ///
    /// GenEval's rules: every clause needs `count` objects of its class, of which the most confident must have its colour;
    /// a counting prompt allows no more than `count`; a relation must hold between all boxes of both clauses.
    /// Deviation: an image with much that is neither background nor an object is wrong, whatever else it shows.
    pub fn verdict_of(&self, reading: &Reading, prompt: &Prompt) -> Verdict {
        Verdict::from_reasons(self.flaw(reading, prompt))
    }

    fn flaw(&self, reading: &Reading, prompt: &Prompt) -> Option<String> {
        if self.is_malformed(reading) {
            return Some(format!("{} pixels are no object", reading.unexplained));
        }
        let mut boxes: Vec<Vec<Bounds>> = Vec::new();
        for clause in &prompt.include {
            let all: Vec<&Detection> = reading
                .detections
                .iter()
                .filter(|found| found.object == clause.object)
                .collect();
            let (wanted, found) = (self.phrase(clause), self.counted(clause, all.len()));
            if all.len() < clause.count
                || (prompt.kind == Kind::Counting && all.len() > clause.count)
            {
                return Some(format!("expected {wanted}, found {found}"));
            }
            let best = &all[..clause.count];
            if let Some(wrong) = best
                .iter()
                .find(|found| clause.color.is_some() && found.color != clause.color)
            {
                let color = wrong
                    .color
                    .map_or("its own colours", |color| self.colors[color.0]);
                return Some(format!("expected {wanted}, found {color}"));
            }
            boxes.push(best.iter().map(|found| found.bounds).collect());
        }
        let relation = prompt.relation?;
        let [first, second] = &boxes[..] else {
            return Some("a relation needs two objects".into());
        };
        let holds = first
            .iter()
            .all(|a| second.iter().all(|b| a.is(relation, b)));
        (!holds).then(|| format!("the first object is not {} the second", relation.phrase()))
    }

    /// Whether too much of an image is neither background nor an object.
    pub fn is_malformed(&self, reading: &Reading) -> bool {
        reading.unexplained as f32 > MAX_UNEXPLAINED * (self.smallest * self.smallest) as f32
    }

    fn phrase(&self, clause: &Clause) -> String {
        Names {
            objects: self.objects,
            colors: self.colors,
        }
        .phrase(clause)
    }

    fn counted(&self, clause: &Clause, count: usize) -> String {
        let name = self.objects[clause.object.0];
        if count == 1 {
            format!("1 {name}")
        } else {
            format!("{count} {}", plural(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ColorId, ObjectId, Relation, World};
    use dmdr_config::WorldPreset;

    const RED: Option<ColorId> = Some(ColorId(0));
    const GREEN: Option<ColorId> = Some(ColorId(3));

    fn detection(object: usize, color: Option<ColorId>, x: f32, score: f32) -> Detection {
        let bounds = Bounds {
            x,
            y: 5.0,
            width: 10.0,
            height: 10.0,
        };
        Detection {
            object: ObjectId(object),
            color,
            bounds,
            score,
        }
    }

    fn clause(object: usize, count: usize, color: Option<ColorId>) -> Clause {
        Clause {
            object: ObjectId(object),
            count,
            color,
        }
    }

    fn reason(
        kind: Kind,
        include: &[Clause],
        relation: Option<Relation>,
        detections: &[Detection],
    ) -> String {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let prompt = Prompt {
            kind,
            caption: String::new(),
            include: include.to_vec(),
            relation,
        };
        let reading = Reading {
            detections: detections.to_vec(),
            unexplained: 0,
        };
        let verdict = Judge::new(&world).verdict_of(&reading, &prompt);
        assert_eq!(verdict.correct, verdict.reason.is_empty());
        verdict.reason
    }

    #[test]
    fn counting_is_exact_and_other_kinds_allow_more() {
        let found = [
            detection(1, None, 0.0, 0.9),
            detection(1, None, 12.0, 0.8),
            detection(2, None, 24.0, 0.7),
        ];
        let two = [clause(1, 2, None)];
        assert_eq!(reason(Kind::Counting, &two, None, &found), "");
        assert_eq!(
            reason(Kind::Counting, &two, None, &found[..1]),
            "expected two apples, found 1 apple"
        );
        assert_eq!(
            reason(Kind::Counting, &[clause(1, 3, None)], None, &found),
            "expected three apples, found 2 apples"
        );
        let three = [found[0], found[1], detection(1, None, 24.0, 0.7)];
        assert_eq!(
            reason(Kind::Counting, &two, None, &three),
            "expected two apples, found 3 apples"
        );
        assert_eq!(
            reason(Kind::SingleObject, &[clause(1, 1, None)], None, &found),
            ""
        );
    }

    #[test]
    fn the_most_confident_box_must_have_the_colour() {
        let found = [detection(1, GREEN, 0.0, 0.9), detection(1, RED, 12.0, 0.8)];
        assert_eq!(
            reason(Kind::Colors, &[clause(1, 1, GREEN)], None, &found),
            ""
        );
        assert_eq!(
            reason(Kind::Colors, &[clause(1, 1, RED)], None, &found),
            "expected a red apple, found green"
        );
        let natural = [detection(1, None, 0.0, 0.9)];
        assert_eq!(
            reason(Kind::Colors, &[clause(1, 1, RED)], None, &natural),
            "expected a red apple, found its own colours"
        );
    }

    #[test]
    fn relations_are_seen_from_the_second_object() {
        let found = [detection(1, None, 0.0, 0.9), detection(2, None, 20.0, 0.8)];
        let both = [clause(1, 1, None), clause(2, 1, None)];
        assert_eq!(
            reason(Kind::Position, &both, Some(Relation::LeftOf), &found),
            ""
        );
        for wrong in [Relation::RightOf, Relation::Above, Relation::Below] {
            let expected = format!("the first object is not {} the second", wrong.phrase());
            assert_eq!(reason(Kind::Position, &both, Some(wrong), &found), expected);
        }
    }

    #[test]
    fn much_that_is_no_object_is_wrong_and_specks_are_not() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        let prompt = world.prompt(crate::Split::Train, 0, 0);
        let mut image = world.render(&world.scene(&prompt, 1));
        let free = judge.detect(&image)[0].bounds;
        let corner = if free.x > 12.0 { 1 } else { 25 };
        for at in 0..4 {
            image.set_pixel(corner + at % 2, 1 + at / 2, [1.0; 3]);
        }
        assert!(judge.verdict(&image, &prompt).correct);
        for at in 0..36 {
            image.set_pixel(corner + at % 6, 1 + at / 6, [1.0; 3]);
        }
        assert!(
            judge
                .verdict(&image, &prompt)
                .reason
                .ends_with("pixels are no object")
        );
    }

    #[test]
    fn strange_images_are_judged_without_a_panic() {
        let world = World::new(WorldPreset::Mini).expect("the drawings are valid");
        let judge = Judge::new(&world);
        let prompt = world.prompt(crate::Split::Train, 0, 0);
        let images = [
            Image::filled(32, 32, [0.2; 3]),
            Image::filled(1, 1, [0.2; 3]),
            Image::filled(32, 32, [f32::NAN; 3]),
            Image::filled(7, 40, [f32::INFINITY; 3]),
            crate::Disturbance::Noise(0.5).apply(&Image::filled(32, 32, [0.5; 3]), 0),
        ];
        for image in images {
            assert!(!judge.verdict(&image, &prompt).correct);
        }
    }

    #[test]
    fn the_judge_can_be_shared_between_threads() {
        fn assert_shared<T: Send + Sync>() {}
        assert_shared::<Judge>();
        assert_shared::<World>();
    }
}
