//! Published text-to-image pipelines: what a folder in diffusers' layout holds, from its `model_index.json`.

use std::path::{Path, PathBuf};

use dmdr_tensor::{DIFFUSERS_WEIGHTS, TensorError, WeightFiles};
use serde_json::{Map, Value};

use crate::{
    AutoencoderKl, ModelError, Sd3, SdxlUnet, ZImage,
    diffusers::{ignored_keys, plain, warning_of},
    json::read_json,
    text::TRANSFORMERS_WEIGHTS,
};

/// A pipeline that is built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// SDXL.
    StableDiffusionXl,
    /// SD3-Medium, SD3.5-Medium and -Large.
    StableDiffusion3,
    /// Z-Image.
    ZImage,
}

/// A part of a pipeline, and the classes that it may have; none, where any will do.
type Component = (&'static str, &'static [&'static str]);

/// Parts and options of diffusers' constructors on which no number here depends.
const UNUSED: [&str; 5] = [
    "feature_extractor",
    "image_encoder",
    "safety_checker",
    "requires_safety_checker",
    "add_watermarker",
];

/// Of SDXL's pipelines.
const FORCES_ZEROS: &str = "force_zeros_for_empty_prompt";

impl Pipeline {
    /// That of a class of diffusers. Forms of the same networks for other tasks differ in no file.
    fn of_class(class: &str) -> Option<Self> {
        Some(match class {
            "StableDiffusionXLPipeline"
            | "StableDiffusionXLImg2ImgPipeline"
            | "StableDiffusionXLInpaintPipeline" => Self::StableDiffusionXl,
            "StableDiffusion3Pipeline"
            | "StableDiffusion3Img2ImgPipeline"
            | "StableDiffusion3InpaintPipeline" => Self::StableDiffusion3,
            "ZImagePipeline" | "ZImageImg2ImgPipeline" | "ZImageInpaintPipeline" => Self::ZImage,
            _ => return None,
        })
    }

    /// Tokens that its encoder for long texts reads of a prompt if nothing else is said, as diffusers' argument
    /// `max_sequence_length` (0.42.1); none where there is no such encoder.
    pub fn max_sequence_length(self) -> Option<usize> {
        match self {
            Self::StableDiffusionXl => None,
            Self::StableDiffusion3 => Some(256),
            Self::ZImage => Some(512),
        }
    }

    /// Folder of the denoising network in the pipeline's.
    pub fn network(self) -> &'static str {
        match self {
            Self::StableDiffusionXl => "unet",
            Self::StableDiffusion3 | Self::ZImage => "transformer",
        }
    }

    fn components(self) -> &'static [Component] {
        match self {
            Self::StableDiffusionXl => &[
                ("unet", &["UNet2DConditionModel"]),
                ("vae", &["AutoencoderKL"]),
                ("text_encoder", &["CLIPTextModel"]),
                ("text_encoder_2", &["CLIPTextModelWithProjection"]),
                ("tokenizer", &[]),
                ("tokenizer_2", &[]),
                ("scheduler", &[]),
            ],
            Self::StableDiffusion3 => &[
                ("transformer", &["SD3Transformer2DModel"]),
                ("vae", &["AutoencoderKL"]),
                ("text_encoder", &["CLIPTextModelWithProjection"]),
                ("text_encoder_2", &["CLIPTextModelWithProjection"]),
                ("text_encoder_3", &["T5EncoderModel"]),
                ("tokenizer", &[]),
                ("tokenizer_2", &[]),
                ("tokenizer_3", &[]),
                ("scheduler", &[]),
            ],
            Self::ZImage => &[
                ("transformer", &["ZImageTransformer2DModel"]),
                ("vae", &["AutoencoderKL"]),
                ("text_encoder", &["Qwen3Model", "Qwen3ForCausalLM"]),
                ("tokenizer", &[]),
                ("scheduler", &[]),
            ],
        }
    }
}

/// The `model_index.json` of a pipeline that is built here.
#[derive(Clone, Debug)]
pub struct PipelineIndex {
    pipeline: Pipeline,
    class: String,
    folder: PathBuf,
    fields: Map<String, Value>,
}

