//! A finished student in the formats of other tools: an adapter for diffusers and PEFT, the same for ComfyUI, or a whole network
//! in diffusers' layout; each with the scheduler that samples as we do, and a card.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dmdr_config::Tuning;
use dmdr_events::atomic_write;
use dmdr_models::Pipeline;
use dmdr_tensor::{Kind, ParamStore, Tensor, write_tensors};

use crate::{FinishedRun, TrainError};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The adapter under the names of diffusers and PEFT.
    Peft,
    /// The adapter under the names that ComfyUI reads, after kohya's.
    ComfyUi,
    /// The whole network, a student's adapter merged into it, as diffusers saves it.
    Diffusers,
}

/// The layer that an adapter's tensor belongs to, and `A` or `B`.
fn layer_of(name: &str) -> Option<(&str, char)> {
    if let Some(layer) = name.strip_suffix(".lora_A.weight") {
        Some((layer, 'A'))
    } else {
        Some((name.strip_suffix(".lora_B.weight")?, 'B'))
    }
}

/// Names in diffusers' and PEFT's manner. `alpha / rank` goes into `B`: then the adapter means the same to readers that look
/// for alpha in different places, or nowhere.
pub fn peft_names(adapter: &ParamStore, prefix: &str, scaling: f64) -> BTreeMap<String, Tensor> {
    renamed(adapter, |layer, part, tensor| {
        let tensor = if part == 'B' {
            tensor * scaling
        } else {
            tensor
        };
        vec![(format!("{prefix}.{layer}.lora_{part}.weight"), tensor)]
    })
}

/// Names that ComfyUI derives from diffusers' (its `model_lora_keys_unet`), with alpha beside each pair: kohya's for SDXL,
/// OneTrainer's for SD3; of Z-Image it reads no such flat ones.
pub fn comfyui_names(
    adapter: &ParamStore,
    pipeline: Pipeline,
    alpha: f64,
) -> BTreeMap<String, Tensor> {
    renamed(adapter, |layer, part, tensor| {
        let flat = layer.replace('.', "_");
        let layer = match pipeline {
            Pipeline::StableDiffusionXl => format!("lora_unet_{flat}"),
            Pipeline::StableDiffusion3 => format!("lora_transformer_{flat}"),
            Pipeline::ZImage => format!("diffusion_model.{layer}"),
        };
        match part {
            'A' => vec![
                (format!("{layer}.lora_down.weight"), tensor),
                (format!("{layer}.alpha"), Tensor::from(alpha as f32)),
            ],
            _ => vec![(format!("{layer}.lora_up.weight"), tensor)],
        }
    })
}

fn renamed(
    adapter: &ParamStore,
    rename: impl Fn(&str, char, Tensor) -> Vec<(String, Tensor)>,
) -> BTreeMap<String, Tensor> {
    let group = adapter.group();
    let pairs = group.names.iter().zip(group.tensors);
    pairs
        .flat_map(|(name, tensor)| {
            let (layer, part) = layer_of(name).expect("an adapter holds pairs and nothing else");
            rename(layer, part, tensor.detach())
        })
        .collect()
}

/// The weights of `base` with `scaling * B A` added where `adapter` has a pair.
pub fn merged(base: &ParamStore, adapter: &ParamStore, scaling: f64) -> BTreeMap<String, Tensor> {
    let mut weights = base.tensors();
    for name in adapter.group().names {
        let Some((layer, 'A')) = layer_of(&name) else {
            continue;
        };
        let (a, b) = (
            adapter.tensor(&name),
            adapter.tensor(&format!("{layer}.lora_B.weight")),
        );
        let weight = weights
            .get_mut(&format!("{layer}.weight"))
            .expect("the adapter's layer");
        // Convolutions are products over their flattened windows: B is 1 x 1.
        let product = b.detach().flatten(1, -1).matmul(&a.detach().flatten(1, -1));
        *weight = &*weight + product.reshape(weight.size()) * scaling;
    }
    weights
}

