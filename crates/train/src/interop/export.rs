//! A finished student in the formats of other tools: an adapter for diffusers and PEFT, the same for ComfyUI, or a whole network
//! in diffusers' layout; each with the scheduler that samples as we do, and a card.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dmdr_config::{Experiment, NetId, Student, Tuning, World};
use dmdr_diffusion::{Schedule, student_times};
use dmdr_events::atomic_write;
use dmdr_models::{FAMILIES, Family};
use dmdr_tensor::{Kind, ParamStore, Tensor, check_finite, safetensors_bytes};
use serde_json::Value;

use crate::{
    FinishedRun, TrainError,
    interop::fused::{Pair, all_named},
};

/// What is written.
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The adapter under the names of diffusers and PEFT.
    Peft,
    /// The adapter under the names that ComfyUI reads.
    #[cfg_attr(feature = "clap", value(name = "comfyui"))]
    ComfyUi,
    /// The whole network, a student's adapter merged into it, as diffusers saves it.
    Diffusers,
}

const ADAPTER: &str = "pytorch_lora_weights.safetensors";
const COMFYUI_ADAPTER: &str = "comfyui_lora.safetensors";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const CARD: &str = "README.md";

impl Layout {
    /// Every file that [`export`] may write below its folder, whatever the pipeline.
    pub fn files(self) -> Vec<PathBuf> {
        let weights = match self {
            Self::Peft => vec![ADAPTER.into()],
            Self::ComfyUi => vec![COMFYUI_ADAPTER.into()],
            Self::Diffusers => {
                let networks = FAMILIES.iter().map(|family| family.network());
                let networks: BTreeSet<&str> = networks.collect();
                let files =
                    |network| [WEIGHTS, "config.json"].map(|file| Path::new(network).join(file));
                networks.into_iter().flat_map(files).collect()
            }
        };
        weights
            .into_iter()
            .chain([SCHEDULER.into(), CARD.into()])
            .collect()
    }
}

/// Names in diffusers' and PEFT's manner. `alpha / rank` goes into `B`: then the adapter means the same to readers that look
/// for alpha in different places, or nowhere.
pub fn peft_names(adapter: &ParamStore, prefix: &str, scaling: f64) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for layer in layers(adapter) {
        for (part, factor) in [('A', 1.0), ('B', scaling)] {
            let name = format!("{layer}.lora_{part}.weight");
            let tensor = adapter.tensor(&name).detach() * factor;
            tensors.insert(format!("{prefix}.{name}"), tensor);
        }
    }
    tensors
}

/// Names that ComfyUI knows for a network of `family`, with alpha beside each pair.
pub fn comfyui_names(
    adapter: &ParamStore,
    family: &dyn Family,
    alpha: f64,
) -> BTreeMap<String, Tensor> {
    let (mut whole, mut thirds) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
    for layer in layers(adapter) {
        let part = |part| {
            adapter
                .tensor(&format!("{layer}.lora_{part}.weight"))
                .detach()
        };
        let pair = Pair {
            down: part('A'),
            up: part('B'),
            alpha,
        };
        match family.comfyui_name(&layer) {
            (name, None) => whole.push((name, pair)),
            (name, Some(third)) => thirds.entry(name).or_default().push((third, pair)),
        }
    }
    all_named(whole, thirds)
}

/// The layers that an adapter has pairs of.
fn layers(adapter: &ParamStore) -> Vec<String> {
    let names = adapter.group().names;
    let layers = names
        .iter()
        .filter_map(|name| name.strip_suffix(".lora_A.weight"));
    layers.map(str::to_owned).collect()
}

