//! How weights wait between their uses, as `[memory]` says.

use dmdr_config::{Device, Experiment};
use dmdr_tensor::{Keeping, Ranks, Runtime, phantom};

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
        on_host: memory.base_on_host && is_elsewhere(experiment, runtime),
        among: shared(memory.shard_base, runtime),
    }
}

/// Those of rewards, and of the autoencoder that makes images for them.
pub(crate) fn rewards(experiment: &Experiment, runtime: Runtime) -> Keeping {
    Keeping {
        on_host: experiment.memory.rewards_on_host && is_elsewhere(experiment, runtime),
        ..Keeping::PLAIN
    }
}

/// Whether the host is another place than the device: not where a run on the CPU is rehearsed.
fn is_elsewhere(experiment: &Experiment, runtime: Runtime) -> bool {
    !(phantom::is_phantom(runtime.device) && experiment.device == Device::Cpu)
}
