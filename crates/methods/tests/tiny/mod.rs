//! Networks of a few thousand parameters in all roles.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::collections::BTreeMap;

use dmdr_diffusion::Schedule;
use dmdr_methods::{FakeScore, Generator, Roles};
use dmdr_models::{Conditioning, Dit, DitConfig, Guidance, Prediction};
use dmdr_tensor::{
    AdapterId, AdapterSpec, Device, Kind, ParamGroup, ParamStore, Tensor, no_grad_guard, reseed,
};

/// The stores behind the roles.
pub(crate) struct Tiny {
    pub(crate) base: ParamStore,
    pub(crate) score: ParamStore,
    pub(crate) student: ParamStore,
    pub(crate) reference: ParamStore,
}

impl Tiny {
    /// Random networks on images `[3, 8, 8]`; the reference equals the student.
    pub(crate) fn new() -> (Roles, Self) {
        let config = DitConfig {
            image_size: 8,
            channels: 3,
            patch: 4,
            dim: 16,
            depth: 2,
            heads: 2,
            context_dim: 4,
            pooled_dim: 4,
            prediction: Prediction::X0,
        };
        let base = ParamStore::frozen(Device::Cpu);
        let score = ParamStore::trainable(Device::Cpu, 1);
        let student = ParamStore::trainable(Device::Cpu, 2);
        let reference = ParamStore::frozen(Device::Cpu);
        let targets = ["blocks.*".into()];
        let specs = [AdapterSpec::new(2, 2.0, &targets, score.clone())];
        let net = Dit::new(&base, &specs, config.clone()).expect("targets match");
        let build = |store| Dit::new(store, &[], config.clone()).expect("no adapter");
        let (generator, frozen) = (build(&student), build(&reference));
        // Zero-initialised layers would hide everything behind them.
        reseed(&[5]);
        {
            let _guard = no_grad_guard();
            for group in [base.group(), score.group(), student.group()] {
                for tensor in group.tensors {
                    tensor.shallow_clone().copy_(&(tensor.randn_like() * 0.1));
                }
            }
        }
        reference.copy_from(&student);
        let options = (Kind::Float, Device::Cpu);
        let null = Conditioning {
            tokens: Tensor::randn([1, 3, 4], options),
            pooled: Tensor::randn([1, 4], options),
        };
        let roles = Roles {
            base: Box::new(net),
            generator: Generator::Full(Box::new(generator)),
            reference: Some(Generator::Full(Box::new(frozen))),
            score: FakeScore::Adapter(AdapterId(0)),
            schedule: Schedule::RectifiedFlow,
            guidance: Guidance { scale: 3.0, null },
        };
        let tiny = Self {
            base,
            score,
            student,
            reference,
        };
        (roles, tiny)
    }
}

/// Four random captions.
pub(crate) fn cond() -> Conditioning {
    reseed(&[6]);
    let options = (Kind::Float, Device::Cpu);
    Conditioning {
        tokens: Tensor::randn([4, 3, 4], options),
        pooled: Tensor::randn([4, 4], options),
    }
}

/// All parameters of a store.
pub(crate) fn values(store: &ParamStore) -> BTreeMap<String, Vec<f32>> {
    let ParamGroup { names, tensors } = store.group();
    let tensors = tensors
        .into_iter()
        .map(|tensor| Vec::<f32>::try_from(tensor.detach().flatten(0, -1)).expect("f32"));
    names.into_iter().zip(tensors).collect()
}
