//! What an image of a prompt must show: a line of the official `evaluation_metadata.jsonl`.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use dmdr_prompts::{FileError, check, json_lines};
use serde::{Deserialize, Serialize};

use super::classes;

/// A prompt and its checks. Fields are in the order of the official file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Which task the prompt belongs to; it decides the confidence threshold.
    pub tag: Tag,
    /// All of these must hold.
    pub include: Vec<Include>,
    /// None of these may be exceeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Exclude>,
    /// The caption.
    pub prompt: String,
}

/// The six tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "names of the benchmark")]
pub enum Tag {
    SingleObject,
    TwoObject,
    Counting,
    Colors,
    Position,
    ColorAttr,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleObject => "single_object",
            Self::TwoObject => "two_object",
            Self::Counting => "counting",
            Self::Colors => "colors",
            Self::Position => "position",
            Self::ColorAttr => "color_attr",
        })
    }
}

/// Objects that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Include {
    /// One of [`CLASSES`](super::CLASSES).
    pub class: String,
    /// At least how many, from 1. The checks below look at this many, the most confident ones.
    pub count: usize,
    /// Their colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
    /// Where they are relative to the objects of an earlier clause, given by its place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<(Relation, usize)>,
}

/// Objects of which there must be fewer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// One of [`CLASSES`](super::CLASSES).
    pub class: String,
    /// From how many on the image is wrong, from 1.
    pub count: usize,
}

/// The ten colours that the official classifier chooses from, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of colours")]
pub enum Color {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    White,
}

impl Color {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::White,
    ];
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::Black => "black",
            Self::White => "white",
        })
    }
}

/// Where one object is relative to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    #[serde(rename = "left of")]
    LeftOf,
    #[serde(rename = "right of")]
    RightOf,
    #[serde(rename = "above")]
    Above,
    #[serde(rename = "below")]
    Below,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
        })
    }
}

impl Metadata {
    /// Reads a file like the official `prompts/evaluation_metadata.jsonl`, in its order.
    ///
    /// # Errors
    /// A line that is not metadata, holds no prompt, names an unknown class, counts to 0, points at a later clause, or
    /// was there before.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Self>, FileError> {
        let path = path.as_ref();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for (line, metadata) in json_lines::read::<Self>(path)? {
            metadata
                .check()
                .map_err(|message| FileError::line(path, line, message))?;
            // The summary counts prompts by their metadata, as the official one does: a twin would vanish there.
            if !seen.insert(metadata.clone()) {
                return Err(FileError::line(
                    path,
                    line,
                    "the same line was there before",
                ));
            }
            all.push(metadata);
        }
        Ok(all)
    }

    fn check(&self) -> Result<(), String> {
        check(&self.prompt).map_err(|fault| format!("the prompt: {fault}"))?;
        let included = self
            .include
            .iter()
            .map(|clause| (&clause.class, clause.count));
        let excluded = self
            .exclude
            .iter()
            .map(|clause| (&clause.class, clause.count));
        for (class, count) in included.chain(excluded) {
            classes::check(class)?;
            if count == 0 {
                return Err(format!("the count of `{class}` must be at least 1"));
            }
        }
        for (place, clause) in self.include.iter().enumerate() {
            if clause.position.is_some_and(|(_, group)| group >= place) {
                let class = &clause.class;
                return Err(format!(
                    "the position of `{class}` must point at an earlier clause"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Vec<Metadata>, String> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("metadata.jsonl");
        fs::write(&path, text).expect("written");
        Metadata::read(path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_goes_to_metadata_and_back() {
        let lines = concat!(
            r#"{"tag":"counting","include":[{"class":"cow","count":2}],"exclude":[{"class":"cow","count":3}],"prompt":"two cows"}"#,
            "\n\n",
            r#"{"tag":"position","include":[{"class":"cow","count":1},{"class":"tv","count":1,"color":"red","position":["left of",0]}],"prompt":"a red tv left of a cow"}"#,
            "\n",
        );
        let read = read(lines).expect("valid");
        assert_eq!(read[0].exclude[0].count, 3);
        assert_eq!(read[1].include[1].position, Some((Relation::LeftOf, 0)));
        assert_eq!(json_lines::render(&read), lines.replace("\n\n", "\n"));
    }

    /// Editors of Windows write a byte order mark, and two characters to end a line; files of several are joined.
    #[test]
    fn marks_and_line_ends_change_nothing() {
        let line = |class: &str| {
            let include = format!(r#"[{{"class":"{class}","count":1}}]"#);
            format!(r#"{{"tag":"single_object","include":{include},"prompt":"a {class}"}}"#)
        };
        let (cow, dog) = (line("cow"), line("dog"));
        let expected = read(&format!("{cow}\n{dog}\n")).expect("valid");
        assert_eq!((expected.len(), expected[1].prompt.as_str()), (2, "a dog"));
        for text in [
            format!("\u{FEFF}{cow}\n{dog}\n"),
            format!("\u{FEFF}{cow}\r\n\u{FEFF}{dog}"),
            format!("{cow}\r{dog}\r"),
            format!("{cow} \r\n\r\n{dog}\r\n\r\n"),
        ] {
            assert_eq!(read(&text).expect("valid"), expected, "{text:?}");
        }
        for (prompt, expected) in [("a \\u0000", "holds a NUL"), (" \\t", "empty")] {
            let error = read(&cow.replace("a cow", prompt)).expect_err(expected);
            assert!(
                error.contains("line 1: the prompt: ") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn wrong_lines_are_refused_with_their_number() {
        let line =
            |clause: &str| format!(r#"{{"tag":"colors","include":[{clause}],"prompt":"a"}}"#);
        for (clause, expected) in [
            (r#"{"class":"cow","count":0}"#, "at least 1"),
            (r#"{"class":"mouse","count":1}"#, "`computer mouse`"),
            (r#"{"class":"emu","count":1}"#, "not one of GenEval's 80"),
            (
                r#"{"class":"cow","count":1,"colour":"red"}"#,
                "unknown field `colour`",
            ),
            (
                r#"{"class":"cow","count":1,"color":"beige"}"#,
                "unknown variant `beige`",
            ),
            (
                r#"{"class":"cow","count":1,"position":["above",0]}"#,
                "an earlier clause",
            ),
            (r#"{"class":"cow","count":1}"#, "was there before"),
        ] {
            let first = line(r#"{"class":"cow","count":1}"#);
            let error = read(&format!("{first}\n{}\n", line(clause))).expect_err(clause);
            assert!(
                error.contains("line 2: ") && error.contains(expected),
                "{error}"
            );
        }
    }
}
