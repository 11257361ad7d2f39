//! Which emoji world a run lives in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `[world]`: the source of prompts, images and exact ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// The set of objects, colours and tasks, and the size of the canvas.
    pub preset: WorldPreset,
}

/// A world that is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldPreset {
    /// Few objects on 32 x 32 pixels: trains on a laptop in minutes.
    #[default]
    Mini,
    /// All of `GenEval`'s six task kinds on 64 x 64 pixels.
    Geneval,
}

impl WorldPreset {
    /// Height and width of an image in pixels.
    pub fn canvas(self) -> usize {
        match self {
            Self::Mini => 32,
            Self::Geneval => 64,
        }
    }
}

impl fmt::Display for WorldPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mini => "mini",
            Self::Geneval => "geneval",
        })
    }
}
