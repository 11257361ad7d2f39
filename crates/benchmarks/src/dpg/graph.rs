//! The questions of DPG-Bench (arXiv 2403.05135) as its `dpg_bench.csv` has them, several rows an item.

use std::collections::HashMap;
use std::path::Path;

use csv::StringRecord;
use dmdr_prompts::{FileError, text};

use super::{DpgError, Quirks};

/// All items with their questions, read under certain [`Quirks`], by which they are also scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Items in the order of the file.
    pub items: Vec<Item>,
    /// How to count.
    pub quirks: Quirks,
}

/// A prompt and what an image of it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, which is that of the image file without ending.
    pub id: String,
    /// The dense caption.
    pub prompt: String,
    /// Questions in the order of the file.
    pub questions: Vec<Question>,
}

/// A question that an image should get a yes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number within the item.
    pub id: i64,
    /// Numbers of the questions that must be answered with yes for this one to make sense.
    pub parents: Vec<i64>,
    /// Detailed category, such as `attribute - color`: the official scorer takes the tuple up to its parenthesis.
    pub category: String,
    /// The question in words.
    pub text: String,
}

impl Question {
    /// Category of the first level: entity, attribute, relation, global or other.
    pub fn broad_category(&self) -> &str {
        broad(&self.category)
    }
}

/// The part of a detailed category before its dash.
pub(super) fn broad(category: &str) -> &str {
    category.split('-').next().unwrap_or_default().trim()
}

/// The columns that are read; the official file has three more.
const COLUMNS: [&str; 6] = [
    "item_id",
    "text",
    "proposition_id",
    "dependency",
    "tuple",
    "question_natural_language",
];

impl Graph {
    /// Reads a file like `dpg_bench.csv`.
    ///
    /// # Errors
    /// A missing column, a row of another width, a number that is none; unless they may pass, an item in two places, a
    /// question twice, and a parent that is not there.
    pub fn read(path: impl AsRef<Path>, quirks: Quirks) -> Result<Self, DpgError> {
        let path = path.as_ref();
        let wrong = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            match error.into_kind() {
                csv::ErrorKind::Io(source) => FileError::io("read", path)(source),
                csv::ErrorKind::UnequalLengths {
                    len, expected_len, ..
                } => FileError::line(
                    path,
                    line,
                    format!("{len} fields, the header has {expected_len}"),
                ),
                other => FileError::line(path, line, format!("{other:?}")),
            }
        };
        let mut reader = csv::Reader::from_reader(text::open(path)?);
        let header = reader.headers().map_err(wrong)?;
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            let found = header.iter().position(|name| name == column);
            *place = found.ok_or_else(|| DpgError::NoColumn {
                path: path.to_owned(),
                column,
            })?;
        }
        let mut builder = Builder::new(quirks);
        for (record, row) in reader.records().zip(0..) {
            let record = record.map_err(wrong)?;
            if row == 0 && quirks.first_row_lost {
                continue;
            }
            let line = record.position().map_or(1, csv::Position::line);
            Row::new(&record, places)
                .and_then(|row| builder.add(row))
                .map_err(|message| FileError::line(path, line, message))?;
        }
        builder.finish()
    }
}

struct Row {
    item: String,
    prompt: String,
    question: Question,
}

impl Row {
    fn new(record: &StringRecord, places: [usize; COLUMNS.len()]) -> Result<Self, String> {
        let [item, prompt, id, dependency, tuple, text] = places.map(|place| &record[place]);
        let number = |text: &str| {
            let number = text.trim().parse();
            number.map_err(|_| format!("`{text}` is not the number of a question"))
        };
        let parents: Vec<i64> = dependency
            .split(',')
            .map(number)
            .collect::<Result<_, _>>()?;
        let category = tuple.split('(').next().unwrap_or_default().trim();
        Ok(Self {
            item: item.to_owned(),
            prompt: prompt.to_owned(),
            question: Question {
                id: number(id)?,
                // 0 says that there is no parent.
                parents: parents.into_iter().filter(|&parent| parent != 0).collect(),
                category: category.to_owned(),
                text: text.to_owned(),
            },
        })
    }
}

/// Items in the making.
struct Builder {
    items: Vec<Item>,
    places: HashMap<String, usize>,
    /// The item of the last row: its rows follow one another.
    current: Option<usize>,
    quirks: Quirks,
}

impl Builder {
    fn new(quirks: Quirks) -> Self {
        Self {
            items: Vec::new(),
            places: HashMap::new(),
            current: None,
            quirks,
        }
    }

    fn add(&mut self, row: Row) -> Result<(), String> {
        let known = self.places.get(&row.item).copied();
        let place = match known {
            Some(place) if self.current == Some(place) => place,
            Some(_) if !self.quirks.defects_pass => {
                return Err(format!(
                    "item `{}` was there before, in another place",
                    row.item
                ));
            }
            Some(place) => {
                self.items[place].questions.clear();
                place
            }
            None => {
                self.places.insert(row.item.clone(), self.items.len());
                self.items.push(Item {
                    id: row.item,
                    prompt: row.prompt,
                    questions: Vec::new(),
                });
                self.items.len() - 1
            }
        };
        self.current = Some(place);
        let questions = &mut self.items[place].questions;
        let id = row.question.id;
        match questions.iter_mut().find(|question| question.id == id) {
            Some(_) if !self.quirks.defects_pass => {
                return Err(format!("the item had a question {id} before"));
            }
            Some(question) => *question = row.question,
            None => questions.push(row.question),
        }
        Ok(())
    }

    fn finish(self) -> Result<Graph, DpgError> {
        let Self { items, quirks, .. } = self;
        if !quirks.defects_pass {
            items.iter().try_for_each(Item::check)?;
        }
        Ok(Graph { items, quirks })
    }
}

impl Item {
    /// Every parent is a question.
    fn check(&self) -> Result<(), DpgError> {
        for question in &self.questions {
            for parent in &question.parents {
                if !self.questions.iter().any(|other| other.id == *parent) {
                    return Err(DpgError::MissingParent {
                        item: self.id.clone(),
                        question: question.id,
                        parent: *parent,
                    });
                }
            }
        }
        Ok(())
    }
}
