//! How weights wait between their uses, as `[memory]` says.

use dmdr_config::Experiment;
use dmdr_tensor::{Keeping, Ranks, Runtime};

/// The processes of `runtime`, if they share something.
pub(crate) fn shared(is_shared: bool, runtime: Runtime) -> Ranks {
    if is_shared {
        runtime.ranks
    } else {
        Ranks::ALONE
    }
}

/// The weights of the teacher, on which adapters sit.
pub(crate) fn base(experiment: &Experiment, runtime: Runtime) -> Keeping {
    let memory = experiment.memory;
    Keeping {
        in_8_bits: memory.base_in_8_bits,
        on_host: memory.base_on_host,
        among: shared(memory.shard_base, runtime),
    }
}

/// Those of rewards, and of the autoencoder that makes images for them.
pub(crate) fn rewards(experiment: &Experiment) -> Keeping {
    Keeping {
        on_host: experiment.memory.rewards_on_host,
        ..Keeping::PLAIN
    }
}
