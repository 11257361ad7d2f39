//! Published text-to-image pipelines: what a folder in diffusers' layout holds, from its `model_index.json`.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use dmdr_tensor::{DIFFUSERS_WEIGHTS, TensorError, WeightFiles};
use serde_json::{Map, Value};

use crate::{
    AutoencoderKl, Component, FAMILIES, Family, ModelError, Pipeline,
    diffusers::{ignored_keys, plain, warning_of},
    family_of,
    json::read_json,
    text::TRANSFORMERS_WEIGHTS,
};

/// Parts and options of diffusers' constructors on which no number here depends.
const UNUSED: [&str; 5] = [
    "feature_extractor",
    "image_encoder",
    "safety_checker",
    "requires_safety_checker",
    "add_watermarker",
];

/// The `model_index.json` of a pipeline that is built here.
#[derive(Clone, Debug)]
pub struct PipelineIndex {
    family: &'static dyn Family,
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
        let Some(family) = family_of(&class) else {
            let [others @ .., last] = FAMILIES.map(|family| family.classes()[0]);
            let reason = format!(
                "`_class_name` is {class}, expected {} or {last}, or their Img2Img or Inpaint form",
                others.join(", ")
            );
            return Err(ModelError::refused(&path, &reason));
        };
        let index = Self {
            family,
            class,
            folder: folder.to_owned(),
            fields,
        };
        let check = |component| index.check(component);
        let refusal = family.refusal(&index);
        match refusal.or_else(|| family.components().iter().find_map(check)) {
            Some(reason) => Err(index.refused(&reason)),
            None => Ok(index),
        }
    }

    /// What is wrong with a part.
    fn check(&self, &(name, classes): &Component) -> Option<String> {
        let found = self.fields.get(name)?;
        let class = found.get(1).and_then(Value::as_str);
        let is_left_out = class.is_none() && self.is_left_out(name);
        let may_be_left_out =
            name == "scheduler" || self.family.optional_components().contains(&name);
        let is_known = class.is_some_and(|class| classes.is_empty() || classes.contains(&class));
        if is_known || (is_left_out && may_be_left_out) {
            return None;
        }
        let found = class.map_or_else(|| found.to_string(), str::to_owned);
        let expected = classes.first().unwrap_or(&"a library and a class");
        Some(format!("`{name}` is {found}, but only {expected} is built"))
    }

    /// Which kind of pipeline it is.
    pub fn family(&self) -> &'static dyn Family {
        self.family
    }

    /// The pipeline: sizes are read, weights are not.
    ///
    /// # Errors
    /// As for [`Family::open`].
    pub fn open(&self) -> Result<Rc<dyn Pipeline>, ModelError> {
        self.family.open(self)
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of the denoising network.
    pub fn network(&self) -> PathBuf {
        self.folder.join(self.family.network())
    }

    /// What it says of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// The error that the index cannot be used, for `reason`.
    pub(crate) fn refused(&self, reason: &str) -> ModelError {
        ModelError::refused(&self.folder.join("model_index.json"), reason)
    }

    /// The class of the part `name`, where it is said.
    pub(crate) fn class_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.get(1)?.as_str()
    }

    /// Whether it says that there is no part `name`.
    pub(crate) fn is_left_out(&self, name: &str) -> bool {
        match self.fields.get(name) {
            Some(Value::Array(pair)) => pair.iter().all(Value::is_null),
            Some(value) => value.is_null(),
            None => false,
        }
    }

    /// What is read otherwise than a user may expect: keys that are ignored, as diffusers ignores them, and weights that are
    /// only there in half precision.
    ///
    /// # Errors
    /// A `config.json` that cannot be read.
    pub fn warnings(&self) -> Result<Vec<String>, ModelError> {
        let mut unknown = self.fields.clone();
        let (components, options) = (self.family.components(), self.family.options());
        unknown.retain(|key, _| {
            let is_component = components.iter().any(|(name, _)| name == key);
            let is_option = options.contains(&key.as_str());
            let is_unused = UNUSED.contains(&key.as_str());
            !(key.starts_with('_') || is_component || is_option || is_unused)
        });
        let path = self.folder.join("model_index.json");
        let found = [
            warning_of(&path, &unknown, &self.class),
            self.family.ignored_keys(&self.network())?,
            ignored_keys::<AutoencoderKl>(&self.folder.join("vae"))?,
            self.rounded(),
        ];
        Ok(found.into_iter().flatten().collect())
    }

    fn rounded(&self) -> Option<String> {
        let named = self.family.components().iter().map(|(name, _)| *name);
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
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// The index of this text.
    pub(crate) fn read(text: &str) -> Result<PipelineIndex, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("model_index.json"), text).expect("writable");
        PipelineIndex::read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn forms_of_the_same_pipeline() {
        for (class, expected) in [
            ("StableDiffusionXLImg2ImgPipeline", "SDXL"),
            ("StableDiffusion3InpaintPipeline", "SD3"),
            ("ZImagePipeline", "Z-Image"),
        ] {
            let index = read(&format!("{{\"_class_name\": \"{class}\"}}")).expect("built");
            assert_eq!(index.family().name(), expected);
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