impl PipelineIndex {
    /// That in `folder`.
    ///
    /// # Errors
    /// An unreadable `model_index.json`, one of another class or with parts of other classes.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("model_index.json");
        if !path.is_file() {
            return Err(no_pipeline(folder));
        }
        let fields: Map<String, Value> = read_json(&path)?;
        let class = fields
            .get("_class_name")
            .map_or("missing".to_owned(), plain);
        let Some(pipeline) = Pipeline::of_class(&class) else {
            let reason = format!(
                "`_class_name` is {class}, expected StableDiffusionXLPipeline, \
                 StableDiffusion3Pipeline or ZImagePipeline, or their Img2Img or Inpaint form"
            );
            return Err(ModelError::refused(&path, &reason));
        };
        let index = Self {
            pipeline,
            class,
            folder: folder.to_owned(),
            fields,
        };
        let check = |component| index.check(component);
        match pipeline.components().iter().find_map(check) {
            Some(reason) => Err(ModelError::refused(&path, &reason)),
            None => Ok(index),
        }
    }

    /// What is wrong with a part.
    fn check(&self, &(name, classes): &Component) -> Option<String> {
        let aesthetics = self.fields.get("requires_aesthetics_score");
        if aesthetics.is_some_and(|value| *value != Value::Bool(false)) {
            return Some(
                "`requires_aesthetics_score` is set: SDXL's refiner is not built, its base is"
                    .to_owned(),
            );
        }
        let found = self.fields.get(name)?;
        let class = found.get(1).and_then(Value::as_str);
        let is_left_out = class.is_none() && self.is_left_out(name);
        let may_be_left_out = matches!(name, "text_encoder_3" | "tokenizer_3" | "scheduler");
        let is_known = class.is_some_and(|class| classes.is_empty() || classes.contains(&class));
        if is_known || (is_left_out && may_be_left_out) {
            return None;
        }
        let found = class.map_or_else(|| found.to_string(), str::to_owned);
        let expected = classes.first().unwrap_or(&"a library and a class");
        Some(format!("`{name}` is {found}, but only {expected} is built"))
    }

    /// Which pipeline.
    pub fn pipeline(&self) -> Pipeline {
        self.pipeline
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The class of the part `name`, where it is said.
    pub(crate) fn class_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.get(1)?.as_str()
    }

    fn is_left_out(&self, name: &str) -> bool {
        match self.fields.get(name) {
            Some(Value::Array(pair)) => pair.iter().all(Value::is_null),
            Some(value) => value.is_null(),
            None => false,
        }
    }

    /// Whether SDXL is guided away from zeros instead of the encoded empty prompt. Python's `None` is no.
    ///
    /// # Errors
    /// Another value than true or false.
    pub fn forces_zeros(&self) -> Result<bool, ModelError> {
        match self.fields.get(FORCES_ZEROS) {
            None => Ok(true),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(found) => {
                let reason = format!("`{FORCES_ZEROS}` is {found}, expected true or false");
                let path = self.folder.join("model_index.json");
                Err(ModelError::refused(&path, &reason))
            }
        }
    }

    /// Whether SD3 has its third text encoder, T5; without it its tokens are zeros, as in diffusers.
    ///
    /// # Errors
    /// If it is named, but not there.
    pub fn has_t5(&self) -> Result<bool, ModelError> {
        let name = "text_encoder_3";
        let is_there = self.folder.join(name).is_dir();
        if self.class_of(name).is_some() && !is_there {
            let reason = format!(
                "it names `{name}`, which is not there; download it, or do without it: \
                 `\"{name}\": [null, null]`"
            );
            let path = self.folder.join("model_index.json");
            return Err(ModelError::refused(&path, &reason));
        }
        Ok(is_there && !self.is_left_out(name))
    }

    /// What is read otherwise than a user may expect: keys that are ignored, as diffusers ignores them, and weights that are
    /// only there in half precision.
    ///
    /// # Errors
    /// A `config.json` that cannot be read.
    pub fn warnings(&self) -> Result<Vec<String>, ModelError> {
        let mut unknown = self.fields.clone();
        let components = self.pipeline.components();
        unknown.retain(|key, _| {
            let is_component = components.iter().any(|(name, _)| name == key);
            let is_option = self.pipeline == Pipeline::StableDiffusionXl
                && (key == FORCES_ZEROS || key == "requires_aesthetics_score");
            let is_unused = UNUSED.contains(&key.as_str());
            !(key.starts_with('_') || is_component || is_option || is_unused)
        });
        let path = self.folder.join("model_index.json");
        let network = self.folder.join(self.pipeline.network());
        let found = [
            warning_of(&path, &unknown, &self.class),
            match self.pipeline {
                Pipeline::StableDiffusionXl => ignored_keys::<SdxlUnet>(&network)?,
                Pipeline::StableDiffusion3 => ignored_keys::<Sd3>(&network)?,
                Pipeline::ZImage => ignored_keys::<ZImage>(&network)?,
            },
            ignored_keys::<AutoencoderKl>(&self.folder.join("vae"))?,
            self.rounded(),
        ];
        Ok(found.into_iter().flatten().collect())
    }

    fn rounded(&self) -> Option<String> {
        let named = self.pipeline.components().iter().map(|(name, _)| *name);
        let files = named
            .filter(|name| !self.is_left_out(name))
            .filter_map(|name| {
                let files = weights_of_part(&self.folder, name).ok()?;
                let file = files.rounded()?.file_name()?.display().to_string();
                Some(format!("`{name}/{file}`"))
            });
        let files: Vec<String> = files.collect();
        (!files.is_empty()).then(|| {
            format!(
                "`{}` has some weights in half precision only, which is what the teacher computes \
                 with: {}",
                self.folder.display(),
                files.join(", ")
            )
        })
    }
}

