//! Weights that only enter products, as they are kept between their uses.

use std::rc::Rc;

use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::{Ranks, has_tangent, memory::num_bytes, phantom, ranks::serve::fail, shim};

/// How a store keeps the frozen weights of layers between their uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Those of linear layers in 8 bits, with one factor for each row.
    pub in_8_bits: bool,
    /// In the memory of the host.
    pub on_host: bool,
    /// Each of these processes keeps a part and fetches the others'.
    pub among: Ranks,
}

impl Keeping {
    /// As they are computed with, all of them here.
    pub const PLAIN: Self = Self {
        in_8_bits: false,
        on_host: false,
        among: Ranks::ALONE,
    };
}

/// The weight of a layer, or any other parameter. A frozen one may be kept in fewer bits, on the host, or in parts by several
/// processes; it is made whole for each use, forwards and backwards, and then forgotten.
#[derive(Debug)]
pub struct Weight(Form);

#[derive(Debug)]
enum Form {
    Plain(Tensor),
    Kept(Rc<Kept>),
}

#[derive(Debug)]
struct Kept {
    shape: Vec<i64>,
    compute: Kind,
    /// Where it is used.
    device: Device,
    ranks: Ranks,
    /// The numbers of this process, in one row; the last process's end with some that are unused.
    part: Tensor,
    /// What the numbers of each row are multiples of, `[out, 1]`, where they are kept in 8 bits.
    units: Option<Tensor>,
    /// Which of all weights that are kept in parts.
    index: usize,
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self(Form::Plain(tensor))
    }
}

impl Weight {
    /// Zeros of `shape`, in 8 bits `[out, in]`, for products in `compute`, kept as `keeping` says.
    pub(crate) fn zeros(shape: &[i64], compute: Kind, device: Device, keeping: Keeping) -> Self {
        if keeping == Keeping::PLAIN {
            return Tensor::zeros(shape, (compute, device)).into();
        }
        let numel: i64 = shape.iter().product();
        let len = numel.unsigned_abs().div_ceil(keeping.among.count());
        let kind = if keeping.in_8_bits {
            Kind::Int8
        } else {
            compute
        };
        let zeros = |shape: &[i64], kind| {
            let zeros = |device| Tensor::zeros(shape, (kind, device));
            match (keeping.on_host, device) {
                (false, _) => zeros(device),
                // From pinned memory a card copies while it computes.
                (true, Device::Cuda(_)) => zeros(Device::Cpu).pin_memory(device),
                (true, device) if phantom::is_phantom(device) => phantom::unallocated(shape, kind),
                (true, _) => zeros(Device::Cpu),
            }
        };
        let part = zeros(&[len as i64], kind);
        let kept = Kept {
            units: keeping
                .in_8_bits
                .then(|| zeros(&[shape[0], 1], Kind::Float)),
            shape: shape.to_vec(),
            compute,
            device,
            ranks: keeping.among,
            index: keeping.among.share(&part),
            part,
        };
        Self(Form::Kept(Rc::new(kept)))
    }

    /// Another handle of the same weight.
    pub(crate) fn shallow_clone(&self) -> Self {
        Self(match &self.0 {
            Form::Plain(tensor) => Form::Plain(tensor.shallow_clone()),
            Form::Kept(kept) => Form::Kept(Rc::clone(kept)),
        })
    }

    /// Its shape.
    pub fn size(&self) -> Vec<i64> {
        match &self.0 {
            Form::Plain(tensor) => tensor.size(),
            Form::Kept(kept) => kept.shape.clone(),
        }
    }

    /// Its kind when it is whole.
    pub(crate) fn kind(&self) -> Kind {
        match &self.0 {
            Form::Plain(tensor) => tensor.kind(),
            Form::Kept(kept) => kept.compute,
        }
    }

    /// How many numbers it has.
    pub(crate) fn numel(&self) -> usize {
        self.size().iter().product::<i64>() as usize
    }

    /// Bytes that are kept on the device where it is used.
    pub(crate) fn num_bytes(&self) -> usize {
        match &self.0 {
            Form::Plain(tensor) => num_bytes(tensor),
            Form::Kept(kept) if kept.part.device() != kept.device => 0,
            Form::Kept(kept) => num_bytes(&kept.part) + kept.units.as_ref().map_or(0, num_bytes),
        }
    }

    /// The tensor itself, which for a weight that is kept otherwise is made now: all processes that share it do so at once.
    pub fn read(&self) -> Tensor {
        match &self.0 {
            Form::Plain(tensor) => tensor.shallow_clone(),
            Form::Kept(kept) => kept.read(),
        }
    }

    /// Gives it new values, of any kind.
    pub(crate) fn write(&self, values: &Tensor) {
        let _guard = no_grad_guard();
        match &self.0 {
            Form::Plain(tensor) => tensor.shallow_clone().copy_(values),
            Form::Kept(kept) => kept.write(values),
        }
    }

    /// `x W^T + b` in `compute`, with `x [.., in]` and `b [out]` of that kind.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>, compute: Kind) -> Tensor {
        let kept = match &self.0 {
            Form::Plain(weight) => return x.linear(&weight.to_kind(compute), bias),
            Form::Kept(kept) => kept,
        };
        if !x.requires_grad() || has_tangent(x) {
            return x.linear(&kept.read(), bias);
        }
        let again = Rc::clone(kept);
        let made = shim::linear(x, bias, move |_| again.read());
        made.unwrap_or_else(|error| fail(&error))
    }
}

