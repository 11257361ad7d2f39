//! `[method.external]`: a method that is none of this workspace's.

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::net::NetSpec;
use crate::range;
use crate::recipe::{Plan, Recipe, Setup};

/// A method of another program, which trains it with this library and brings its recipe along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// What that program calls it.
    pub name: String,
    /// Number of student updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Its own keys, which only that program reads.
    #[serde(default)]
    pub options: toml::Table,
}

impl Recipe for External {
    fn title(&self) -> String {
        self.name.clone()
    }

    fn plan(&self) -> Plan {
        Plan {
            num_updates: self.num_updates,
            batch_size: self.batch_size,
            iterations: 1,
        }
    }

    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec> {
        setup.student()
    }

    /// What else it trains is not known here, so `[optim]` is not compared with its networks.
    fn problems(&self, _setup: &Setup<'_>) -> Vec<Problem> {
        Vec::new()
    }
}
