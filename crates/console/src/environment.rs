//! Where and from what a run was made.

use std::collections::BTreeMap;

use dmdr_events::Environment;
use dmdr_tensor::{LIBTORCH_VERSION, get_num_threads};

/// Program, machine and command line.
pub fn detect(device: &str) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: COMMIT.to_owned(),
        dirty: env!("DMDR_DIRTY") == "true",
        torch_version: LIBTORCH_VERSION.to_owned(),
        device: device.to_owned(),
        num_threads: usize::try_from(get_num_threads()).unwrap_or(1),
        ..Environment::detect()
    }
}

/// The commit of the program, 12 digits.
pub const COMMIT: &str = env!("DMDR_COMMIT");

/// What a weight file says of its making.
pub fn notes(environment: &Environment, seed: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("command".to_owned(), environment.command.clone()),
        ("commit".to_owned(), environment.commit.clone()),
        ("machine".to_owned(), environment.machine()),
        ("seed".to_owned(), seed.to_string()),
    ])
}
