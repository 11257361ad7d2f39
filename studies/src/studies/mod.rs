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

use dmdr_train::Observer;

use crate::{
    LabError,
    report::{Effort, Report},
    units::Units,
};

/// A study that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
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
