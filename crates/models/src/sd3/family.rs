//! SD3 and SD3.5 as a family: what their folders hold, and what other tools call their parts.

use std::{path::Path, rc::Rc};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Device, ParamStore, Runtime};

use super::{Sd3, Sd3Config, Sd3Text, names::original};
use crate::{
    Architecture, Component, Conditioning, Denoiser, Diffusers, Family, ModelError, Outputs,
    Pipeline, PipelineIndex, TextEncoder, ignored_keys, load_diffusers_config, text::CLIP_TOKENS,
};

const T5: &str = "text_encoder_3";

/// SD3-Medium, SD3.5-Medium and -Large.
#[derive(Debug)]
pub(crate) struct Sd3Family;

impl Family for Sd3Family {
    fn name(&self) -> &'static str {
        "SD3"
    }

    fn classes(&self) -> &'static [&'static str] {
        &[
            "StableDiffusion3Pipeline",
            "StableDiffusion3Img2ImgPipeline",
            "StableDiffusion3InpaintPipeline",
        ]
    }

    fn components(&self) -> &'static [Component] {
        &[
            ("transformer", &[Sd3::CLASS]),
            ("vae", &["AutoencoderKL"]),
            ("text_encoder", &["CLIPTextModelWithProjection"]),
            ("text_encoder_2", &["CLIPTextModelWithProjection"]),
            (T5, &["T5EncoderModel"]),
            ("tokenizer", &[]),
            ("tokenizer_2", &[]),
            ("tokenizer_3", &[]),
            ("scheduler", &[]),
        ]
    }

    fn optional_components(&self) -> &'static [&'static str] {
        &[T5, "tokenizer_3"]
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }

    /// Of T5.
    fn max_sequence_length(&self) -> Option<usize> {
        Some(256)
    }

    fn ignored_keys(&self, folder: &Path) -> Result<Option<String>, ModelError> {
        ignored_keys::<Sd3>(folder)
    }

    fn open(&self, index: &PipelineIndex) -> Result<Rc<dyn Pipeline>, ModelError> {
        Ok(Rc::new(Sd3Pipeline {
            config: load_diffusers_config::<Sd3>(&index.network())?,
            index: index.clone(),
        }))
    }

    /// A last block is told by the shape of its context's modulation, which has but a scale and a shift.
    fn original_name(&self, layer: &str, [out, fan_in]: [i64; 2]) -> Option<(String, Outputs)> {
        original(layer, out == 2 * fan_in)
    }

    /// OneTrainer's. ComfyUI derives them from diffusers' for every layer but the second attention of SD3.5-Medium; what it
    /// knows of any network is `diffusion_model.` before the original checkpoint's own names.
    fn comfyui_name(&self, layer: &str) -> (String, Option<i64>) {
        if layer.contains(".attn2.")
            && let Some((name, outputs)) = original(layer, false)
        {
            let third = match outputs {
                Outputs::Third(third) => Some(third),
                Outputs::All | Outputs::Swapped => None,
            };
            return (format!("diffusion_model.{name}"), third);
        }
        let name = format!("lora_transformer_{}", layer.replace('.', "_"));
        (name, None)
    }
}

/// One in a folder.
#[derive(Debug)]
struct Sd3Pipeline {
    index: PipelineIndex,
    config: Sd3Config,
}

impl Sd3Pipeline {
    /// Whether it has its third text encoder, T5; without it its tokens are zeros, as in diffusers.
    fn has_t5(&self) -> Result<bool, ModelError> {
        let is_there = self.index.folder().join(T5).is_dir();
        if self.index.class_of(T5).is_some() && !is_there {
            return Err(self.index.refused(&format!(
                "it names `{T5}`, which is not there; download it, or do without it: \
                 `\"{T5}\": [null, null]`"
            )));
        }
        Ok(is_there && !self.index.is_left_out(T5))
    }
}

impl Pipeline for Sd3Pipeline {
    fn index(&self) -> &PipelineIndex {
        &self.index
    }

    fn in_channels(&self) -> i64 {
        self.config.in_channels
    }

    fn patch_size(&self) -> i64 {
        self.config.patch_size
    }

    fn longest_side(&self) -> Option<i64> {
        Some(self.config.pos_embed_max_size * self.config.patch_size)
    }

    fn num_patches(&self, [height, width]: [i64; 2]) -> i64 {
        let patch = self.config.patch_size;
        (height / patch) * (width / patch)
    }

    fn text_encoder(
        &self,
        runtime: Runtime,
        max_sequence_length: usize,
    ) -> Result<Box<dyn TextEncoder>, ModelError> {
        Ok(Box::new(Sd3Text::load(
            self.index.folder(),
            runtime,
            self.config.joint_attention_dim,
            max_sequence_length,
            self.has_t5()?,
        )?))
    }

    /// Encodings are filled up to the width of the transformer.
    fn text_rule(&self) -> Result<String, ModelError> {
        let is_unread = !self.has_t5()? && self.index.folder().join(T5).is_dir();
        let without = if is_unread { ", without T5" } else { "" };
        let width = self.config.joint_attention_dim;
        Ok(format!("StableDiffusion3, width {width}{without}"))
    }

    fn random_text(&self, max_sequence_length: usize, device: Device) -> Conditioning {
        let config = &self.config;
        Conditioning::random(
            CLIP_TOKENS + max_sequence_length as i64,
            config.joint_attention_dim,
            config.pooled_projection_dim,
            device,
        )
    }

    fn widths(&self, cond: &Conditioning) -> Vec<(&'static str, i64, i64)> {
        vec![
            (
                "joint_attention_dim",
                self.config.joint_attention_dim,
                cond.tokens.size()[2],
            ),
            (
                "pooled_projection_dim",
                self.config.pooled_projection_dim,
                cond.pooled.size()[1],
            ),
        ]
    }
}

impl Architecture for Sd3Pipeline {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(Sd3::new(store, adapters, self.config.clone())?))
    }

    fn load(&self, store: &ParamStore) -> Result<(), ModelError> {
        store.load_folder(&self.index.network())?;
        Ok(())
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &Sd3::LORA_TARGETS
    }

    fn schedule(&self) -> Schedule {
        Sd3Family.schedule()
    }

    fn is_compact(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sd3_without_t5() {
        let dir = tempfile::tempdir().expect("temp dir");
        let has = |value: &str| {
            let text = format!("{{\"_class_name\": \"StableDiffusion3Pipeline\"{value}}}");
            fs::write(dir.path().join("model_index.json"), text).expect("writable");
            let index = PipelineIndex::read(dir.path()).expect("built");
            let config = Sd3Config::sd3_medium();
            let pipeline = Sd3Pipeline { index, config };
            pipeline.has_t5().map_err(|error| error.to_string())
        };
        let null = ", \"text_encoder_3\": [null, null], \"tokenizer_3\": [null, null]";
        let named = ", \"text_encoder_3\": [\"transformers\", \"T5EncoderModel\"]";
        assert_eq!(has(""), Ok(false));
        assert_eq!(has(null), Ok(false));
        assert!(has(named).expect_err("no folder").contains("[null, null]"));
        fs::create_dir(dir.path().join("text_encoder_3")).expect("writable");
        assert_eq!(has(named), Ok(true));
        assert_eq!(has(""), Ok(true));
        assert_eq!(has(null), Ok(false), "the folder may be there all the same");
    }
}
