//! GenEval's rules (arXiv 2310.11513, appendix; `evaluation/evaluate_images.py`): detections of one image to a verdict.
//!
//! Where the official scorer leaves an order to chance, this one fixes it: of equally confident detections the later
//! one comes first, and two relations are named in the order of [`Relation`]. Only the first can change a verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::position::relations;
use super::{Color, Detection, Exclude, Include, Metadata, Relation, Tag};

/// The numbers of the rules; the default is the official one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rules {
    /// A detection counts only above this confidence.
    pub threshold: f32,
    /// The same for counting prompts.
    pub counting_threshold: f32,
    /// At most so many detections a class, the most confident ones. Overlapping ones are kept: there is no suppression.
    pub max_objects: usize,
    /// Part of both extents by which an offset is shortened before it names a relation.
    pub position_shrink: f32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: 0.3,
            counting_threshold: 0.9,
            max_objects: 16,
            position_shrink: 0.1,
        }
    }
}

/// Whether an image shows what its prompt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// All clauses hold.
    pub correct: bool,
    /// The official scorer's words for each that does not, one a line.
    pub reason: String,
}

/// A prompt asks for a colour that nobody classified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("detection {rank} of `{class}` by confidence has no `color`, but the prompt names one")]
pub struct MissingColor {
    /// The class.
    pub class: String,
    /// Place among the detections of its class, from 1.
    pub rank: usize,
}

/// The detections of each class that count, most confident first.
pub(super) type Kept<'a> = BTreeMap<&'a str, Vec<&'a Detection>>;

/// The objects that fulfilled a clause; none if it failed.
type Group<'a> = Option<Vec<&'a Detection>>;

impl Rules {
    /// Judges one image.
    ///
    /// # Errors
    /// A colour is asked for and a detection that decides has none.
    pub fn verdict(
        &self,
        metadata: &Metadata,
        detections: &[Detection],
    ) -> Result<Verdict, MissingColor> {
        let kept = self.kept(metadata.tag, detections);
        let mut groups: Vec<Group> = Vec::new();
        let mut reasons = Vec::new();
        for clause in &metadata.include {
            let (group, reason) = self.include(clause, &kept, &groups)?;
            groups.push(group);
            reasons.extend(reason);
        }
        reasons.extend(
            metadata
                .exclude
                .iter()
                .filter_map(|clause| exclude(clause, &kept)),
        );
        Ok(Verdict {
            correct: reasons.is_empty(),
            reason: reasons.join("\n"),
        })
    }

    /// Places of the detections whose colour decides and is not told: of each clause that names one, those of the
    /// `count` most confident objects, if there are so many.
    pub fn uncolored(&self, metadata: &Metadata, detections: &[Detection]) -> Vec<usize> {
        let kept = self.kept(metadata.tag, detections);
        let clauses = metadata.include.iter();
        let decisive: Vec<&Detection> = clauses
            .filter(|clause| clause.color.is_some())
            .filter_map(|clause| kept.get(clause.class.as_str())?.get(..clause.count))
            .flatten()
            .copied()
            .collect();
        let is_decisive = |one: &Detection| decisive.iter().any(|other| std::ptr::eq(one, *other));
        let places = detections.iter().enumerate();
        places
            .filter(|(_, one)| one.color.is_none() && is_decisive(one))
            .map(|(place, _)| place)
            .collect()
    }

    /// What passes the threshold of the task.
    pub(super) fn kept<'a>(&self, tag: Tag, detections: &'a [Detection]) -> Kept<'a> {
        let threshold = match tag {
            Tag::Counting => self.counting_threshold,
            _ => self.threshold,
        };
        let mut kept = Kept::new();
        for detection in detections
            .iter()
            .rev()
            .filter(|found| found.score > threshold)
        {
            kept.entry(&detection.class).or_default().push(detection);
        }
        for found in kept.values_mut() {
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(self.max_objects);
        }
        kept
    }

    /// The group that fulfils a clause, or why there is none.
    fn include<'a>(
        &self,
        clause: &Include,
        kept: &Kept<'a>,
        groups: &[Group],
    ) -> Result<(Group<'a>, Option<String>), MissingColor> {
        let Include { class, count, .. } = clause;
        let all = kept.get(class.as_str()).map_or(&[][..], Vec::as_slice);
        let Some(found) = all.get(..*count) else {
            let reason = format!("expected {class}>={count}, found {}", all.len());
            return Ok((None, Some(reason)));
        };
        let mut reason = match clause.color {
            Some(color) => wrong_color(clause, color, found)?,
            None => None,
        };
        if let (None, Some((relation, target))) = (&reason, clause.position) {
            reason = self.wrong_position(clause, relation, found, groups[target].as_deref());
        }
        let group = reason.is_none().then(|| found.to_vec());
        Ok((group, reason))
    }

    fn wrong_position(
        &self,
        clause: &Include,
        relation: Relation,
        found: &[&Detection],
        target: Option<&[&Detection]>,
    ) -> Option<String> {
        let class = &clause.class;
        let Some(target) = target else {
            return Some(format!("no target for {class} to be {relation}"));
        };
        let pairs = found
            .iter()
            .flat_map(|a| target.iter().map(move |b| (a, b)));
        let mut relations =
            pairs.map(|(a, b)| relations(&a.bounds, &b.bounds, self.position_shrink));
        let other = relations.find(|relations| !relations.contains(&relation))?;
        let other: Vec<String> = other.iter().map(Relation::to_string).collect();
        Some(format!(
            "expected {class} {relation} target, found {} target",
            other.join(" and ")
        ))
    }
}

fn wrong_color(
    clause: &Include,
    expected: Color,
    found: &[&Detection],
) -> Result<Option<String>, MissingColor> {
    let Include { class, count, .. } = clause;
    let mut counts: BTreeMap<Color, usize> = BTreeMap::new();
    for (detection, rank) in found.iter().zip(1..) {
        let class = || class.clone();
        let color = detection.color.ok_or_else(|| MissingColor {
            class: class(),
            rank,
        })?;
        *counts.entry(color).or_default() += 1;
    }
    let right = counts.get(&expected).copied().unwrap_or(0);
    if right >= *count {
        return Ok(None);
    }
    let mut reason =
        format!("expected {expected} {class}>={count}, found {right} {expected}; and ");
    for (place, (color, number)) in counts.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        write!(reason, "{comma}{number} {color}").expect("text takes text");
    }
    Ok(Some(reason))
}

fn exclude(clause: &Exclude, kept: &Kept) -> Option<String> {
    let Exclude { class, count } = clause;
    let found = kept.get(class.as_str()).map_or(0, Vec::len);
    (found >= *count).then(|| format!("expected {class}<{count}, found {found}"))
}

#[cfg(test)]
mod tests;
