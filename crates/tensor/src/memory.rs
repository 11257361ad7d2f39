//! How much memory there is, how much of it was taken, and how freed memory is kept.

use tch::{Device, Tensor};

use crate::{TensorError, shim};

/// Bytes of a tensor's numbers.
pub(crate) fn num_bytes(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// Peak bytes of this process on `device`: resident memory on the CPU, allocator peak on CUDA.
///
/// # Errors
/// If the figure is not to be had (on CPU: a system without `/proc`).
pub fn peak_memory_bytes(device: Device) -> Result<u64, TensorError> {
    match device {
        Device::Cuda(index) => shim::cuda_peak_bytes(index),
        _ => kib_of("/proc/self/status", "VmHWM:"),
    }
}

/// Bytes of memory that `device` has.
///
/// # Errors
/// If the figure is not to be had (on CPU: a system without `/proc`).
pub fn total_memory_bytes(device: Device) -> Result<u64, TensorError> {
    match device {
        Device::Cuda(index) => shim::cuda_total_bytes(index),
        _ => kib_of("/proc/meminfo", "MemTotal:"),
    }
}

/// The bytes that a line of a file of `/proc` gives in KiB.
fn kib_of(file: &str, key: &str) -> Result<u64, TensorError> {
    std::fs::read_to_string(file)
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        })
        .map(|kib| kib * 1024)
        .ok_or_else(|| TensorError::torch("memory figure", &format!("no {file} here")))
}

/// Counts the bytes of the tensors that this thread makes on the CPU from its start on; those that were there before do not
/// count. Meters of a thread are dropped in the reverse of the order they were started in.
#[derive(Debug)]
pub struct Meter(shim::Metering);

impl Meter {
    /// Starts counting.
    pub fn start() -> Self {
        Self(shim::Metering::start())
    }

    /// Bytes now.
    pub fn live_bytes(&self) -> u64 {
        self.0.live().max(0) as u64
    }

    /// The most there were at once.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak().max(0) as u64
    }
}

/// Tells the allocator to keep freed memory for the next tensor instead of returning it to the kernel.
///
/// An update frees and allocates hundreds of megabytes. glibc's malloc spends a tenth of the CPU time on that, a fifth in
/// small networks, and more where it returns the memory. To be called once, at the start of a program, beside
/// [`MiMalloc`](crate::MiMalloc) as its global allocator, which replaces libtorch's malloc too.
pub fn keep_freed_memory() {
    shim::keep_freed_memory();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn peak_grows_with_what_is_held() {
        let before = peak_memory_bytes(Device::Cpu).expect("linux has /proc");
        let held = tch::Tensor::ones([64 << 20], (tch::Kind::Float, Device::Cpu)); // 256 MiB
        let after = peak_memory_bytes(Device::Cpu).expect("linux has /proc");
        assert!(after >= before + (200 << 20), "{before} -> {after}");
        assert_eq!(held.size(), [64 << 20]);
    }

    #[test]
    fn a_meter_counts_what_is_there_and_what_was() {
        let make = |count: i64| tch::Tensor::ones([count << 18], (tch::Kind::Float, Device::Cpu));
        let before = make(1);
        let meter = Meter::start();
        drop(before);
        let held = make(3);
        drop(make(4));
        assert_eq!((meter.live_bytes(), meter.peak_bytes()), (3 << 20, 7 << 20));
        drop(held);
        assert_eq!((meter.live_bytes(), meter.peak_bytes()), (0, 7 << 20));
    }
}
