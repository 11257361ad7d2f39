//! A device without memory, on which an update of any size can be rehearsed to see what it would take.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tch::{Device, Kind, Tensor};

use crate::shim;

/// The phantom device: its tensors have shapes and gradients but no numbers (every number that is read is 1), and the bytes
/// that they would take are counted.
///
/// libtorch names it Vulkan, a device that its builds for desktops and servers do not have. Attention is counted as by
/// kernels that do not hold its weights; scratch memory within a kernel is not counted.
pub fn device() -> Device {
    shim::phantom_install();
    Device::Vulkan
}

/// Zeros of `shape` on the CPU that need no memory.
pub(crate) fn unallocated(shape: &[i64], kind: Kind) -> Tensor {
    Tensor::zeros([0i64; 0], (kind, Device::Cpu)).expand(shape, false)
}

/// Whether `device` is the phantom.
pub fn is_phantom(device: Device) -> bool {
    device == Device::Vulkan
}

/// A count of what phantoms take from its start on. There is one at a time: the next one waits for its end.
#[derive(Debug)]
pub struct Count {
    before: u64,
    _only: MutexGuard<'static, ()>,
}

impl Count {
    /// Starts counting.
    pub fn start() -> Self {
        static ONLY: Mutex<()> = Mutex::new(());
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        settle();
        shim::phantom_peak();
        shim::phantom_operations();
        Self {
            before: shim::phantom_live(),
            _only: only,
        }
    }

    /// Bytes now.
    pub fn live_bytes(&self) -> u64 {
        shim::phantom_live().saturating_sub(self.before)
    }

    /// The most there were at once since the last call or the start.
    pub fn peak_bytes(&self) -> u64 {
        shim::phantom_peak().saturating_sub(self.before)
    }
}

/// Waits until libtorch's thread of the device has let go of what was before: nothing is left, or nothing has changed for a while.
fn settle() {
    const READINGS: u32 = 40;
    let (mut live, mut same) = (shim::phantom_live(), 0);
    while live > 0 && same < READINGS {
        thread::sleep(Duration::from_millis(5));
        let now = shim::phantom_live();
        same = if now == live { same + 1 } else { 0 };
        live = now;
    }
}

impl Count {
    /// Floating-point operations of matrix products, convolutions and attention since the last call or the start; a
    /// multiplication and an addition are two. Backwards, attention counts twice what it does forwards.
    pub fn operations(&self) -> u64 {
        shim::phantom_operations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::gradients;

    const MIB: u64 = 1 << 20;

    #[test]
    fn shapes_gradients_and_bytes_are_those_of_a_device_with_memory() {
        let device = device();
        let count = Count::start();
        // 64 GiB of weights: more than this machine may have.
        let weight =
            Tensor::randn([1 << 17, 1 << 17], (Kind::Float, device)).set_requires_grad(true);
        assert_eq!(count.live_bytes(), 4 << 34);
        let x = Tensor::randn([4, 1 << 17], (Kind::Float, Device::Cpu)).to_device(device);
        let y = x.matmul(&weight.tr()).tanh();
        assert_eq!((y.size(), y.device()), (vec![4, 1 << 17], device));
        let loss = y.square().mean(Kind::Float);
        assert!((loss.double_value(&[]) - 1.0).abs() < 1e-12);
        let grads = gradients(&loss, &[weight.shallow_clone()]).expect("a graph");
        assert_eq!(grads[0].size(), weight.size());
        assert!(count.peak_bytes() >= 8 << 34);
        drop((weight, x, y, loss, grads));
        // libtorch's thread of the device lets go of the gradients in its own time.
        for _ in 0..1000 {
            if count.live_bytes() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(count.live_bytes(), 0);
        assert!(count.peak_bytes() >= 8 << 34, "until now");
        assert_eq!(count.peak_bytes(), 0, "since then");
    }

    #[test]
    fn operations_are_those_of_the_products() {
        let count = Count::start();
        let tensor =
            |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device())).set_requires_grad(true);
        let operations = |scalar: &Tensor, inputs: &[&Tensor]| {
            let forwards = count.operations();
            let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
            drop(gradients(&scalar.sum(Kind::Float), &inputs).expect("a graph"));
            (forwards, count.operations())
        };
        // [2, 3, 4] by [4, 5], and both gradients.
        let (x, w, b) = (tensor(&[2, 3, 4]), tensor(&[5, 4]), tensor(&[5]));
        let y = x.linear(&w, Some(&b));
        assert_eq!(
            operations(&y, &[&x, &w, &b]),
            (2 * 6 * 4 * 5, 2 * 2 * 6 * 4 * 5)
        );
        // Three of 2 channels to 7 of 3 x 3 pixels, with windows of 3 x 3.
        let (x, w) = (tensor(&[3, 2, 3, 3]), tensor(&[7, 2, 3, 3]));
        let y = x.conv2d(&w, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
        let once = 2 * (3 * 7 * 9) * (2 * 9);
        assert_eq!(operations(&y, &[&x, &w]), (once, 2 * once));
        // Two heads of 8 queries of width 4 on 6 keys.
        let [q, k, v] = [8, 6, 6].map(|len| tensor(&[1, 2, len, 4]));
        let y = Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        );
        let once = 2 * 2 * (2 * 8 * 6 * 4);
        assert_eq!(operations(&y, &[&q, &k, &v]), (once, 2 * once));
    }

    #[test]
    fn views_share_and_changes_in_place_stay() {
        let device = device();
        let count = Count::start();
        let x = Tensor::zeros([1024, 1024], (Kind::Float, device));
        let view = x.transpose(0, 1).narrow(0, 0, 8);
        assert_eq!(count.live_bytes(), 4 * MIB);
        let mut sum = view.contiguous();
        let _ = sum.g_add_scalar_(1.0);
        assert_eq!(sum.size(), [8, 1024]);
        assert_eq!(count.live_bytes(), 4 * MIB + 32 * 1024);
        let copy = sum.to_device(Device::Cpu);
        assert!((copy.max().double_value(&[]) - 1.0).abs() < 1e-12);
    }
}
