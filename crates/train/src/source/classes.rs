//! Classes as a source: every prompt is the number of one, and an autoencoder makes images of latents (SiT on ImageNet).

use std::rc::Rc;

use dmdr_batches::Prompts;
use dmdr_config::Experiment;
use dmdr_models::{
    AutoencoderKl, ClassConditional, Conditioning, Decoder, ignored_keys, load_diffusers_config,
    open_class_conditional,
};
use dmdr_tensor::{Device, ParamStore, Ranks, Runtime, Tensor, mix};

use super::Source;
use crate::{Backbone, TrainError, memory};

/// The sequence of classes of the sample sheets.
const SHEET: u64 = 0x5EE7;

/// Classes `0 .. count`; the class behind them is the empty one.
#[derive(Debug)]
pub struct Classes {
    count: i64,
    network: Rc<dyn ClassConditional>,
    null: Conditioning,
    vae: Rc<AutoencoderKl>,
    /// Of keys of the autoencoder's `config.json` that are ignored.
    warning: Option<String>,
    seed: u64,
    device: Device,
}

impl Classes {
    /// `count` classes and the autoencoder in `teacher.vae`.
    ///
    /// # Errors
    /// An autoencoder that is not named, unreadable or does not fit.
    pub fn load(experiment: &Experiment, runtime: Runtime) -> Result<Self, TrainError> {
        let device = runtime.device;
        let network = open_class_conditional(&experiment.teacher.weights)?;
        let count = network.num_classes();
        let folder = experiment
            .teacher
            .vae
            .as_ref()
            .ok_or_else(|| TrainError::Incompatible {
                what: "teacher.vae".to_owned(),
                reason: "a class-conditional teacher predicts latents; name its autoencoder"
                    .to_owned(),
            })?;
        let store = ParamStore::frozen(device).keeping(memory::rewards(experiment, runtime));
        let vae = AutoencoderKl::new(&store, load_diffusers_config::<AutoencoderKl>(folder)?)?;
        AutoencoderKl::load(&store, folder)?;
        Ok(Self {
            count,
            null: network.condition(&Tensor::from_slice(&[count]).to_device(device)),
            network,
            vae: Rc::new(vae),
            warning: ignored_keys::<AutoencoderKl>(folder)?,
            seed: experiment.seed,
            device,
        })
    }

    fn draw(&self, seed: u64, iteration: u64, count: usize) -> Prompts {
        let class = |index| {
            mix(&[seed, iteration, index])
                .rem_euclid(self.count)
                .to_string()
        };
        Prompts::plain((0..count as u64).map(class).collect())
    }
}

impl Source for Classes {
    fn training(&self, iteration: u64, count: usize, ranks: Ranks) -> Result<Prompts, TrainError> {
        let whole = count * ranks.count() as usize;
        Ok(self.draw(self.seed, iteration, whole).every(ranks))
    }

    fn sheet(&self, count: usize) -> Result<Prompts, TrainError> {
        Ok(self.draw(SHEET, 0, count))
    }

    fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError> {
        let number = |caption: &String| match caption.trim().parse() {
            Ok(class) if (0..self.count).contains(&class) => Ok(class),
            _ => Err(TrainError::Class {
                found: caption.clone(),
                count: self.count,
            }),
        };
        let classes = prompts
            .captions
            .iter()
            .map(number)
            .collect::<Result<Vec<i64>, _>>()?;
        let classes = Tensor::from_slice(&classes).to_device(self.device);
        Ok(self.network.condition(&classes))
    }

    fn null(&self) -> &Conditioning {
        &self.null
    }

    fn backbone(&self, _experiment: &Experiment) -> Result<Backbone, TrainError> {
        let shape = self.network.image_shape();
        Ok(Backbone::new(self.network.clone(), shape))
    }

    fn decoder(&self) -> Rc<dyn Decoder> {
        self.vae.clone()
    }

    fn warnings(&self, _experiment: &Experiment) -> Vec<String> {
        self.warning.iter().cloned().collect()
    }
}
