//! Which combinations are for training, validation and test.
//!
//! A caption consists of *parts*: an (object, colour) pair, an unordered pair of objects, an (object, count) pair, a
//! relation between two objects, a pair of coloured objects. Every part belongs to one split by a stable hash. A caption
//! is
//! - for training when all of its parts are,
//! - for validation when at least one part is and no part is for test,
//! - for test when at least one part is and no part is for validation,
//! - unused otherwise.
//!
//! So no training caption, of whatever kind, contains a combination that is held out, and no caption is in two splits.
//! Captions of a single object have no combination; all splits share them.

use std::collections::BTreeMap;

use crate::{
    prompt::{Clause, ColorId, ObjectId, Relation, Split},
    random::{Stream, stable_hash, text_hash},
};

/// Largest number that a caption asks for.
pub(crate) const MAX_COUNT: usize = 4;
/// Smallest number that makes a counting caption.
pub(crate) const MIN_COUNT: usize = 2;
/// Part of the small tables' combinations in validation, and again in test.
const HELD_OUT: f64 = 0.1;
/// At least so many combinations of a small table are in validation, and again in test.
const MIN_HELD_OUT: usize = 6;
/// Relations and pairs of coloured objects already inherit held-out pairs; out of the rest one in 20 is in validation and one in test.
const HELD_OUT_ONE_IN: u64 = 20;

/// The split of every combination of a world.
#[derive(Debug, Clone)]
pub(crate) struct Splits {
    /// Hash per object and colour, of its name.
    object_keys: Vec<u64>,
    color_keys: Vec<u64>,
    /// By (object, colour).
    colored: BTreeMap<(usize, usize), Split>,
    /// By (object, object), the smaller id first.
    pairs: BTreeMap<(usize, usize), Split>,
    /// By (object, count).
    counts: BTreeMap<(usize, usize), Split>,
}

impl Splits {
    pub(crate) fn new(objects: &[&str], colors: &[&str]) -> Self {
        let keys = |names: &[&str]| {
            names
                .iter()
                .map(|name| text_hash(Stream::Split, name))
                .collect::<Vec<u64>>()
        };
        let (object_keys, color_keys) = (keys(objects), keys(colors));
        let all = |right: std::ops::Range<usize>| {
            (0..objects.len()).flat_map(move |left| right.clone().map(move |right| (left, right)))
        };
        let pair_hash = |&(a, b): &(usize, usize)| sorted_hash([object_keys[a], object_keys[b]]);
        Self {
            colored: assign(all(0..colors.len()), false, |&(o, c)| {
                stable_hash(Stream::Split, [object_keys[o], color_keys[c]])
            }),
            pairs: assign(
                all(0..objects.len()).filter(|(a, b)| a < b),
                true,
                pair_hash,
            ),
            counts: assign(all(MIN_COUNT..MAX_COUNT + 1), false, |&(o, n)| {
                stable_hash(Stream::Split, [object_keys[o], n as u64])
            }),
            object_keys,
            color_keys,
        }
    }

    /// The split of a caption whose relation, if any, is between its two objects; `None` for captions that no split uses
    /// and for those that all share.
    pub(crate) fn of(&self, include: &[Clause], relation: Option<Relation>) -> Option<Split> {
        let relation = relation.map(|relation| (0, relation, 1));
        self.of_several(include, relation.as_slice())
    }

    /// The split of a caption with any number of objects and relations between its clauses.
    pub(crate) fn of_several(
        &self,
        include: &[Clause],
        relations: &[(usize, Relation, usize)],
    ) -> Option<Split> {
        let mut parts = Vec::with_capacity(4);
        for (place, first) in include.iter().enumerate() {
            let object = first.object.0;
            parts.extend(
                first
                    .color
                    .map(|ColorId(color)| self.colored[&(object, color)]),
            );
            parts.extend((first.count > 1).then(|| self.counts[&(object, first.count)]));
            for second in &include[place + 1..] {
                let other = second.object.0;
                parts.push(self.pairs[&(object.min(other), object.max(other))]);
                if let (Some(c), Some(d)) = (first.color, second.color) {
                    parts.push(self.colored_pair((first.object, c), (second.object, d)));
                }
            }
        }
        for &(first, relation, second) in relations {
            parts.push(self.relation(include[first].object, relation, include[second].object));
        }
        let has = |split| parts.contains(&split);
        match (has(Split::Validation), has(Split::Test)) {
            (true, false) => Some(Split::Validation),
            (false, true) => Some(Split::Test),
            (false, false) if has(Split::Train) => Some(Split::Train),
            _ => None,
        }
    }

    /// "a left of b" and "b right of a" are one combination.
    fn relation(&self, a: ObjectId, relation: Relation, b: ObjectId) -> Split {
        let (a, relation, b) = match relation {
            Relation::LeftOf | Relation::Above => (a, relation, b),
            Relation::RightOf | Relation::Below => (b, relation.inverse(), a),
        };
        by_hash(stable_hash(
            Stream::Split,
            [
                self.object_keys[a.0],
                relation as u64,
                self.object_keys[b.0],
            ],
        ))
    }

    fn colored_pair(&self, first: (ObjectId, ColorId), second: (ObjectId, ColorId)) -> Split {
        let key = |(object, color): (ObjectId, ColorId)| {
            stable_hash(
                Stream::Split,
                [self.object_keys[object.0], self.color_keys[color.0], 0],
            )
        };
        by_hash(sorted_hash([key(first), key(second)]))
    }
}

fn sorted_hash(mut keys: [u64; 2]) -> u64 {
    keys.sort_unstable();
    stable_hash(Stream::Split, keys)
}

fn by_hash(hash: u64) -> Split {
    match hash % HELD_OUT_ONE_IN {
        0 => Split::Validation,
        1 => Split::Test,
        _ => Split::Train,
    }
}

/// Goes through the combinations in the order of their hashes and holds them out, turn by turn for validation and test,
/// as long as each of the two members keeps at least half of its combinations for training. `same_kind`: both members
/// are objects and count together.
fn assign(
    combinations: impl Iterator<Item = (usize, usize)>,
    same_kind: bool,
    hash: impl Fn(&(usize, usize)) -> u64,
) -> BTreeMap<(usize, usize), Split> {
    let mut order: Vec<(usize, usize)> = combinations.collect();
    order.sort_by_key(|combination| hash(combination));
    let members = |(a, b): (usize, usize)| [(0, a), (usize::from(!same_kind), b)];
    let mut room: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for member in order.iter().flat_map(|&combination| members(combination)) {
        *room.entry(member).or_default() += 1;
    }
    for count in room.values_mut() {
        *count /= 2;
    }
    let wanted = 2 * MIN_HELD_OUT.max((HELD_OUT * order.len() as f64).round() as usize);
    let mut held_out = 0;
    let mut splits = BTreeMap::new();
    for combination in order {
        let fits = held_out < wanted && members(combination).iter().all(|member| room[member] > 0);
        let split = match (fits, held_out % 2) {
            (false, _) => Split::Train,
            (true, 0) => Split::Validation,
            (true, _) => Split::Test,
        };
        if fits {
            held_out += 1;
            for member in members(combination) {
                *room.entry(member).or_default() -= 1;
            }
        }
        splits.insert(combination, split);
    }
    splits
}
