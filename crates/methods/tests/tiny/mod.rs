//! Networks of a few thousand parameters in all roles, and updates of them.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::collections::BTreeMap;

use dmdr_batches::{PromptStream, Prompts};
use dmdr_config::Prediction;
use dmdr_config::WorldPreset;
use dmdr_config::{Curve, Motion, NetId, Optim, Optimizer, RlAlgorithm, RlPart};
use dmdr_diffusion::{Schedule, time_grid};
use dmdr_methods::{
    Batch, Feed, FeedError, Method, Net, Nets, Network, Share, Simulation, Teacher, Update,
};
use dmdr_models::{Conditioning, Dit, DitConfig, Guidance};
use dmdr_tensor::{
    AdapterId, AdapterSpec, Device, Kind, ParamGroup, ParamStore, Tensor, no_grad_guard, reseed,
};
use dmdr_world::World;

/// The adapter of the fake score.
pub(crate) const FAKE_SCORE: AdapterId = AdapterId(0);

/// All that an update works on.
pub(crate) struct Tiny {
    pub(crate) nets: Nets,
    pub(crate) feed: Captions,
    /// Of an update.
    pub(crate) iterations: u64,
    /// What a guard leaves of weights.
    pub(crate) factors: BTreeMap<String, f64>,
}

/// The same captions in every iteration.
pub(crate) struct Captions {
    /// At most 4.
    pub(crate) batch_size: usize,
    /// `[4, 3, 8, 8]`, to which a tenth of the update's index is added.
    pub(crate) true_images: Option<Tensor>,
    prompts: Prompts,
    cond: Conditioning,
}

impl Captions {
    fn new() -> Self {
        Self {
            batch_size: 4,
            true_images: None,
            prompts: prompts(),
            cond: cond(),
        }
    }
}

impl Feed for Captions {
    fn batch(&self, _: u64) -> Result<Batch, FeedError> {
        Ok(Batch {
            prompts: self.prompts.groups(self.batch_size, 1),
            cond: self.cond.narrow(0, self.batch_size as i64),
        })
    }

    fn true_images(
        &self,
        _: &Prompts,
        share: Share,
        iteration: u64,
    ) -> Result<Option<Tensor>, FeedError> {
        let images = self.true_images.as_ref();
        let images = images.map(|images| share.of(images));
        Ok(images.map(|images| images + iteration as f64 / 10.0))
    }
}

impl Tiny {
    /// Random networks on images `[3, 8, 8]`; the reference equals the student.
    pub(crate) fn new() -> Self {
        Self::with(vec![
            net(NetId::STUDENT, Motion::Trained),
            net(NetId::REFERENCE, Motion::Copied),
        ])
    }

    /// A teacher with guidance 3, its adapter as fake score, and `nets`. All that are not trained equal the student.
    pub(crate) fn with(nets: Vec<Net>) -> Self {
        Self::with_optim(nets, &optim())
    }

    /// As [`Self::with`], trained by `optim`.
    pub(crate) fn with_optim(mut nets: Vec<Net>, optim: &Optim) -> Self {
        let base = ParamStore::frozen(Device::Cpu);
        let score = ParamStore::trainable(Device::Cpu, 1);
        let targets = ["blocks.*".into()];
        let specs = [AdapterSpec::new(2, 2.0, &targets, score.clone())];
        let teacher = dit(&base, &specs);
        // Zero-initialised layers would hide everything behind them.
        reseed(&[5]);
        randomise(&base);
        randomise(&score);
        for net in nets
            .iter()
            .filter(|net| matches!(net.network, Network::Full(_)))
        {
            if net.motion == Motion::Trained {
                randomise(&net.store);
            }
        }
        let options = (Kind::Float, Device::Cpu);
        let null = Conditioning {
            tokens: Tensor::randn([1, 3, 4], options),
            pooled: Tensor::randn([1, 4], options),
        };
        nets.push(Net::new(
            NetId::FAKE_SCORE,
            score,
            Network::Adapter(FAKE_SCORE),
            Motion::Trained,
        ));
        let teacher = Teacher {
            net: Box::new(teacher),
            store: base,
            schedule: Schedule::RectifiedFlow,
            guidance: Guidance { scale: 3.0, null },
        };
        let mut nets = Nets::new(Some(teacher), nets);
        for net in nets.iter().filter(|net| net.motion != Motion::Trained) {
            net.store.copy_from(nets.store(NetId::STUDENT));
        }
        nets.train_by(optim);
        Self::of(nets)
    }

