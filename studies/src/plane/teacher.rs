//! A perceptron trained to denoise a mixture, where a teacher with weights is needed (for a LoRA on it).

use dmdr_config::{Curve, Motion, NetId, Optim, Optimizer};
use dmdr_diffusion::{Schedule, loss};
use dmdr_methods::{Losses, Method, MethodError, Net, Nets, Network, Update};
use dmdr_models::{Conditioning, PointNet, View};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, mix};
use dmdr_train::Trainer;

use super::{nothing::Nothing, to_tensor};
use crate::LabError;
use crate::plane::mixture::Mixture;

/// Width and depth of all networks of the plane.
pub const HIDDEN: i64 = 128;
/// Hidden layers.
pub const LAYERS: usize = 3;
const BATCH: usize = 512;
const LR: f64 = 2e-3;

/// Trained weights.
#[derive(Debug)]
pub struct PlaneTeacher {
    /// Of a [`PointNet`] of [`HIDDEN`] and [`LAYERS`].
    pub store: ParamStore,
}

const MODEL: NetId = NetId::new("model");

/// Flow matching on samples of a mixture.
struct FlowMatching<'a> {
    mixture: &'a Mixture,
    net: PointNet,
}

impl Method for FlowMatching<'_> {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let index = update.begin();
        let seed = mix(&[update.place().seed, index]) as u64;
        update.minimise(MODEL, |_, _| {
            let view = View::new(&self.net, Schedule::RectifiedFlow);
            let nothing = Conditioning::none(BATCH as i64, Device::Cpu);
            let x0 = to_tensor(&self.mixture.sample(BATCH, seed));
            let t = Tensor::rand([BATCH as i64], (Kind::Float, Device::Cpu)).clamp(0.02, 1.0);
            let x_t = view.schedule.add_noise(&x0, &x0.randn_like(), &t);
            let per_sample = loss::denoise(view.schedule, &view.x0(&x_t, &t, &nothing), &x0, &t);
            let mut losses = Losses::default();
            losses.add("flow", 1.0, per_sample.mean(Kind::Float));
            Ok(losses)
        })
    }
}

impl PlaneTeacher {
    /// Flow matching on `num_updates` batches of the mixture's samples.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn train(mixture: &Mixture, num_updates: u64, seed: u64) -> Result<Self, LabError> {
        let store = ParamStore::trainable(Device::Cpu, seed);
        let net = PointNet::new(&store, &[], HIDDEN, LAYERS)?;
        let model = Net::new(MODEL, store.clone(), Network::Held, Motion::Trained);
        let mut nets = Nets::new(None, vec![model]);
        let optimizer = Optimizer {
            lr: Curve::Cosine {
                from: LR,
                to: 0.0,
                over: num_updates,
            },
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: f64::MAX,
        };
        nets.train_by(&Optim::new([(MODEL, optimizer)]));
        let method = Box::new(FlowMatching { mixture, net });
        let mut trainer = Trainer::new(method, nets, 1, seed);
        for update in 0..num_updates {
            trainer.update(update, &Nothing(BATCH), &std::env::temp_dir())?;
        }
        Ok(Self { store })
    }
}
