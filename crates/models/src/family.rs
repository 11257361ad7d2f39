//! Families of backbones: each is one folder of this crate, whose `family.rs` holds all that is its own, and a line in a
//! list at the end of this file.

use std::{collections::BTreeSet, fmt, path::Path, rc::Rc};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{Device, Runtime};

use crate::{
    Architecture, ClassConditional, Conditioning, ModelError, Outputs, PipelineIndex, Stored,
    TextConditional, TextEncoder, dit::Dit, sd3::family::Sd3Family, sdxl::family::SdxlFamily,
    sit::Sit, stored::format_of, z_image::family::ZImageFamily,
};

/// A part of a pipeline, and the classes that it may have; none, where any will do.
pub type Component = (&'static str, &'static [&'static str]);

/// A kind of pipeline in diffusers' layout: what holds of all that are made of the same classes.
pub trait Family: fmt::Debug + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Classes of diffusers; the first draws a picture of a prompt. Forms of the same networks for other tasks differ in no
    /// file.
    fn classes(&self) -> &'static [&'static str];

    /// Its parts; the first is the denoising network.
    fn components(&self) -> &'static [Component];

    /// Parts without which it works, beside the scheduler.
    fn optional_components(&self) -> &'static [&'static str] {
        &[]
    }

    /// Keys of `model_index.json` on which numbers depend, beside the parts.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// What an index says that is not built, if it does.
    fn refusal(&self, _index: &PipelineIndex) -> Option<String> {
        None
    }

    /// Folder of the denoising network in a pipeline's; adapters of PEFT and diffusers have it before their names.
    fn network(&self) -> &'static str {
        self.components()[0].0
    }

    /// diffusers' class of that network.
    fn network_class(&self) -> &'static str {
        self.components()[0].1[0]
    }

    /// The noise schedule that its networks are trained on.
    fn schedule(&self) -> Schedule;

    /// Tokens that its encoder for long texts reads of a prompt if nothing else is said, as diffusers' argument
    /// `max_sequence_length` (0.42.1); none where there is no such encoder.
    fn max_sequence_length(&self) -> Option<usize>;

    /// Whether diffusers' pipeline heeds the autoencoder's `shift_factor`.
    fn shifts_latents(&self) -> bool {
        true
    }

    /// What diffusers' argument `guidance_scale` is where there is no guidance.
    fn no_guidance(&self) -> f64 {
        1.0
    }

    /// The warning of what is ignored in the network's `config.json` in `folder`.
    ///
    /// # Errors
    /// An unreadable `config.json`.
    fn ignored_keys(&self, folder: &Path) -> Result<Option<String>, ModelError>;

    /// The pipeline that `index` names: sizes are read, weights are not.
    ///
    /// # Errors
    /// A network's `config.json` that is unreadable or asks for a form that is not built.
    fn open(&self, index: &PipelineIndex) -> Result<Rc<dyn Pipeline>, ModelError>;

    /// What the original checkpoint calls `layer` of diffusers, where it has another name, and which of the outputs there
    /// are its own. `weight` is the layer's `[out, in]`.
    fn original_name(&self, layer: &str, weight: [i64; 2]) -> Option<(String, Outputs)>;

    /// The name before `.lora_up.weight` under which ComfyUI patches `layer` (its `model_lora_keys_unet`). If three layers of
    /// ours are one there, also which third of its outputs is `layer`'s.
    fn comfyui_name(&self, layer: &str) -> (String, Option<i64>);
}

/// A pipeline in a folder.
pub trait Pipeline: Architecture {
    /// Its `model_index.json`.
    fn index(&self) -> &PipelineIndex;

    /// Latent channels that the network reads.
    fn in_channels(&self) -> i64;

    /// Latent pixels along a side of what a token covers: sides of latents are multiples of it.
    fn patch_size(&self) -> i64;

    /// The longest side of a latent, where positions end.
    fn longest_side(&self) -> Option<i64> {
        None
    }

    /// Patches of a latent of `height` and `width`, by which diffusers' pipeline chooses a timestep shift.
    fn num_patches(&self, [height, width]: [i64; 2]) -> i64 {
        (height / 2) * (width / 2)
    }

    /// Loads the text encoders. The one for long texts, if there is one, reads `max_sequence_length` tokens.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn text_encoder(
        &self,
        runtime: Runtime,
        max_sequence_length: usize,
    ) -> Result<Box<dyn TextEncoder>, ModelError>;

    /// One prompt's encoding, of the usual shape but with random numbers: for measurements without text encoders.
    fn random_text(&self, max_sequence_length: usize, device: Device) -> Conditioning;

    /// How the text encoders are combined. What is not the usual is said as well, so that a cache of the usual does not
    /// answer for it.
    ///
    /// # Errors
    /// An index that contradicts itself or its folder.
    fn text_rule(&self) -> Result<String, ModelError>;

    /// What the network is told beside the encoded prompts of `cond`, for images of a square of `size` pixels.
    fn with_size(&self, cond: Conditioning, _size: i64) -> Conditioning {
        cond
    }

    /// Widths in the network's config: the key, its number, and what it has to be for `cond`.
    fn widths(&self, cond: &Conditioning) -> Vec<(&'static str, i64, i64)>;
}

/// Families of pipelines, told by `_class_name` of `model_index.json`.
pub const FAMILIES: [&dyn Family; 3] = [&SdxlFamily, &Sd3Family, &ZImageFamily];

/// Opens a file of a kind.
type Open<T> = fn(&Path) -> Result<Rc<T>, ModelError>;

/// Networks on captions, told by the format in the header of their file.
const TEXT_CONDITIONAL: [(&str, Open<dyn TextConditional>); 1] = [(Dit::FORMAT, Dit::open)];

/// Networks on classes, told by the format in the header of their file.
const CLASS_CONDITIONAL: [(&str, Open<dyn ClassConditional>); 1] = [(Sit::FORMAT, Sit::open)];

/// The family of a pipeline's class, if it is built.
pub fn family_of(class: &str) -> Option<&'static dyn Family> {
    let mut families = FAMILIES.into_iter();
    families.find(|family| family.classes().contains(&class))
}

/// Folders of all parts that a pipeline may have, by name.
pub fn component_names() -> BTreeSet<&'static str> {
    let components = FAMILIES.iter().flat_map(|family| family.components());
    components.map(|(name, _)| *name).collect()
}

/// The network on captions in `path`.
///
/// # Errors
/// An unreadable file, or one of another kind.
pub fn open_text_conditional(path: &Path) -> Result<Rc<dyn TextConditional>, ModelError> {
    open(path, &TEXT_CONDITIONAL)
}

/// The network on classes in `path`.
///
/// # Errors
/// An unreadable file, or one of another kind.
pub fn open_class_conditional(path: &Path) -> Result<Rc<dyn ClassConditional>, ModelError> {
    open(path, &CLASS_CONDITIONAL)
}

fn open<T: ?Sized>(path: &Path, formats: &[(&str, Open<T>)]) -> Result<Rc<T>, ModelError> {
    let found = format_of(path)?;
    if let Some((_, open)) = formats.iter().find(|(format, _)| *format == found) {
        return open(path);
    }
    let formats: Vec<&str> = formats.iter().map(|(format, _)| *format).collect();
    Err(ModelError::Format {
        path: path.to_owned(),
        expected: formats.join("` or `"),
        found,
    })
}
