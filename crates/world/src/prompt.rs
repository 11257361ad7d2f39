//! What a caption asks for: GenEval's six kinds and its `include` clauses.

use serde::{Deserialize, Serialize};

/// An object of a world, by its place in `World::objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub usize);

/// A colour of a world, by its place in `World::colors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColorId(pub usize);

/// Which prompts: training prompts never contain a combination that validation or test prompts ask for.
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Prompts the networks were trained on.
    Train,
    /// For decisions.
    Validation,
    /// For results.
    Test,
}

/// GenEval's task kinds (its `tag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// "a photo of a cat"
    SingleObject,
    /// "a photo of a cat and a car"
    TwoObject,
    /// "a photo of three cats"
    Counting,
    /// "a photo of a blue car"
    Colors,
    /// "a photo of a cat left of a car"
    Position,
    /// "a photo of a red cat and a blue car"
    ColorAttr,
}

impl Kind {
    /// All kinds, in GenEval's order.
    pub const ALL: [Self; 6] = [
        Self::SingleObject,
        Self::TwoObject,
        Self::Counting,
        Self::Colors,
        Self::Position,
        Self::ColorAttr,
    ];

    /// GenEval's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleObject => "single_object",
            Self::TwoObject => "two_object",
            Self::Counting => "counting",
            Self::Colors => "colors",
            Self::Position => "position",
            Self::ColorAttr => "color_attr",
        }
    }
}

/// Where the first object lies, seen from the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Smaller x.
    LeftOf,
    /// Larger x.
    RightOf,
    /// Smaller y: y grows downwards.
    Above,
    /// Larger y.
    Below,
}

impl Relation {
    /// All relations.
    pub const ALL: [Self; 4] = [Self::LeftOf, Self::RightOf, Self::Above, Self::Below];

    /// GenEval's wording.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// The same fact told from the second object.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }
}

/// GenEval's `include` clause: so many of this object, in this colour if one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Clause {
    /// The object.
    pub object: ObjectId,
    /// How many.
    pub count: usize,
    /// In which colour; `None` leaves it open.
    pub color: Option<ColorId>,
}

/// A caption and what makes an image of it correct.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prompt {
    /// GenEval's task kind.
    pub kind: Kind,
    /// The text, in GenEval's wording.
    pub caption: String,
    /// What must be there, one clause per object.
    pub include: Vec<Clause>,
    /// Where the first clause's object lies, seen from the second clause's.
    pub relation: Option<Relation>,
}
