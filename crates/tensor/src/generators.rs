//! The state of libtorch's random generators, so that a computation can be begun again with the same draws.

use tch::{Device, Tensor};

use crate::{TensorError, phantom, shim};

/// What the generators of the CPU and of a device are about to draw. Taking it waits for nobody.
#[derive(Debug)]
pub struct Generators(Vec<(Device, Tensor)>);

impl Generators {
    /// Those that work on `device` draws from.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn of(device: Device) -> Result<Self, TensorError> {
        let mut devices = vec![Device::Cpu];
        if device != Device::Cpu && !phantom::is_phantom(device) {
            devices.push(device);
        }
        let states = devices.into_iter();
        let states = states.map(|device| Ok((device, shim::generator_state(device)?)));
        states.collect::<Result<_, _>>().map(Self)
    }

    /// Sets them back to it.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn restore(&self) -> Result<(), TensorError> {
        let mut states = self.0.iter();
        states.try_for_each(|(device, state)| shim::set_generator_state(*device, state))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::reseed;

    #[test]
    fn draws_repeat() {
        reseed(&[3]);
        let draw = || {
            let options = (Kind::Float, Device::Cpu);
            // An odd number, so that half of a pair of normal numbers is kept in the state.
            (Tensor::randn([3], options), Tensor::rand([5], options))
        };
        let _ = draw();
        let start = Generators::of(Device::Cpu).expect("a state");
        let first = draw();
        assert_ne!(first, draw());
        start.restore().expect("its own");
        assert_eq!(first, draw());
    }
}
