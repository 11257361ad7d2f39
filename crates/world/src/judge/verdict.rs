//! GenEval's verdict over what the judge detects.

use serde::{Deserialize, Serialize};

use crate::{
    Image,
    caption::{Names, plural},
    geometry::Bounds,
    prompt::{Clause, Kind, Prompt},
};

use super::{Detection, Judge, Reading};

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
    pub(crate) fn is_malformed(&self, reading: &Reading) -> bool {
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
