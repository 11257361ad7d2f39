//! Captions in GenEval's wording.

use crate::prompt::{Clause, Relation};

/// Numbers that captions use, from one.
pub(crate) const NUMBERS: [&str; 4] = ["one", "two", "three", "four"];

/// Names of the objects and colours that ids stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) objects: &'a [&'static str],
    pub(crate) colors: &'a [&'static str],
}

/// "a" or "an".
fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// The plural of an object's name: the last word changes.
pub(crate) fn plural(name: &str) -> String {
    match name {
        "person" => "people".into(),
        "knife" => "knives".into(),
        "computer mouse" => "computer mice".into(),
        "sheep" | "skis" | "scissors" | "broccoli" => name.into(),
        "toothbrush" | "wine glass" | "bus" | "couch" | "sandwich" => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

impl Names<'_> {
    /// "a red apple", "two dogs".
    pub(crate) fn phrase(&self, clause: &Clause) -> String {
        let object = self.objects[clause.object.0];
        let noun = if clause.count == 1 {
            object.to_owned()
        } else {
            plural(object)
        };
        let noun = match clause.color {
            Some(color) => format!("{} {noun}", self.colors[color.0]),
            None => noun,
        };
        match clause.count {
            1 => format!("{} {noun}", article(&noun)),
            count => format!("{} {noun}", NUMBERS[count - 1]),
        }
    }

    /// The whole caption: "a photo of a red apple and a blue bus", "a photo of a dog left of a cat".
    pub(crate) fn caption(&self, include: &[Clause], relation: Option<Relation>) -> String {
        let joint = relation.map_or(" and ".to_owned(), |relation| {
            format!(" {} ", relation.phrase())
        });
        let phrases: Vec<String> = include.iter().map(|clause| self.phrase(clause)).collect();
        format!("a photo of {}", phrases.join(&joint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{ColorId, ObjectId};

    const NAMES: Names = Names {
        objects: &["dog", "apple", "bus", "knife", "tv"],
        colors: &["red", "orange"],
    };

    fn clause(object: usize, count: usize, color: Option<usize>) -> Clause {
        Clause {
            object: ObjectId(object),
            count,
            color: color.map(ColorId),
        }
    }

    #[test]
    fn captions_are_worded_as_in_geneval() {
        let caption = |include: &[Clause], relation| NAMES.caption(include, relation);
        assert_eq!(caption(&[clause(0, 1, None)], None), "a photo of a dog");
        assert_eq!(
            caption(&[clause(1, 1, None), clause(4, 1, None)], None),
            "a photo of an apple and a tv"
        );
        assert_eq!(caption(&[clause(2, 2, None)], None), "a photo of two buses");
        assert_eq!(
            caption(&[clause(3, 4, None)], None),
            "a photo of four knives"
        );
        assert_eq!(
            caption(&[clause(1, 1, Some(0))], None),
            "a photo of a red apple"
        );
        assert_eq!(
            caption(
                &[clause(0, 1, None), clause(1, 1, None)],
                Some(Relation::LeftOf)
            ),
            "a photo of a dog left of an apple"
        );
        assert_eq!(
            caption(&[clause(0, 1, Some(1)), clause(2, 1, Some(0))], None),
            "a photo of an orange dog and a red bus"
        );
    }
}
