//! An adapter as it lies on a disk: its pairs, and what multiplies them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dmdr_tensor::{Kind, Tensor, read_metadata, read_numbers};
use serde_json::{Map, Value};

use super::{
    foreign,
    lora_config::LoraConfig,
    names::{Stem, is_of_text_encoder},
};
use crate::{TrainError, interop::lora_file::FORMAT};

/// Files of a folder, as PEFT and diffusers call them.
const FILES: [&str; 2] = [
    "adapter_model.safetensors",
    "pytorch_lora_weights.safetensors",
];
/// What stands behind a layer's name: PEFT's, kohya's, and diffusers' before PEFT.
const DOWN: [&str; 5] = [
    ".lora_A.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
];
const UP: [&str; 5] = [
    ".lora_B.weight",
    ".lora_up.weight",
    ".lora.up.weight",
    "_lora.up.weight",
    ".lora_linear_layer.up.weight",
];
const ALPHA: [&str; 3] = [".lora.alpha", "_lora.alpha", ".alpha"];
/// The header in which diffusers keeps PEFT's config, as JSON.
const DIFFUSERS_HEADER: &str = "lora_adapter_metadata";

/// What to do with layers of text encoders, which no student has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoders {
    /// A file with such layers is an error.
    Refuse,
    /// They are passed over.
    LeaveOut,
}

/// An adapter of another tool.
#[derive(Debug)]
pub struct AdapterFile {
    pub(super) path: PathBuf,
    /// By the layers' names in the file.
    pub(super) pairs: BTreeMap<String, Pair>,
    /// Layers of text encoders that were passed over.
    pub(super) num_left_out: usize,
    header: BTreeMap<String, String>,
    /// PEFT's file beside it.
    neighbour: Option<LoraConfig>,
}

/// A layer's two factors, `up [out, r] * down [r, in]`, and its own alpha.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) stem: Stem,
    pub(super) down: Tensor,
    pub(super) up: Tensor,
    alpha: Option<f64>,
}

impl Pair {
    pub(super) fn rank(&self) -> i64 {
        self.down.size()[0]
    }
}

/// The parts of a layer as they turn up.
#[derive(Default)]
struct Parts {
    down: Option<Tensor>,
    up: Option<Tensor>,
    alpha: Option<f64>,
    is_pefts: bool,
}

#[derive(Clone, Copy)]
enum Part {
    Down,
    Up,
    Alpha,
}

impl AdapterFile {
    /// The adapter in `path`, a safetensors file or a folder of PEFT or diffusers that holds one.
    ///
    /// # Errors
    /// An unreadable file, one that holds anything but pairs of two factors, or a folder with no adapter or several.
    pub fn open(path: &Path, text_encoders: TextEncoders) -> Result<Self, TrainError> {
        let file = locate(path)?;
        let at = |reason: String| TrainError::Import {
            path: file.clone(),
            reason,
        };
        let header = read_metadata(&file)?;
        if header.get("format").is_some_and(|format| format == FORMAT) {
            return Err(at(
                "it is an adapter of `dmdr` already: name it as `student.init`".to_owned(),
            ));
        }
        let (parts, num_left_out) = parts(read_numbers(&file)?, text_encoders).map_err(at)?;
        let mut pairs = BTreeMap::new();
        for (name, parts) in parts {
            let pair = pair(&name, parts).map_err(at)?;
            pairs.insert(name, pair);
        }
        if pairs.is_empty() {
            return Err(at("it holds no pair of a LoRA".to_owned()));
        }
        let neighbour = neighbour(&file).map_err(at)?;
        Ok(Self {
            path: file,
            pairs,
            num_left_out,
            header,
            neighbour,
        })
    }