/// The weights of a network in the folder `part` of the pipeline in `folder`: those that are loaded.
///
/// # Errors
/// As for [`WeightFiles::of`].
pub fn weights_of_part(folder: &Path, part: &str) -> Result<WeightFiles, TensorError> {
    let weights = if part.starts_with("text_encoder") {
        TRANSFORMERS_WEIGHTS
    } else {
        DIFFUSERS_WEIGHTS
    };
    WeightFiles::of(&folder.join(part), weights)
}

/// Why `folder` is none, and where a pipeline may be found or come from.
fn no_pipeline(folder: &Path) -> ModelError {
    let above = folder
        .parent()
        .filter(|above| above.join("model_index.json").is_file());
    let reason = if folder.is_file() {
        "it is a file, expected the folder of a pipeline in diffusers' layout; diffusers makes one \
         of a single file: `Pipeline.from_single_file(FILE).save_pretrained(FOLDER)`"
            .to_owned()
    } else if let Some(above) = above {
        format!(
            "it is a part of a pipeline, whose folder is `{}`",
            above.display()
        )
    } else {
        "there is no `model_index.json` in it, as in the folder of a pipeline in diffusers' layout"
            .to_owned()
    };
    ModelError::refused(folder, &reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<PipelineIndex, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("model_index.json"), text).expect("writable");
        PipelineIndex::read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn forms_of_the_same_pipeline() {
        for (class, expected) in [
            (
                "StableDiffusionXLImg2ImgPipeline",
                Pipeline::StableDiffusionXl,
            ),
            (
                "StableDiffusion3InpaintPipeline",
                Pipeline::StableDiffusion3,
            ),
            ("ZImagePipeline", Pipeline::ZImage),
        ] {
            let index = read(&format!("{{\"_class_name\": \"{class}\"}}")).expect("built");
            assert_eq!(index.pipeline(), expected);
        }
    }

    #[test]
    fn other_classes_are_refused_by_name() {
        let sd3 = r#"{"_class_name": "StableDiffusion3Pipeline", "#;
        let xl = r#"{"_class_name": "StableDiffusionXLPipeline", "#;
        for (text, named) in [
            (
                r#"{"_class_name": "FluxPipeline"}"#.to_owned(),
                "`_class_name` is FluxPipeline",
            ),
            (
                r#"{"_class_name": ["pipeline", "Mine"]}"#.to_owned(),
                "[\"pipeline\",\"Mine\"]",
            ),
            ("{}".to_owned(), "`_class_name` is missing"),
            (
                format!(r#"{sd3} "transformer": ["diffusers", "FluxTransformer2DModel"]}}"#),
                "`transformer` is FluxTransformer2DModel, but only SD3Transformer2DModel is built",
            ),
            (
                format!(r#"{sd3} "text_encoder": [null, null]}}"#),
                "`text_encoder` is [null,null]",
            ),
            (
                format!(r#"{xl} "vae": ["diffusers", "AutoencoderTiny"]}}"#),
                "`vae` is AutoencoderTiny",
            ),
            (
                format!(
                    r#"{xl} "text_encoder": ["transformers", "CLIPTextModelWithProjection"]}}"#
                ),
                "but only CLIPTextModel is built",
            ),
            (
                format!(r#"{xl} "requires_aesthetics_score": true}}"#),
                "refiner",
            ),
        ] {
            let error = read(&text).expect_err("refused");
            assert!(
                error.contains("model_index.json") && error.contains(named),
                "{error}"
            );
        }
    }

    #[test]
    fn the_empty_prompt_of_sdxl() {
        let zeros = |value: &str| {
            let text = format!("{{\"_class_name\": \"StableDiffusionXLPipeline\"{value}}}");
            let index = read(&text).expect("built");
            index.forces_zeros().map_err(|error| error.to_string())
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

    #[test]
    fn sd3_without_t5() {
        let dir = tempfile::tempdir().expect("temp dir");
        let has = |value: &str| {
            let text = format!("{{\"_class_name\": \"StableDiffusion3Pipeline\"{value}}}");
            fs::write(dir.path().join("model_index.json"), text).expect("writable");
            let index = PipelineIndex::read(dir.path()).expect("built");
            index.has_t5().map_err(|error| error.to_string())
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

    #[test]
    fn folders_that_are_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error = |path: &Path| PipelineIndex::read(path).expect_err("none").to_string();
        assert!(error(dir.path()).contains("no `model_index.json` in it"));
        fs::write(dir.path().join("model_index.json"), "{}").expect("writable");
        fs::create_dir(dir.path().join("unet")).expect("writable");
        assert!(error(&dir.path().join("unet")).contains("is a part of a pipeline"));
        assert!(error(&dir.path().join("model_index.json")).contains("from_single_file"));
    }
}
