//! Tensors, parameters, optimiser and weight files: the only crate that names `tch`.
//!
//! `tch` is a thin binding; what it does not do well (silent renames, lenient loading, optimisers without state,
//! gradients that leak between networks) is replaced here by small types with strict contracts.

mod accumulation;
mod adamw;
mod cuda;
mod error;
mod folder;
mod foreign;
mod generators;
mod gradients;
mod header;
mod init;
mod jvp;
mod kernels;
mod load_report;
mod memory;
mod numbers;
mod panic;
mod params;
pub mod phantom;
mod phase;
mod random_weights;
mod ranks;
mod recompute;
mod runtime;
mod save;
mod scope;
mod seed;
mod shim;
mod weight;
mod weight_files;
mod weights;

pub use accumulation::Accumulation;
pub use adamw::{AdamW, AdamWConfig};
pub use cuda::{Cuda, CudaError, open_cuda};
pub use error::TensorError;
pub use folder::DIFFUSERS_WEIGHTS;
pub use foreign::foreign_content;
pub use generators::Generators;
pub use gradients::gradients;
pub use init::Init;
pub use jvp::{has_tangent, jvp};
pub use kernels::{gelu_tanh, rms_norm};
pub use load_report::LoadReport;
pub use memory::{Meter, keep_freed_memory, peak_memory_bytes, total_memory_bytes};
pub use mimalloc::MiMalloc;
pub use numbers::{Numbers, read_scalars};
pub use panic::panic_message;
pub use params::{ParamGroup, ParamStore};
pub use phase::{PhaseClock, phase, wait_for};
pub use random_weights::{are_weights_random, use_random_weights};
pub use ranks::serve::unless_lost;
pub use ranks::{Place, PlaceError, Ranks};
pub use recompute::recompute;
pub use runtime::{Runtime, precision_warning};
pub use save::{check_finite, safetensors_bytes, write_tensors};
pub use scope::{AdapterId, AdapterPlace, AdapterSpec, Lora, LoraInit, OutputLora, Scope};
pub use seed::{mix, reseed, uniform};
pub use tch::{Device, IndexOp, Kind, Tensor, get_num_threads, no_grad_guard, set_num_threads};
pub use weight::{Keeping, Weight};
pub use weight_files::WeightFiles;
pub use weights::{read_metadata, read_numbers, read_tensors, read_tensors_where};

/// Version of the libtorch this binary is built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// The device named in a config: `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// An unknown name, or a CUDA device that is not there.
pub fn device(name: &str) -> Result<Device, TensorError> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok()),
    };
    let index: usize = index.ok_or_else(|| TensorError::UnknownDevice {
        name: name.to_owned(),
    })?;
    let cuda = open_cuda().map_err(|error| TensorError::NoCuda {
        name: name.to_owned(),
        reason: error.to_string(),
    })?;
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if index < count {
        Ok(Device::Cuda(index))
    } else {
        Err(TensorError::NoSuchDevice {
            name: name.to_owned(),
            count,
            cuda: cuda.to_string(),
        })
    }
}