    /// What `pair`, of the layer `name` in the file, is multiplied by.
    ///
    /// # Errors
    /// Two sources that contradict each other, or a name of PEFT's without its config.
    pub(super) fn scale(&self, name: &str, pair: &Pair) -> Result<f64, String> {
        let rank = pair.rank();
        let own = pair.alpha.map(|alpha| alpha / rank as f64);
        let header = self.of_diffusers(pair.stem.network)?;
        let config = header.as_ref().or_else(|| {
            let beside = self.neighbour.as_ref();
            beside.filter(|_| !pair.stem.is_flat)
        });
        let of_config = config
            .map(|config| config.scale(&pair.stem.layer, rank))
            .transpose()?;
        match (own, of_config, config) {
            (Some(own), Some(other), Some(config)) if (own - other).abs() > 1e-6 * own.abs() => {
                Err(format!(
                    "`{name}.alpha` multiplies the pair by {own}, {config} by {other}; remove the one that is wrong"
                ))
            }
            (Some(scale), ..) | (None, Some(scale), _) => Ok(scale),
            _ if pair.stem.is_pefts => Err(format!(
                "`{name}` is a name of PEFT's, which keeps alpha in `adapter_config.json`: put that file beside it, \
                 or write one, {{\"r\": {rank}, \"lora_alpha\": ALPHA}}"
            )),
            _ => Ok(1.0), // as every reader takes it
        }
    }

    /// The config that diffusers keeps in the header for `network`; without a prefix where one network was saved alone.
    fn of_diffusers(&self, network: Option<&str>) -> Result<Option<LoraConfig>, String> {
        let Some(text) = self.header.get(DIFFUSERS_HEADER) else {
            return Ok(None);
        };
        let origin = format!("the header `{DIFFUSERS_HEADER}`");
        let all: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("{origin}: {error}"))?;
        let own = network.map_or(String::new(), |network| format!("{network}."));
        for prefix in [own.as_str(), "", "transformer.", "unet."] {
            let fields = all.iter().filter_map(|(key, value)| {
                let key = key.strip_prefix(prefix)?.to_owned();
                Some((key, value.clone()))
            });
            let fields: Map<String, Value> = fields.collect();
            if fields.contains_key("r") || fields.contains_key("lora_alpha") {
                return LoraConfig::new(origin, &fields).map(Some);
            }
        }
        Ok(None)
    }
}

/// The file of an adapter: `path` itself, or the one in that folder.
fn locate(path: &Path) -> Result<PathBuf, TrainError> {
    let at = |reason: String| TrainError::Import {
        path: path.to_owned(),
        reason,
    };
    let unreadable = |source| TrainError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push(name);
        }
    }
    found.sort();
    let known: Vec<&String> = found
        .iter()
        .filter(|name| FILES.contains(&name.as_str()))
        .collect();
    let is_safetensors = |name: &&String| {
        Path::new(name)
            .extension()
            .is_some_and(|e| e == "safetensors")
    };
    let all: Vec<&String> = found.iter().filter(is_safetensors).collect();
    match (&known[..], &all[..]) {
        ([name], _) | ([], [name]) => Ok(path.join(name)),
        ([], []) => {
            // A pickle is named, so that the reader tells what to do with it.
            let pickle = found.iter().find(|name| {
                ["adapter_model.bin", "pytorch_lora_weights.bin"].contains(&name.as_str())
            });
            match pickle {
                Some(name) => Ok(path.join(name)),
                None => Err(at(format!(
                    "the folder holds no adapter; expected `{}` or `{}`",
                    FILES[0], FILES[1]
                ))),
            }
        }
        (several @ [_, _, ..], _) | ([], several) => {
            let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
            Err(at(format!(
                "the folder holds several adapters; name one of {}",
                names.join(", ")
            )))
        }
    }
}

