//! Peak memory, and how freed memory is kept.

use tch::Device;

use crate::{TensorError, shim};

/// Peak bytes of this process on `device`: resident memory on the CPU, allocator peak on CUDA.
///
/// # Errors
/// If the figure is not to be had (on CPU: a system without `/proc`).
pub fn peak_memory_bytes(device: Device) -> Result<u64, TensorError> {
    match device {
        Device::Cuda(index) => shim::cuda_peak_bytes(index),
        _ => std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
            })
            .map(|kib| kib * 1024)
            .ok_or_else(|| TensorError::torch("memory figure", "no /proc/self/status here")),
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
}
