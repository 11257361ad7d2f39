//! A perceptron trained to denoise a mixture, where a teacher with weights is needed (for a LoRA on it).

use dmdr_diffusion::{Schedule, loss};
use dmdr_models::{Call, Conditioning, PointNet, View};
use dmdr_tensor::{AdamW, AdamWConfig, Device, Kind, ParamStore, Tensor, mix, reseed};
use dmdr_world::Mixture;

use crate::LabError;

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

impl PlaneTeacher {
    /// Flow matching on `num_steps` batches of the mixture's samples.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn train(mixture: &Mixture, num_steps: u64, seed: u64) -> Result<Self, LabError> {
        let store = ParamStore::trainable(Device::Cpu, seed);
        let net = PointNet::new(&store, &[], HIDDEN, LAYERS)?;
        let view = View {
            net: &net,
            schedule: Schedule::RectifiedFlow,
            call: Call::default(),
            guidance: None,
        };
        let config = AdamWConfig {
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
        };
        let mut adamw = AdamW::new(store.group(), config);
        let nothing = Conditioning::none(BATCH as i64, Device::Cpu);
        for step in 0..num_steps {
            reseed(&[seed, step]);
            let x0 = super::to_tensor(&mixture.sample(BATCH, mix(&[seed, step]) as u64));
            let t = Tensor::rand([BATCH as i64], (Kind::Float, Device::Cpu)).clamp(0.02, 1.0);
            let x_t = view.schedule.add_noise(&x0, &x0.randn_like(), &t);
            let loss = loss::denoise(view.schedule, &view.x0(&x_t, &t, &nothing), &x0, &t);
            let grads = adamw.group().grads(&loss.mean(Kind::Float))?;
            let progress = step as f64 / num_steps as f64;
            let lr = LR * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            adamw.step(&grads, lr)?;
        }
        Ok(Self { store })
    }
}
