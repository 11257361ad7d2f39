//! Pictures of fixed validation prompts on fixed noise, teacher and student alike, over training.

use std::path::{Path, PathBuf};

use dmdr_batches::{Prompts, images_from_tensor};
use dmdr_eval::Sampler;
use dmdr_events::{RunDir, atomic_write};
use dmdr_image::Image;
use dmdr_tensor::{Device, Kind, Tensor, reseed};

use crate::TrainError;

const COLUMNS: usize = 4;
/// Noise of the sheets; nothing else uses this stream.
const STREAM: u64 = 0x5EE7;

/// The fixed prompts and noise.
#[derive(Debug)]
pub(crate) struct Sheet {
    prompts: Prompts,
    noise: Tensor,
}

impl Sheet {
    /// `prompts` with noise `[count, C, H, W]`.
    pub(crate) fn new(prompts: Prompts, image_shape: [i64; 3], device: Device) -> Self {
        reseed(&[STREAM]);
        let [c, h, w] = image_shape;
        let noise = Tensor::randn([prompts.len() as i64, c, h, w], (Kind::Float, device));
        Self { prompts, noise }
    }

    /// Draws the sheet of `sampler` and writes it to `path`.
    ///
    /// # Errors
    /// If sampling fails or the file cannot be written.
    pub(crate) fn write(&self, sampler: &dyn Sampler, path: &Path) -> Result<(), TrainError> {
        Ok(atomic_write(path, self.draw(sampler)?.png(&[]))?)
    }

    /// The sheet of `sampler`.
    ///
    /// # Errors
    /// If sampling fails.
    pub(crate) fn draw(&self, sampler: &dyn Sampler) -> Result<Image, TrainError> {
        reseed(&[STREAM, 1]);
        let images = images_from_tensor(&sampler.sample(&self.prompts, &self.noise)?);
        let images: Vec<Image> = images.iter().map(Image::viewable).collect();
        Ok(Image::grid(&images, COLUMNS))
    }

    /// Writes how sheets are laid out and what they show, for reports.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_legend(&self, run: &RunDir) -> Result<(), TrainError> {
        let captions = &self.prompts.captions;
        let legend = serde_json::json!({ "columns": COLUMNS, "captions": captions, "margin": 2 });
        Ok(atomic_write(
            samples(run).join("sheet.json"),
            legend.to_string(),
        )?)
    }

    /// Where the teacher's sheet lies.
    pub(crate) fn teacher_path(run: &RunDir) -> PathBuf {
        samples(run).join("teacher.png")
    }
}

fn samples(run: &RunDir) -> PathBuf {
    run.path().join("samples")
}
