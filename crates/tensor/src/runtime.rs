//! Where a run computes, in what kind of numbers, and which of several processes it is.

use std::time::Duration;

use dmdr_config::{Device as DeviceConfig, Precision};
use tch::{Device, Kind};

use crate::{Keeping, ParamStore, Place, Ranks, TensorError, device};

/// Made once by a command and handed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Of parameters and results.
    pub device: Device,
    /// Of large matrix products; results are f32 whatever it is.
    pub compute: Kind,
    /// The processes that train together.
    pub ranks: Ranks,
    /// Where networks that are never trained wait between uses, and how.
    pub keeping: Keeping,
}

impl Runtime {
    /// One process on the device that a config names.
    ///
    /// # Errors
    /// A CUDA device that is not there.
    pub fn new(config: DeviceConfig, precision: Precision) -> Result<Self, TensorError> {
        Ok(Self::on(device(&config.to_string())?, precision))
    }

    /// One of the processes that meet at `place`, on the device that a config names: of several cards, the one of its place on
    /// its machine. See [`Ranks::join`] for `timeout`.
    ///
    /// # Errors
    /// A CUDA device that is not there, or processes that do not meet.
    pub fn join(
        config: DeviceConfig,
        precision: Precision,
        place: &Place,
        timeout: Duration,
    ) -> Result<Self, TensorError> {
        let config = match config {
            DeviceConfig::Cuda(None) => {
                // A launcher may show each process its own card alone.
                device("cuda")?;
                let is_only = tch::Cuda::device_count() == 1;
                DeviceConfig::Cuda(Some(if is_only { 0 } else { place.local_rank }))
            }
            other => other,
        };
        let alone = Self::new(config, precision)?;
        Ok(Self {
            ranks: Ranks::join(place, timeout)?,
            ..alone
        })
    }

    /// One process on `device`.
    pub fn on(device: Device, precision: Precision) -> Self {
        Self {
            compute: compute(precision, device),
            ..Self::f32(device)
        }
    }

    /// One process on `device`, all in f32.
    pub const fn f32(device: Device) -> Self {
        Self {
            device,
            compute: Kind::Float,
            ranks: Ranks::ALONE,
            keeping: Keeping::PLAIN,
        }
    }

    /// A store for one network that is never trained, with large weights in the kind that they are computed in.
    pub fn store(self) -> ParamStore {
        ParamStore::frozen(self.device)
            .with_compute(self.compute)
            .keeping(self.keeping)
    }
}

/// The kind large matrix products are computed in.
///
/// `auto` is bf16 where the hardware multiplies it faster than f32: CUDA, AMX, and AVX512-BF16 of other makers than Intel (2.4
/// times as fast on a Zen 4 core). Intel's without AMX takes twice as long as f32 (Sapphire Rapids, as some clouds offer it).
fn compute(precision: Precision, device: Device) -> Kind {
    match precision {
        Precision::Bf16 => Kind::BFloat16,
        Precision::Auto if device != Device::Cpu || has_fast_bf16() => Kind::BFloat16,
        Precision::F32 | Precision::Auto => Kind::Float,
    }
}

/// What `precision` costs on `device` without need, if it does.
pub fn precision_warning(precision: Precision, device: Device) -> Option<String> {
    warning(precision, device, has_fast_bf16())
}

fn warning(precision: Precision, device: Device, is_fast: bool) -> Option<String> {
    let is_slow = precision == Precision::Bf16 && device == Device::Cpu && !is_fast;
    is_slow.then(|| {
        "`precision = \"bf16\"`, but this processor multiplies bf16 slower than f32: an update takes twice as long or, without \
         AVX512-BF16, many times; use `precision = \"auto\"`"
            .to_owned()
    })
}

/// Processors with AMX for bf16 have AVX512-BF16 as well.
fn has_fast_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16") && (has_amx_bf16() || !is_of_intel());
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
fn is_of_intel() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    let words = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    words.as_flattened() == b"GenuineIntel"
}

/// Of the processor, where hypervisors do not hide it.
#[cfg(target_arch = "x86_64")]
fn has_amx_bf16() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    std::arch::x86_64::__cpuid_count(7, 0).edx & AMX_BF16 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_warned_of_where_it_is_emulated() {
        let told = warning(Precision::Bf16, Device::Cpu, false).expect("it is slow");
        assert!(told.contains("precision = \"auto\""), "{told}");
        for (precision, device, is_fast) in [
            (Precision::Bf16, Device::Cpu, true),
            (Precision::Bf16, Device::Cuda(0), false),
            (Precision::Auto, Device::Cpu, false),
            (Precision::F32, Device::Cpu, false),
        ] {
            assert_eq!(warning(precision, device, is_fast), None);
        }
    }
}
