//! SDXL as a family: what its folders hold, and what other tools call its parts.

use std::{path::Path, rc::Rc};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Device, ParamStore, Runtime, Tensor};
use serde_json::Value;

use super::{SdxlConfig, SdxlText, SdxlUnet, names::original};
use crate::{
    Architecture, Component, Conditioning, Denoiser, Diffusers, Family, ModelError, Outputs,
    Pipeline, PipelineIndex, TextEncoder, ignored_keys, load_diffusers_config, text::CLIP_TOKENS,
};

const FORCES_ZEROS: &str = "force_zeros_for_empty_prompt";
const IS_REFINER: &str = "requires_aesthetics_score";

/// Stable Diffusion XL.
#[derive(Debug)]
pub(crate) struct SdxlFamily;

impl Family for SdxlFamily {
    fn name(&self) -> &'static str {
        "SDXL"
    }

    fn classes(&self) -> &'static [&'static str] {
        &[
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
        ]
    }

    fn components(&self) -> &'static [Component] {
        &[
            ("unet", &[SdxlUnet::CLASS]),
            ("vae", &["AutoencoderKL"]),
            ("text_encoder", &["CLIPTextModel"]),
            ("text_encoder_2", &["CLIPTextModelWithProjection"]),
            ("tokenizer", &[]),
            ("tokenizer_2", &[]),
            ("scheduler", &[]),
        ]
    }

    fn options(&self) -> &'static [&'static str] {
        &[FORCES_ZEROS, IS_REFINER]
    }

    fn refusal(&self, index: &PipelineIndex) -> Option<String> {
        let is_refiner = index.get(IS_REFINER)? != &Value::Bool(false);
        is_refiner
            .then(|| format!("`{IS_REFINER}` is set: SDXL's refiner is not built, its base is"))
    }

    fn schedule(&self) -> Schedule {
        Schedule::ScaledLinear
    }

    fn max_sequence_length(&self) -> Option<usize> {
        None
    }

    fn shifts_latents(&self) -> bool {
        false
    }

    fn ignored_keys(&self, folder: &Path) -> Result<Option<String>, ModelError> {
        ignored_keys::<SdxlUnet>(folder)
    }

    fn open(&self, index: &PipelineIndex) -> Result<Rc<dyn Pipeline>, ModelError> {
        Ok(Rc::new(SdxlPipeline {
            config: load_diffusers_config::<SdxlUnet>(&index.network())?,
            index: index.clone(),
        }))
    }

    fn original_name(&self, layer: &str, _weight: [i64; 2]) -> Option<(String, Outputs)> {
        Some((original(layer)?, Outputs::All))
    }

    /// kohya's.
    fn comfyui_name(&self, layer: &str) -> (String, Option<i64>) {
        let name = original(layer).unwrap_or_else(|| layer.to_owned());
        (format!("lora_unet_{}", name.replace('.', "_")), None)
    }
}

/// One in a folder.
#[derive(Debug)]
struct SdxlPipeline {
    index: PipelineIndex,
    config: SdxlConfig,
}

impl SdxlPipeline {
    /// Whether guidance goes away from zeros instead of the encoded empty prompt. Python's `None` is no.
    fn forces_zeros(&self) -> Result<bool, ModelError> {
        match self.index.get(FORCES_ZEROS) {
            None => Ok(true),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(found) => {
                let reason = format!("`{FORCES_ZEROS}` is {found}, expected true or false");
                Err(self.index.refused(&reason))
            }
        }
    }
}

impl Pipeline for SdxlPipeline {
    fn index(&self) -> &PipelineIndex {
        &self.index
    }

    fn in_channels(&self) -> i64 {
        self.config.in_channels
    }

    /// On its way up it makes maps of the sizes that it met on its way down, as diffusers does.
    fn patch_size(&self) -> i64 {
        1
    }

    fn text_encoder(
        &self,
        runtime: Runtime,
        _max_sequence_length: usize,
    ) -> Result<Box<dyn TextEncoder>, ModelError> {
        let forces_zeros = self.forces_zeros()?;
        let text = SdxlText::load(self.index.folder(), runtime, forces_zeros)?;
        Ok(Box::new(text))
    }

    fn text_rule(&self) -> Result<String, ModelError> {
        let other = if self.forces_zeros()? {
            ""
        } else {
            ", away from the empty prompt"
        };
        Ok(format!("StableDiffusionXl{other}"))
    }

    /// The image is whole, not cropped.
    fn with_size(&self, cond: Conditioning, size: i64) -> Conditioning {
        let side = size as f32;
        let sizes = Tensor::from_slice(&[side, side, 0.0, 0.0, side, side])
            .to_device(cond.pooled.device())
            .expand([cond.batch(), SdxlUnet::NUM_SIZES], false);
        SdxlUnet::condition(cond.tokens, &cond.pooled, &sizes)
    }

    fn random_text(&self, _: usize, device: Device) -> Conditioning {
        let config = &self.config;
        let pooled = config.pooled_dim();
        Conditioning::random(CLIP_TOKENS, config.cross_attention_dim, pooled, device)
    }

    fn widths(&self, cond: &Conditioning) -> Vec<(&'static str, i64, i64)> {
        let config = &self.config;
        let projected = config.projection_class_embeddings_input_dim;
        let sinusoids = projected - config.pooled_dim();
        let pooled = cond.pooled.size()[1] - SdxlUnet::NUM_SIZES;
        vec![
            (
                "cross_attention_dim",
                config.cross_attention_dim,
                cond.tokens.size()[2],
            ),
            (
                "projection_class_embeddings_input_dim",
                projected,
                pooled + sinusoids,
            ),
        ]
    }
}

impl Architecture for SdxlPipeline {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        let net = SdxlUnet::new(store, adapters, self.config.clone())?;
        Ok(Box::new(net))
    }

    fn load(&self, store: &ParamStore) -> Result<(), ModelError> {
        store.load_folder(&self.index.network())?;
        Ok(())
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &SdxlUnet::LORA_TARGETS
    }

    fn schedule(&self) -> Schedule {
        SdxlFamily.schedule()
    }

    fn is_compact(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::read;

    #[test]
    fn the_empty_prompt_of_sdxl() {
        let zeros = |value: &str| {
            let text = format!("{{\"_class_name\": \"StableDiffusionXLPipeline\"{value}}}");
            let index = read(&text).expect("built");
            let config = SdxlConfig::sdxl();
            let pipeline = SdxlPipeline { index, config };
            pipeline.forces_zeros().map_err(|error| error.to_string())
        };
        let key = format!(", \"{FORCES_ZEROS}\": ");
        assert_eq!(zeros(""), Ok(true));
        assert_eq!(zeros(&format!("{key}true")), Ok(true));
        assert_eq!(zeros(&format!("{key}false")), Ok(false));
        assert_eq!(zeros(&format!("{key}null")), Ok(false));
        let error = zeros(&format!("{key}\"false\"")).expect_err("text");
        assert!(
            error.contains("is \"false\", expected true or false"),
            "{error}"
        );
    }
}