/// Writes the student of `run` into the folder `output` and gives the files.
///
/// # Errors
/// A student that has no such form, or a file that cannot be written.
pub fn export(
    run: &FinishedRun,
    layout: Layout,
    kind: Kind,
    output: &Path,
) -> Result<Vec<PathBuf>, TrainError> {
    let networks = &run.networks;
    let Some((pipeline, source)) = run.source.pipeline() else {
        return Err(TrainError::Export(
            "only students of published pipelines have other tools".to_owned(),
        ));
    };
    let student = &networks.student;
    let lora = match &run.experiment.student.tuning {
        Tuning::Full => None,
        Tuning::Lora(lora) => Some(lora),
    };
    let network = pipeline.network();
    let mut files = Vec::new();
    let mut write = |path: PathBuf, tensors: &BTreeMap<String, Tensor>| -> Result<(), TrainError> {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(|error| TrainError::Export(error.to_string()))?;
        write_tensors(&path, tensors, kind, &metadata)?;
        files.push(path);
        Ok(())
    };
    match (layout, lora) {
        (Layout::Peft, Some(lora)) => {
            let tensors = peft_names(student, network, lora.alpha / lora.rank as f64);
            write(output.join("pytorch_lora_weights.safetensors"), &tensors)?;
        }
        (Layout::ComfyUi, Some(lora)) => {
            let tensors = comfyui_names(student, pipeline, lora.alpha);
            write(output.join("comfyui_lora.safetensors"), &tensors)?;
        }
        (Layout::Diffusers, lora) => {
            let weights = match lora {
                None => student.tensors(),
                Some(lora) => merged(&networks.base, student, lora.alpha / lora.rank as f64),
            };
            let folder = output.join(network);
            write(folder.join("diffusion_pytorch_model.safetensors"), &weights)?;
            let config = fs::read(source.join(network).join("config.json"));
            let config = config.map_err(|error| TrainError::Export(error.to_string()))?;
            files.push(folder.join("config.json"));
            atomic_write(folder.join("config.json"), config)?;
        }
        (Layout::Peft | Layout::ComfyUi, None) => {
            return Err(TrainError::Export(
                "all weights of this student were trained, so it is no adapter; export it as `diffusers`".to_owned(),
            ));
        }
    }
    let scheduler = output.join("scheduler/scheduler_config.json");
    fs::create_dir_all(output.join("scheduler"))
        .map_err(|error| TrainError::Export(error.to_string()))?;
    atomic_write(
        &scheduler,
        scheduler_config(pipeline, run.experiment.student.shift),
    )?;
    let card = output.join("README.md");
    atomic_write(&card, card_of(run, pipeline, layout))?;
    files.extend([scheduler, card]);
    Ok(files)
}

/// The scheduler of diffusers that predicts the clean image and renoises it, as our sampler does.
fn scheduler_config(pipeline: Pipeline, shift: f64) -> String {
    let config = match pipeline {
        // `timestep_scaling` is as it is by default: at our times its boundary terms are below 1e-6.
        Pipeline::StableDiffusionXl => serde_json::json!({
            "_class_name": "LCMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": true, "clip_sample": false,
        }),
        Pipeline::StableDiffusion3 | Pipeline::ZImage => serde_json::json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shift,
            "stochastic_sampling": true, "use_dynamic_shifting": false,
        }),
    };
    serde_json::to_string_pretty(&config).expect("plain values serialise")
}

fn card_of(run: &FinishedRun, pipeline: Pipeline, layout: Layout) -> String {
    let experiment = &run.experiment;
    let (base, steps) = (
        experiment.teacher.weights.display(),
        experiment.student.num_steps,
    );
    let network = pipeline.network();
    let (pipe, class, scheduler) = match pipeline {
        Pipeline::StableDiffusionXl => (
            "StableDiffusionXLPipeline",
            "UNet2DConditionModel",
            "LCMScheduler",
        ),
        Pipeline::StableDiffusion3 => (
            "StableDiffusion3Pipeline",
            "SD3Transformer2DModel",
            "FlowMatchEulerDiscreteScheduler",
        ),
        Pipeline::ZImage => (
            "ZImagePipeline",
            "ZImageTransformer2DModel",
            "FlowMatchEulerDiscreteScheduler",
        ),
    };
    let times: Vec<f64> = (0..steps).map(|i| 1.0 - i as f64 / steps as f64).collect();
    let grid = match pipeline {
        Pipeline::StableDiffusionXl => {
            let indices: Vec<i64> = times
                .iter()
                .map(|t| (t * 1000.0).round() as i64 - 1)
                .collect();
            format!("timesteps={indices:?}")
        }
        Pipeline::StableDiffusion3 | Pipeline::ZImage => format!("sigmas={times:?}"),
    };
    // Z-Image counts its guidance from 0.
    let guidance = if pipeline == Pipeline::ZImage {
        "0.0"
    } else {
        "1.0"
    };
    let load = match layout {
        Layout::Peft => format!(
            "pipe = diffusers.{pipe}.from_pretrained(\"{base}\")\npipe.load_lora_weights(\"FOLDER\", weight_name=\"pytorch_lora_weights.safetensors\")"
        ),
        Layout::ComfyUi => format!(
            "pipe = diffusers.{pipe}.from_pretrained(\"{base}\")  # or ComfyUI's LoRA loader"
        ),
        Layout::Diffusers => format!(
            "{network} = diffusers.{class}.from_pretrained(\"FOLDER/{network}\")\npipe = diffusers.{pipe}.from_pretrained(\"{base}\", {network}={network})"
        ),
    };
    format!(
        "# {name}\n\nA {steps}-step student of `{base}`, distilled with DMDR (arXiv 2511.13649). Sampled without guidance.\n\n\
         ```python\nimport diffusers\n\n{load}\npipe.scheduler = diffusers.{scheduler}.from_pretrained(\"FOLDER/scheduler\")\n\
         image = pipe(\"a prompt\", num_inference_steps={steps}, guidance_scale={guidance}, {grid}).images[0]\n```\n\n\
         ```toml\n{config}```\n",
        name = experiment.name,
        config = experiment.to_toml(),
    )
}
