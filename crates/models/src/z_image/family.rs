//! Z-Image as a family: what its folders hold, and what other tools call its parts.

use std::{path::Path, rc::Rc};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Device, ParamStore, Runtime, Tensor};

use super::{ZImage, ZImageConfig, ZImageText, names::original};
use crate::{
    Architecture, Component, Conditioning, Denoiser, Diffusers, Family, ModelError, Outputs,
    Pipeline, PipelineIndex, TextEncoder, ignored_keys, load_diffusers_config,
};

/// Z-Image.
#[derive(Debug)]
pub(crate) struct ZImageFamily;

impl Family for ZImageFamily {
    fn name(&self) -> &'static str {
        "Z-Image"
    }

    fn classes(&self) -> &'static [&'static str] {
        &[
            "ZImagePipeline",
            "ZImageImg2ImgPipeline",
            "ZImageInpaintPipeline",
        ]
    }

    fn components(&self) -> &'static [Component] {
        &[
            ("transformer", &[ZImage::CLASS]),
            ("vae", &["AutoencoderKL"]),
            ("text_encoder", &["Qwen3Model", "Qwen3ForCausalLM"]),
            ("tokenizer", &[]),
            ("scheduler", &[]),
        ]
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }

    /// Of Qwen3.
    fn max_sequence_length(&self) -> Option<usize> {
        Some(512)
    }

    /// It counts guidance from 0.
    fn no_guidance(&self) -> f64 {
        0.0
    }

    fn ignored_keys(&self, folder: &Path) -> Result<Option<String>, ModelError> {
        ignored_keys::<ZImage>(folder)
    }

    fn open(&self, index: &PipelineIndex) -> Result<Rc<dyn Pipeline>, ModelError> {
        Ok(Rc::new(ZImagePipeline {
            config: load_diffusers_config::<ZImage>(&index.network())?,
            index: index.clone(),
        }))
    }

    fn original_name(&self, layer: &str, _weight: [i64; 2]) -> Option<(String, Outputs)> {
        original(layer)
    }

    /// diffusers' own.
    fn comfyui_name(&self, layer: &str) -> (String, Option<i64>) {
        (format!("diffusion_model.{layer}"), None)
    }
}

/// One in a folder.
#[derive(Debug)]
struct ZImagePipeline {
    index: PipelineIndex,
    config: ZImageConfig,
}

impl Pipeline for ZImagePipeline {
    fn index(&self) -> &PipelineIndex {
        &self.index
    }

    fn in_channels(&self) -> i64 {
        self.config.in_channels
    }

    fn patch_size(&self) -> i64 {
        self.config.patch()
    }

    /// Ours are computed as needed, but diffusers draws nothing larger.
    fn longest_side(&self) -> Option<i64> {
        let places = self.config.axes_lens.iter().skip(1).min();
        places.map(|places| places * self.config.patch())
    }

    fn text_encoder(
        &self,
        runtime: Runtime,
        max_sequence_length: usize,
    ) -> Result<Box<dyn TextEncoder>, ModelError> {
        let folder = self.index.folder();
        let text = ZImageText::load(folder, runtime, max_sequence_length)?;
        Ok(Box::new(text))
    }

    fn text_rule(&self) -> Result<String, ModelError> {
        Ok("ZImage".to_owned())
    }

    fn random_text(&self, max_sequence_length: usize, device: Device) -> Conditioning {
        let length = max_sequence_length as i64;
        let random = Conditioning::random(length, self.config.cap_feat_dim, 1, device);
        ZImageText::condition(
            random.tokens,
            &Tensor::from_slice(&[length]).to_device(device),
        )
    }

    fn widths(&self, cond: &Conditioning) -> Vec<(&'static str, i64, i64)> {
        let made = cond.tokens.size()[2];
        vec![("cap_feat_dim", self.config.cap_feat_dim, made)]
    }
}

impl Architecture for ZImagePipeline {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(ZImage::new(store, adapters, self.config.clone())?))
    }

    fn load(&self, store: &ParamStore) -> Result<(), ModelError> {
        store.load_folder(&self.index.network())?;
        Ok(())
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &ZImage::LORA_TARGETS
    }

    fn schedule(&self) -> Schedule {
        ZImageFamily.schedule()
    }

    fn is_compact(&self) -> bool {
        true
    }
}
