//! The networks that a method asks for, as a table: what each is, where it starts and what it follows.

use std::fmt;
use std::path::PathBuf;

use crate::networks::Lora;

/// The name of a network: of its optimiser in `[optim]`, its parts of a checkpoint and its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetId(&'static str);

impl NetId {
    /// What is distilled to few steps.
    pub const STUDENT: Self = Self("student");
    /// Its averaged weights.
    pub const AVERAGE: Self = Self("student.average");
    /// The fake score: it tracks the student's distribution.
    pub const FAKE_SCORE: Self = Self("fake_score");
    /// What tells the student's images from true ones.
    pub const DISCRIMINATOR: Self = Self("discriminator");
    /// The slow copy of the student that a consistency loss aims at.
    pub const TARGET: Self = Self("target");
    /// The frozen copy of the student that reinforcement learning compares it with.
    pub const REFERENCE: Self = Self("reference");

    /// A network that no other method has; `name` becomes part of file names.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// In words: "fake score", "student's average".
    pub fn words(self) -> String {
        self.0.replace('_', " ").replace('.', "'s ")
    }
}

impl fmt::Display for NetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A network beside the frozen teacher.
#[derive(Debug, Clone, PartialEq)]
pub struct NetSpec {
    /// Its name.
    pub id: NetId,
    /// Which parameters it has of its own.
    pub form: NetForm,
    /// Their first values.
    pub start: Start,
    /// What becomes of them.
    pub motion: Motion,
}

/// Which parameters a network has of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum NetForm {
    /// All those of the teacher's architecture.
    Full,
    /// A low-rank adapter beside the weights of the frozen teacher.
    Lora(Lora),
    /// A low-rank adapter behind the attentions of the frozen teacher.
    OutputLora(Lora),
    /// A discriminator: a head on the outputs of some blocks of a network of the teacher's architecture.
    Heads {
        /// Which blocks, counted from 0; absent = the middle one.
        blocks: Option<Vec<usize>>,
        /// Width of a head.
        dim: usize,
    },
}

/// First values of a network's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The teacher: its weights, an adapter that does nothing, or a head that knows nothing.
    Teacher,
    /// The weights in a file, which a config key names.
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Those of another network of the table, of the same form.
    Net(NetId),
}

/// How a network's parameters change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Motion {
    /// By an optimiser, that of its name in `[optim]`.
    Trained,
    /// Once an update, to `decay * own + (1 - decay) * of`.
    Average {
        /// What is averaged.
        of: NetId,
        /// Share of the old average that is kept, in `[0, 1)`.
        decay: f64,
        /// Whether it follows faster at first, with `(n + 1) / (n + 10)` as the most that is kept after `n` updates, so that it
        /// forgets its first values.
        warms_up: bool,
    },
    /// When the method says so.
    Copied,
}