    /// Updates of one iteration on any networks.
    pub(crate) fn of(nets: Nets) -> Self {
        Self {
            nets,
            feed: Captions::new(),
            iterations: 1,
            factors: BTreeMap::new(),
        }
    }

    /// An update.
    pub(crate) fn at(&mut self, seed: u64, update: u64) -> Update<'_> {
        let Self {
            nets,
            feed,
            iterations,
            factors,
        } = self;
        Update::new(seed, update, *iterations, nets, feed, factors)
    }

    /// An update by `method`, with seed 0; what it logs.
    pub(crate) fn update(&mut self, method: &mut dyn Method, update: u64) -> BTreeMap<String, f64> {
        let mut update = self.at(0, update);
        method.update(&mut update).expect("computed");
        update.finish().expect("finite")
    }

    /// Moves every parameter of a network a little.
    pub(crate) fn disturb(&self, id: NetId) {
        let _guard = no_grad_guard();
        for tensor in self.nets.store(id).group().tensors {
            let moved = &tensor + tensor.randn_like() * 0.05;
            tensor.shallow_clone().copy_(&moved);
        }
    }

    /// All parameters of a network.
    pub(crate) fn values(&self, id: NetId) -> BTreeMap<String, Vec<f32>> {
        values(self.nets.store(id))
    }

    /// All parameters of the teacher.
    pub(crate) fn frozen(&self) -> BTreeMap<String, Vec<f32>> {
        values(&self.nets.frozen().store)
    }
}

/// Gradients of a scalar with respect to a network's parameters.
pub(crate) fn gradients(nets: &Nets, id: NetId, scalar: &Tensor) -> Vec<Tensor> {
    let group = nets.store(id).group();
    group.grads(scalar).expect("it has a graph")
}

/// A network of its own on images `[3, 8, 8]`.
pub(crate) fn net(id: NetId, motion: Motion) -> Net {
    let store = match motion {
        Motion::Trained => ParamStore::trainable(Device::Cpu, 2),
        _ => ParamStore::frozen(Device::Cpu),
    };
    let network = dit(&store, &[]);
    Net::new(id, store, Network::Full(Box::new(network)), motion)
}

/// A transformer with parameters in `store`.
pub(crate) fn dit(store: &ParamStore, adapters: &[AdapterSpec]) -> Dit {
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
    Dit::new(store, adapters, config).expect("targets match")
}

fn randomise(store: &ParamStore) {
    let _guard = no_grad_guard();
    for tensor in store.group().tensors {
        tensor.shallow_clone().copy_(&(tensor.randn_like() * 0.1));
    }
}

/// Steps so short that no clipping is needed.
fn optim() -> Optim {
    let optimizer = Optimizer {
        lr: Curve::Constant(3e-3),
        betas: [0.9, 0.99],
        eps: 1e-8,
        weight_decay: 0.0,
        clip_norm: 1e9,
    };
    let trained = [NetId::STUDENT, NetId::FAKE_SCORE];
    Optim::new(trained.map(|id| (id, optimizer.clone())))
}

/// Backward simulation of a student of so many steps.
pub(crate) fn simulation(num_steps: usize) -> Simulation {
    Simulation {
        times: time_grid(num_steps, 1.0),
        image_shape: [3, 8, 8],
    }
}

/// Reinforcement learning at weight 1.
pub(crate) fn part(algorithm: RlAlgorithm) -> RlPart {
    RlPart {
        key: "method.rl",
        algorithm,
        weight: Curve::Constant(1.0),
    }
}

/// Four captions.
pub(crate) fn prompts() -> Prompts {
    let world = World::new(WorldPreset::Mini).expect("valid drawings");
    let stream = PromptStream::training(&world, 0);
    stream.prompts(0, 4, 16, Device::Cpu).expect("fits")
}

/// Their encoding, at random.
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

/// Largest absolute value.
pub(crate) fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}
