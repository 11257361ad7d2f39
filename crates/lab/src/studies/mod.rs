//! The studies, one a file, each after a table or figure of arXiv 2511.13649.

mod fig4;
mod table5;

use std::path::Path;

use dmdr_train::Observer;

use crate::{
    LabError,
    study::{Results, Study},
    units::Units,
};

/// Seeds of published numbers start here: hyper-parameters were chosen on lower ones.
const FIRST_SEED: u64 = 100;

/// A study that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lab {
    /// Modes that DMD drops and reinforcement learning covers, on the plane.
    Fig4,
    /// Distillation and reinforcement learning, apart and together, on the emoji world.
    Table5,
}

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
    pub fn seeds(self) -> Vec<u64> {
        (FIRST_SEED..FIRST_SEED + self.num_seeds).collect()
    }
}

/// A finished study.
#[derive(Debug)]
pub struct Report {
    /// What was asked.
    pub study: Study,
    /// What was measured.
    pub results: Results,
    /// Titles and pictures.
    pub pictures: Vec<(String, image::GrayImage)>,
}

impl Lab {
    /// All studies.
    pub const ALL: [Self; 2] = [Self::Fig4, Self::Table5];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fig4 => "fig4",
            Self::Table5 => "table5",
        }
    }

    /// Runs what is not finished yet in `root/<name>`; `say` hears which arm is next and `observer` what it does.
    ///
    /// # Errors
    /// A training that fails, or a file that cannot be written.
    pub fn run(
        self,
        root: &Path,
        effort: Effort,
        observer: &mut dyn Observer,
        say: &mut dyn FnMut(&str),
    ) -> Result<Report, LabError> {
        let folder = if effort.is_quick {
            root.join(self.name()).join("quick")
        } else {
            root.join(self.name())
        };
        let units = Units::new(folder);
        match self {
            Self::Fig4 => fig4::run(&units, effort, say),
            Self::Table5 => table5::run(&units, effort, observer, say),
        }
    }
}