/// The tensors of a file by layer and part, without those of text encoders, which are counted.
fn parts(
    tensors: BTreeMap<String, Tensor>,
    text_encoders: TextEncoders,
) -> Result<(BTreeMap<String, Parts>, usize), String> {
    let (mut layers, mut text) = (BTreeMap::<String, Parts>::new(), Vec::new());
    for (name, tensor) in tensors {
        if is_of_text_encoder(&name) {
            text.push(name);
            continue;
        }
        let Some((stem, part, is_pefts)) = split(&name) else {
            return Err(format!("`{name}` is {}", foreign::what(&name)));
        };
        let layer = layers.entry(stem).or_default();
        layer.is_pefts |= is_pefts;
        let place = match part {
            Part::Down => &mut layer.down,
            Part::Up => &mut layer.up,
            Part::Alpha => {
                layer.alpha = Some(alpha(&name, &tensor)?);
                continue;
            }
        };
        if !matches!(
            tensor.kind(),
            Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double
        ) {
            return Err(format!(
                "`{name}` is {:?}; expected f16, bf16, f32 or f64",
                tensor.kind()
            ));
        }
        *place = Some(tensor.to_kind(Kind::Float));
    }
    match (text_encoders, text.first()) {
        (TextEncoders::Refuse, Some(name)) => Err(format!(
            "`{name}` is of a text encoder, as {} of its tensors are; a student trains none: leave them out with \
             `--without-text-encoders`",
            text.len()
        )),
        _ => Ok((layers, text.len())),
    }
}

/// A tensor's layer and part, and whether the name is one that only PEFT's models have.
fn split(name: &str) -> Option<(String, Part, bool)> {
    for (suffixes, part) in [
        (&DOWN[..], Part::Down),
        (&UP[..], Part::Up),
        (&ALPHA[..], Part::Alpha),
    ] {
        let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        if let Some(stem) = stem {
            return Some((stem.to_owned(), part, false));
        }
    }
    // With the adapter's name, as in the state of a model of PEFT's.
    let (rest, _) = name.strip_suffix(".weight")?.rsplit_once('.')?;
    for (suffix, part) in [(".lora_A", Part::Down), (".lora_B", Part::Up)] {
        if let Some(stem) = rest.strip_suffix(suffix) {
            return Some((stem.to_owned(), part, true));
        }
    }
    None
}

fn alpha(name: &str, tensor: &Tensor) -> Result<f64, String> {
    if tensor.numel() != 1 {
        let size = tensor.size();
        return Err(format!("`{name}` is {size:?}; expected one number"));
    }
    let alpha = tensor
        .to_kind(Kind::Double)
        .flatten(0, -1)
        .double_value(&[0]);
    if alpha == 0.0 {
        return Err(format!(
            "`{name}` is 0, which some tools read as the rank and others as 0; write the number that is meant"
        ));
    }
    Ok(alpha)
}

/// The pair of the layer `name`.
fn pair(name: &str, parts: Parts) -> Result<Pair, String> {
    let (Some(down), Some(up)) = (parts.down, parts.up) else {
        return Err(format!("layer `{name}` lacks one of its two factors"));
    };
    let (of_down, of_up) = (down.size(), up.size());
    if of_down.len() < 2 || of_up.len() < 2 || of_down[0] != of_up[1] {
        return Err(format!(
            "the factors of layer `{name}`, {of_down:?} and {of_up:?}, are not [rank, in] and [out, rank]"
        ));
    }
    let mut stem = Stem::new(name);
    stem.is_pefts |= parts.is_pefts;
    if of_down[0] == 0 {
        return Err(format!("the pair of layer `{name}` has rank 0"));
    }
    Ok(Pair {
        stem,
        down,
        up,
        alpha: parts.alpha,
    })
}

/// `adapter_config.json` beside `file`.
fn neighbour(file: &Path) -> Result<Option<LoraConfig>, String> {
    let path = file.with_file_name("adapter_config.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("`adapter_config.json` beside it: {error}")),
    };
    let text = text.trim_start_matches('\u{feff}');
    let fields: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("`adapter_config.json` beside it: {error}"))?;
    LoraConfig::new("`adapter_config.json` beside it".to_owned(), &fields).map(Some)
}