impl Kept {
    fn read(&self) -> Tensor {
        let _guard = no_grad_guard();
        let here = |kept: &Tensor| kept.to_device_(self.device, kept.kind(), true, false);
        let flat = self.ranks.gather(&here(&self.part), self.index);
        let numel: i64 = self.shape.iter().product();
        let whole = flat.narrow(0, 0, numel).view(&self.shape[..]);
        match &self.units {
            None => whole,
            Some(units) => whole.to_kind(self.compute).g_mul_(&here(units)),
        }
    }

    fn write(&self, values: &Tensor) {
        let values = values.to_device(self.part.device());
        let numbers = match &self.units {
            None => values,
            Some(units) => {
                let values = values.to_kind(Kind::Float);
                let largest = values.abs().amax([1], true);
                let unit = (largest / 127.0).clamp_min(f64::from(f32::MIN_POSITIVE));
                units.shallow_clone().copy_(&unit);
                (values / unit).round()
            }
        };
        let (len, flat) = (self.part.numel() as i64, numbers.reshape([-1]));
        let start = (self.ranks.rank() as i64 * len).min(flat.numel() as i64);
        let own = len.min(flat.numel() as i64 - start);
        self.part
            .narrow(0, 0, own)
            .copy_(&flat.narrow(0, start, own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gradients::gradients, reseed};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn kept(values: &Tensor, keeping: Keeping) -> Weight {
        let weight = Weight::zeros(&values.size(), Kind::Float, Device::Cpu, keeping);
        weight.write(values);
        weight
    }

    const IN_8_BITS: Keeping = Keeping {
        in_8_bits: true,
        ..Keeping::PLAIN
    };

    #[test]
    fn eight_bits_are_off_by_half_a_unit_at_most() {
        reseed(&[1]);
        let values = random(&[16, 40]) * random(&[16, 1]).exp();
        let weight = kept(&values, IN_8_BITS);
        assert_eq!(weight.num_bytes(), 16 * 40 + 16 * 4);
        let unit = values.abs().amax([1], true) / 127.0;
        let off = (weight.read() - &values).abs() / unit;
        let off = off.max().double_value(&[]);
        assert!((0.4..=0.500_01).contains(&off), "{off}");
        let zeros = kept(&values.zeros_like(), IN_8_BITS);
        assert_eq!(zeros.read(), values.zeros_like());
    }

    #[test]
    fn values_and_gradients_are_those_of_the_weight_that_is_read() {
        reseed(&[2]);
        let weight = kept(&random(&[5, 6]), IN_8_BITS);
        let (bias, x) = (random(&[5]), random(&[2, 3, 6]).set_requires_grad(true));
        let plain = Weight::from(weight.read());
        for bias in [Some(&bias), None] {
            let [found, expected] = [&weight, &plain].map(|weight| {
                let y = weight.linear(&x, bias, Kind::Float);
                let loss = (&y * y.tanh()).sum(Kind::Float);
                let mut grads = gradients(&loss, &[x.shallow_clone()]).expect("a graph");
                (y.detach(), grads.remove(0))
            });
            assert_eq!(found.0, expected.0);
            let error = (found.1 - &expected.1).abs().max() / expected.1.abs().max();
            assert!(error.double_value(&[]) < 1e-6);
        }
        let y = weight.linear(&x.detach(), None, Kind::Float);
        assert!(!y.requires_grad());
    }

    #[test]
    fn what_waits_on_the_host_is_the_same() {
        reseed(&[3]);
        let values = random(&[3, 4, 2, 2]);
        let on_host = Keeping {
            on_host: true,
            ..Keeping::PLAIN
        };
        assert_eq!(kept(&values, on_host).read(), values);
        let of_two = Keeping {
            among: Ranks::counted(2),
            ..on_host
        };
        // Half of it, and the rest is the other's.
        let half = kept(&values, of_two).read().flatten(0, -1).narrow(0, 0, 24);
        assert_eq!(half, values.flatten(0, -1).narrow(0, 0, 24));
    }

    #[test]
    fn between_uses_it_takes_no_more_than_is_kept() {
        const SIDE: i64 = 1 << 12;
        const MIB: u64 = 1 << 20;
        let device = phantom::device();
        let divided = Keeping {
            among: Ranks::counted(4),
            ..IN_8_BITS
        };
        let on_host = Keeping {
            on_host: true,
            ..IN_8_BITS
        };
        // Beside a whole weight in bf16, and little more, one in bytes where it comes from elsewhere.
        for (keeping, kept, beside) in [
            (IN_8_BITS, 8 * 16, 32),
            (divided, 8 * 4, 48),
            (on_host, 0, 48),
        ] {
            let count = phantom::Count::start();
            let weights =
                [(); 8].map(|()| Weight::zeros(&[SIDE, SIDE], Kind::BFloat16, device, keeping));
            let here: usize = weights.iter().map(Weight::num_bytes).sum();
            assert_eq!(here as u64, count.live_bytes());
            assert!(count.live_bytes() / MIB <= kept, "{}", count.live_bytes());
            let x = Tensor::zeros([1, SIDE], (Kind::BFloat16, device)).set_requires_grad(true);
            let y = weights.iter().fold(x.shallow_clone(), |x, weight| {
                weight.linear(&x, None, Kind::BFloat16)
            });
            gradients(&y.sum(Kind::Float), &[x]).expect("a graph");
            let most = (count.peak_bytes() - here as u64) / MIB;
            assert!((beside..=beside + 2).contains(&most), "{most} MiB");
        }
    }
}