/// The weights of `base` with `scaling * B A` added where `adapter` has a pair.
pub fn merged(base: &ParamStore, adapter: &ParamStore, scaling: f64) -> BTreeMap<String, Tensor> {
    let mut weights = base.tensors();
    for layer in layers(adapter) {
        let [a, b] = ["A", "B"].map(|part| adapter.tensor(&format!("{layer}.lora_{part}.weight")));
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
    let Some(pipeline) = run.source.pipeline() else {
        return Err(TrainError::Export(
            "only students of published pipelines have other tools".to_owned(),
        ));
    };
    let (index, family) = (pipeline.index(), pipeline.index().family());
    let student = run.nets.store(NetId::STUDENT);
    let lora = match &run.experiment.student.tuning {
        Tuning::Full => None,
        Tuning::Lora(lora) => Some(lora),
    };
    let network = family.network();
    let mut files = Vec::new();
    let mut write = |path: PathBuf, tensors: &BTreeMap<String, Tensor>| -> Result<(), TrainError> {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        // Before a folder is made: a value that the kind cannot hold leaves nothing behind.
        check_finite(&path, tensors, kind)?;
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(no_folder(folder))?;
        atomic_write(&path, safetensors_bytes(tensors, kind, &metadata))?;
        files.push(path);
        Ok(())
    };
    match (layout, lora) {
        (Layout::Peft, Some(lora)) => {
            let tensors = peft_names(student, network, lora.alpha / lora.rank as f64);
            write(output.join(ADAPTER), &tensors)?;
        }
        (Layout::ComfyUi, Some(lora)) => {
            let tensors = comfyui_names(student, family, lora.alpha);
            write(output.join(COMFYUI_ADAPTER), &tensors)?;
        }
        (Layout::Diffusers, lora) => {
            let weights = match lora {
                None => student.tensors(),
                Some(lora) => merged(
                    &run.nets.frozen().store,
                    student,
                    lora.alpha / lora.rank as f64,
                ),
            };
            let folder = output.join(network);
            write(folder.join(WEIGHTS), &weights)?;
            let config = fs::read(index.network().join("config.json"));
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
    let scheduler = output.join(SCHEDULER);
    let folder = output.join("scheduler");
    fs::create_dir_all(&folder).map_err(no_folder(&folder))?;
    let config = scheduler_config(family.schedule(), run.experiment.student.shift);
    let text = serde_json::to_string_pretty(&config).expect("plain values serialise");
    atomic_write(&scheduler, text)?;
    let card = output.join(CARD);
    atomic_write(&card, card_of(run, family, layout))?;
    files.extend([scheduler, card]);
    Ok(files)
}

/// The scheduler of diffusers that predicts the clean image and renoises it, as our sampler does.
fn scheduler_config(schedule: Schedule, shift: f64) -> Value {
    match schedule {
        // `timestep_scaling` is as it is by default: at our times its boundary terms are below 1e-6.
        Schedule::ScaledLinear => serde_json::json!({
            "_class_name": "LCMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": true, "clip_sample": false,
        }),
        Schedule::RectifiedFlow => serde_json::json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shift,
            "stochastic_sampling": true, "use_dynamic_shifting": false,
        }),
    }
}

/// The argument of diffusers' pipeline that gives the times of `student` to its scheduler. That of a flow shifts what it is
/// given; the other one is given what is shifted already.
fn grid(schedule: Schedule, student: &Student) -> String {
    let times = |shift| {
        let mut times = student_times(student.num_steps, shift, student.conditioning_time);
        times.truncate(student.num_steps);
        times
    };
    match schedule {
        Schedule::ScaledLinear => {
            let times = times(student.shift).into_iter();
            let indices: Vec<i64> = times.map(|t| (t * 1000.0).round() as i64 - 1).collect();
            format!("timesteps={indices:?}")
        }
        Schedule::RectifiedFlow => format!("sigmas={:?}", times(1.0)),
    }
}

fn no_folder(folder: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let folder = folder.display().to_string();
    move |error| {
        TrainError::Export(format!(
            "`{folder}` cannot be made: {error}; name a folder that is new"
        ))
    }
}

/// Side of the images that a student was trained on, in pixels.
fn size_of(experiment: &Experiment) -> usize {
    match &experiment.world {
        World::Prompts(files) => files.size,
        World::Preset(_) | World::Classes(_) => unreachable!("only pipelines have a card"),
    }
}

fn card_of(run: &FinishedRun, family: &dyn Family, layout: Layout) -> String {
    let experiment = &run.experiment;
    let (base, steps) = (
        experiment.teacher.weights.display(),
        experiment.student.num_steps,
    );
    let (pipe, network, class) = (
        family.classes()[0],
        family.network(),
        family.network_class(),
    );
    let scheduler = scheduler_config(family.schedule(), experiment.student.shift);
    let scheduler = scheduler["_class_name"].as_str().unwrap_or_default();
    let grid = grid(family.schedule(), &experiment.student);
    let length = match experiment.teacher.max_sequence_length {
        Some(length) if family.max_sequence_length() != Some(length) => {
            format!(", max_sequence_length={length}")
        }
        _ => String::new(),
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
        "# {name}\n\nA {steps}-step student of `{base}`, made with {method}. Sampled without guidance.\n\n\
         ```python\nimport diffusers\n\n{load}\npipe.scheduler = diffusers.{scheduler}.from_pretrained(\"FOLDER/scheduler\")\n\
         image = pipe(\"a prompt\", height={size}, width={size}, num_inference_steps={steps}, guidance_scale={guidance:?}, {grid}{length}).images[0]\n```\n\n\
         ```toml\n{config}```\n",
        name = experiment.name,
        method = experiment.method.recipe().title(),
        size = size_of(experiment),
        guidance = family.no_guidance(),
        config = experiment.to_toml(),
    )
}
