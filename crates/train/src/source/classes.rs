//! Classes as a source: every prompt is the number of one, and an autoencoder makes images of latents (SiT on ImageNet).

use std::rc::Rc;

use dmdr_config::Experiment;
use dmdr_data::Prompts;
use dmdr_models::{
    AutoencoderKl, Conditioning, Decoder, Sit, ignored_keys, load_config, load_diffusers_config,
};
use dmdr_tensor::{Device, ParamStore, Tensor, mix};

use crate::TrainError;

/// The sequence of classes of the sample sheets.
const SHEET: u64 = 0x5EE7;

/// Classes `0 .. count`; the class behind them is the empty one.
#[derive(Debug)]
pub struct Classes {
    count: i64,
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
    pub fn load(experiment: &Experiment, device: Device) -> Result<Self, TrainError> {
        let count = load_config::<Sit>(&experiment.teacher.weights)?.num_classes;
        let folder = experiment
            .teacher
            .vae
            .as_ref()
            .ok_or_else(|| TrainError::Incompatible {
                what: "teacher.vae".to_owned(),
                reason: "a class-conditional teacher predicts latents; name its autoencoder"
                    .to_owned(),
            })?;
        let store = ParamStore::frozen(device);
        let vae = AutoencoderKl::new(&store, load_diffusers_config::<AutoencoderKl>(folder)?)?;
        AutoencoderKl::load(&store, folder)?;
        Ok(Self {
            count,
            null: Sit::condition(&Tensor::from_slice(&[count]).to_device(device)),
            vae: Rc::new(vae),
            warning: ignored_keys::<AutoencoderKl>(folder)?,
            seed: experiment.seed,
            device,
        })
    }

    pub(super) fn training(&self, iteration: u64, count: usize) -> Prompts {
        self.draw(self.seed, iteration, count)
    }

    pub(super) fn sheet(&self, count: usize) -> Prompts {
        self.draw(SHEET, 0, count)
    }

    fn draw(&self, seed: u64, iteration: u64, count: usize) -> Prompts {
        let class = |index| {
            mix(&[seed, iteration, index])
                .rem_euclid(self.count)
                .to_string()
        };
        Prompts::plain((0..count as u64).map(class).collect(), self.device)
    }

    pub(super) fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError> {
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
        Ok(Sit::condition(
            &Tensor::from_slice(&classes).to_device(self.device),
        ))
    }

    pub(super) fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    pub(super) fn null(&self) -> &Conditioning {
        &self.null
    }

    pub(super) fn decoder(&self) -> Rc<dyn Decoder> {
        self.vae.clone()
    }
}
