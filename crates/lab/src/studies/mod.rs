//! The studies, one a file, each after a table or figure of arXiv 2511.13649.

mod arm;
mod fig10;
mod fig4;
mod fig7;
mod joint_stage;
mod table4;
mod table5;
mod table6;

use std::path::Path;

use dmdr_image::Image;
use dmdr_train::Observer;

use crate::{
    LabError,
    study::{Results, Study},
    tuning::Tuning,
    units::Units,
};

/// Seeds of published numbers start here: hyper-parameters were chosen on lower ones.
const FIRST_SEED: u64 = 100;

/// A study that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lab {
    /// Modes that DMD drops and reinforcement learning covers, on the plane.
    Fig4,
    /// What the two dynamics do for the cold start, on the emoji world.
    Table4,
    /// Distillation and reinforcement learning, apart and together, on the emoji world.
    Table5,
    /// Diversity between the images of a prompt, on the emoji world.
    Table6,
    /// Overlap of real and fake distribution with and without DynaDG, on the plane and on the emoji world.
    Fig7,
    /// Whether a reward is hacked, on the emoji world.
    Fig10,
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
    fn seeds(self) -> Vec<u64> {
        self.many_seeds(1)
    }

    /// `times` as many, where runs are short and the spread hides the effect.
    fn many_seeds(self, times: u64) -> Vec<u64> {
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

impl Lab {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fig4 => "fig4",
            Self::Table4 => "table4",
            Self::Table5 => "table5",
            Self::Table6 => "table6",
            Self::Fig7 => "fig7",
            Self::Fig10 => "fig10",
        }
    }

    /// Runs what is not finished yet in `root`; `say` hears which arm is next and `observer` what it does.
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
        // These look at the same runs.
        let folder = root.join(match self {
            Self::Table5 | Self::Table6 | Self::Fig10 => "joint-stage",
            Self::Fig4 | Self::Fig7 | Self::Table4 => self.name(),
        });
        let folder = if effort.is_quick {
            folder.join("quick")
        } else {
            folder
        };
        let units = Units::new(folder);
        match self {
            Self::Fig4 => fig4::run(&units, effort, say),
            Self::Fig7 => fig7::run(&units, effort, observer, say),
            Self::Table4 => table4::run(&units, effort, observer, say),
            Self::Table5 => table5::run(&units, effort, observer, say),
            Self::Table6 => table6::run(&units, effort, observer, say),
            Self::Fig10 => fig10::run(&units, effort, observer, say),
        }
    }
}
