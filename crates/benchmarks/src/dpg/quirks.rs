//! What the official scorer does that its paper does not say. Published numbers have all of it.

use serde::Serialize;

/// Which of the official scorer's quirks to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quirks {
    /// The first row of the questions is lost (ELLA issue #61): with it goes the first question of the first item, and,
    /// by [`defects_pass`](Self::defects_pass), mostly the whole item.
    pub first_row_lost: bool,
    /// How far a no reaches.
    pub cascade: Cascade,
    /// The scores of categories take only the last image of an item (ELLA issue #60) instead of all.
    pub last_image_categories: bool,
    /// What is wrong with the questions or answers passes without a word: an item or question that comes again replaces
    /// what was before, and an item that cannot be scored is left out. Otherwise each is an error.
    pub defects_pass: bool,
}

/// Which questions count as no because another one was answered with no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cascade {
    /// All that depend on it, directly or not: what the paper means.
    Dependents,
    /// Those that name it as a parent, in the order of the file: a no goes on only to questions further down.
    FileOrder,
}

impl Quirks {
    /// All of them: comparable with published scores.
    pub const OFFICIAL: Self = Self {
        first_row_lost: true,
        cascade: Cascade::FileOrder,
        last_image_categories: true,
        defects_pass: true,
    };

    /// None of them: what the benchmark means to measure.
    pub const NONE: Self = Self {
        first_row_lost: false,
        cascade: Cascade::Dependents,
        last_image_categories: false,
        defects_pass: false,
    };
}
