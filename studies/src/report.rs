//! What a study is asked for and what it gives.

use dmdr_image::Image;

use crate::{
    study::{Results, Study},
    tuning::Tuning,
};

/// Seeds of published numbers start here: hyper-parameters were chosen on lower ones.
pub(crate) const FIRST_SEED: u64 = 100;

/// How much is run.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Seeds of every arm.
    pub num_seeds: u64,
    /// A rough version, to see that it works.
    pub is_quick: bool,
}

impl Effort {
    /// The seeds.
    pub(crate) fn seeds(self) -> Vec<u64> {
        self.many_seeds(1)
    }

    /// `times` as many, where runs are short and the spread hides the effect.
    pub(crate) fn many_seeds(self, times: u64) -> Vec<u64> {
        (FIRST_SEED..FIRST_SEED + times * self.num_seeds).collect()
    }
}

/// A finished study.
#[derive(Debug)]
pub struct Report {
    /// What was asked.
    pub study: Study,
    /// What was measured.
    pub results: Results,
    /// The seeds that were measured, and on which world where the worlds differ.
    pub seeds: Vec<(Option<&'static str>, Vec<u64>)>,
    /// How the settings of its arms were chosen.
    pub tuning: Vec<Tuning>,
    /// Titles and pictures.
    pub pictures: Vec<(String, Picture)>,
}

/// A picture of a page.
#[derive(Debug)]
pub enum Picture {
    /// Samples or densities.
    Pixels(Image),
    /// A chart.
    Svg(String),
}
