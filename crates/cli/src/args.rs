//! What was typed.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use dmdr_config::Who as Drawer;
use dmdr_train::Layout;
use dmdr_world::Split;

use crate::output::Overwrite;

/// Distils a diffusion model into a student of few steps, with reinforcement learning (DMDR, arXiv 2511.13649).
#[derive(Debug, Parser)]
#[command(name = "dmdr", version, propagate_version = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Show no progress, and messages only when something is wrong.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Distil the bundled teacher of the emoji world and compare it with its 4-step student.
    Demo(DemoArgs),
    /// Train a network of the emoji world: teacher, World-CLIP or a preference model.
    Pretrain(RunArgs),
    /// Distil a teacher into a few-step student.
    Train(TrainArgs),
    /// Make pictures: a grid of teacher and student on identical noise.
    Sample(SampleArgs),
    /// Measure teacher and student on the same prompts and noise.
    Eval(EvalArgs),
    /// Write a finished student for diffusers, PEFT, kohya or ComfyUI.
    Export(ExportArgs),
    /// Make an adapter of another tool the start of a student.
    Import(ImportArgs),
    /// Write a run's page: curves, pictures and tables in one HTML file.
    Report(ReportArgs),
    /// Print or check a config.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check a config's files, its memory and the machine before any work starts.
    Doctor(DoctorArgs),
    /// Measure an update of a config: seconds, what they go into, memory.
    Bench(BenchArgs),
}

/// The demo.
#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Train for 3 minutes instead of 13; the student is rougher.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The folder in which the run's own folder is made.
    #[arg(long, default_value = "runs")]
    pub(crate) root: PathBuf,
}

/// A training run.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The config, a TOML file.
    pub(crate) config: PathBuf,
    /// Override a key, e.g. `--set seed=1`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The folder in which the run's own folder is made.
    #[arg(long, default_value = "runs")]
    pub(crate) root: PathBuf,
    /// Continue from the newest checkpoint.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Copy the finished weights to this file. A card beside it says how they were made.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// What `dmdr train` takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Of several processes: seconds to wait for one of them before all end, a week at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) timeout: u64,
}

/// Who makes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// The teacher, with guidance.
    Teacher,
    /// The student.
    Student,
    /// One beside the other.
    Both,
}

/// Pictures.
#[derive(Debug, ClapArgs)]
pub(crate) struct SampleArgs {
    /// A run folder of `dmdr train`.
    pub(crate) run: PathBuf,
    /// What to draw; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Vec<String>,
    /// A file of prompts; its ending tells the format. A text has one prompt a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,
    /// How many images each prompt gets.
    #[arg(long, default_value_t = 4)]
    pub(crate) count: usize,
    /// Noise of the first image; the next ones follow.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=LAST_SEED))]
    pub(crate) seed: u64,
    /// Images drawn at a time; by default all of a prompt. The noise between a student's steps
    /// depends on it.
    #[arg(long, value_name = "COUNT")]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Steps of the student; by default as many as it was trained with.
    #[arg(long, value_name = "COUNT")]
    pub(crate) steps: Option<NonZeroUsize>,
    /// Steps of the teacher; by default as in the run's config.
    #[arg(long, value_name = "COUNT")]
    pub(crate) teacher_steps: Option<NonZeroUsize>,
    /// Which network draws.
    #[arg(long, value_enum, default_value_t = Who::Both)]
    pub(crate) who: Who,
    /// The sheet with all pictures, `.png` or `.jpg`; by default `samples.png`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Also write each image as a file into this folder, with its parameters in it.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) images: Option<PathBuf>,
    /// Also write all images, not rounded, into this safetensors file: `images`, [N, 3, H, W] in
    /// [0, 1], f32.
    #[arg(long, value_name = "FILE")]
    pub(crate) tensors: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// A student for other tools.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// A run folder of `dmdr train` on a published pipeline.
    pub(crate) run: PathBuf,
    /// The format, after the tool that reads it.
    #[arg(long, value_enum, default_value_t = Layout::Peft)]
    pub(crate) layout: Layout,
    /// Number format of the weights.
    #[arg(long, value_enum, default_value_t = DtypeArg::Bf16)]
    pub(crate) dtype: DtypeArg,
    /// The folder to write.
    #[arg(long)]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// An adapter from elsewhere.
#[derive(Debug, ClapArgs)]
pub(crate) struct ImportArgs {
    /// The config of the distillation that will start from it.
    pub(crate) config: PathBuf,
    /// A safetensors file of diffusers, PEFT, kohya or ComfyUI, or the folder that PEFT or diffusers saved.
    pub(crate) adapter: PathBuf,
    /// Override a key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The file to write, `.safetensors`; name it in `student.init`.
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// Leave out layers of text encoders, which a student does not train, instead of refusing the file.
    #[arg(long)]
    pub(crate) without_text_encoders: bool,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// Number formats of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    /// 32 bits.
    F32,
    /// 16 bits, half precision.
    F16,
    /// 16 bits, the range of f32.
    Bf16,
}

/// Measurement.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct EvalArgs {
    /// Measurements of other models.
    #[command(subcommand)]
    pub(crate) command: Option<EvalCommand>,
    /// A run folder of `dmdr train`.
    #[arg(required = true)]
    pub(crate) run: Option<PathBuf>,
    /// Which prompts are drawn; by default `test` on the emoji world, `validation` elsewhere.
    #[arg(long, value_enum)]
    pub(crate) split: Option<Split>,
    /// How many prompts, spread evenly over GenEval's six kinds.
    #[arg(long, default_value_t = 300, value_parser = num_prompts)]
    pub(crate) num_prompts: usize,
    /// Seeds of the noise; each prompt is drawn once a seed.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2", value_parser = clap::value_parser!(u64).range(..=LAST_SEED))]
    pub(crate) seeds: Vec<u64>,
    /// Which network is measured.
    #[arg(long, value_enum, default_value_t = Who::Both)]
    pub(crate) who: Who,
    /// Print the reports as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured besides a run of the emoji world.
#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Teachers and students of runs on a prompt set, scored by reward models: a table with intervals.
    Table(TableArgs),
    /// GenEval in its official format: draws the images of its prompts, and scores what a detector found in them.
    Geneval(GenevalArgs),
    /// DPG-Bench in its official format: draws the images of its prompts, and scores answers about them.
    Dpg(DpgArgs),
}

/// Who draws a benchmark's images.
#[derive(Debug, ClapArgs)]
pub(crate) struct DrawArgs {
    /// The folder of the images. An image that is there is not drawn again.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) images: PathBuf,
    /// A run folder of `dmdr train` whose model draws the images. Leave it out if all are there.
    #[arg(long)]
    pub(crate) run: Option<PathBuf>,
    /// Which of the run's models.
    #[arg(long, value_enum, default_value_t = Drawer::Student)]
    pub(crate) who: Drawer,
    /// The noise of a prompt's first image; the next ones count up. Every prompt starts there, as in
    /// the official scripts.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=LAST_SEED))]
    pub(crate) seed: u64,
}

/// `GenEval`.
#[derive(Debug, ClapArgs)]
pub(crate) struct GenevalArgs {
    /// The official `evaluation_metadata.jsonl`.
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: PathBuf,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    /// How many images each prompt gets.
    #[arg(long, default_value_t = 4)]
    pub(crate) samples: usize,
    /// JSON lines with what a detector found in each image.
    #[arg(long, value_name = "FILE")]
    pub(crate) detections: Option<PathBuf>,
    /// A detector as an ONNX file: YOLOX, Mask2Former, or mmdeploy's (docs/evaluation.md). What it finds is kept in
    /// `detections.jsonl` beside the images.
    #[arg(long, value_name = "MODEL", conflicts_with = "detections")]
    pub(crate) detector: Option<PathBuf>,
    /// ONNX Runtime's library, for the detector; by default the one that `ORT_DYLIB_PATH` names.
    #[arg(long, value_name = "LIBRARY", requires = "detector")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// The CLIP that names colours, OpenAI's ViT-L/14: a folder or a safetensors file. It is asked where
    /// the detections name none.
    #[arg(long, value_name = "WEIGHTS", requires = "clip_tokenizer")]
    pub(crate) clip: Option<PathBuf>,
    /// Folder of its tokenizer.
    #[arg(long, value_name = "FOLDER", requires = "clip")]
    pub(crate) clip_tokenizer: Option<PathBuf>,
    /// Where CLIP runs: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
}

/// `DPG-Bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DpgArgs {
    /// The official folder of prompts, one text file each.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) prompts: PathBuf,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    /// The official `dpg_bench.csv`.
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: Option<PathBuf>,
    /// JSON lines with a model's answers about each image. With `--judge` they are written there.
    #[arg(long, value_name = "FILE", requires = "questions")]
    pub(crate) answers: Option<PathBuf>,
    /// An OpenAI-compatible `/v1/chat/completions` that is asked; its key is the environment's `DMDR_API_KEY`.
    #[arg(long, value_name = "URL", requires_all = ["answers", "model"])]
    pub(crate) judge: Option<String>,
    /// The vision-language model there.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// What the judge is told. The words of each question take the place of `{question}`.
    #[arg(long, value_name = "TEXT", requires = "judge")]
    pub(crate) template: Option<String>,
    /// The most tokens of an answer. A judge that thinks first needs hundreds.
    #[arg(long, value_name = "COUNT", requires = "judge", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,
    /// One more field of every request to the judge. The value is JSON, or else text. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "judge", value_parser = parameter)]
    pub(crate) parameter: Vec<(String, serde_json::Value)>,
    /// A field that is not sent, such as `temperature` or `max_tokens`; may be repeated.
    #[arg(long, value_name = "NAME", requires = "judge")]
    pub(crate) omit: Vec<String>,
    /// Seconds that one attempt may take; there are five attempts.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
    /// Questions asked at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) jobs: u64,
    /// Count as the paper says. By default it is counted as the published script does.
    #[arg(long)]
    pub(crate) as_written: bool,
    /// Count as the paper says, but for these quirks of the published script.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "as_written")]
    pub(crate) quirks: Vec<QuirkArg>,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// `NAME=VALUE`, where the value is JSON, or text that is none.
fn parameter(text: &str) -> Result<(String, serde_json::Value), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err("expected NAME=VALUE, such as max_completion_tokens=512".to_owned());
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// What the published script of `DPG-Bench` does besides its paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuirkArg {
    /// The first row of the questions is lost.
    FirstRowLost,
    /// A no makes only questions further down wrong.
    FileOrder,
    /// Categories take the last image of a prompt only.
    LastImageCategories,
    /// What is wrong with questions or answers passes without a word.
    DefectsPass,
}

/// A table.
#[derive(Debug, ClapArgs)]
pub(crate) struct TableArgs {
    /// What is measured, a TOML file.
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// Override a key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The folder in which the table's own folder is made. What is measured there is not measured again.
    #[arg(long, default_value = "runs/tables")]
    pub(crate) root: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A run's page.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// A run folder.
    pub(crate) run: PathBuf,
    /// Instead of the page, write a card beside these weights: how they were made, and the curve.
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) card: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// Looking at a config.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print it with all defaults filled in.
    Show(ConfigArgs),
    /// Say what is wrong with it.
    Check(ConfigArgs),
}

/// A config file.
#[derive(Debug, ClapArgs)]
pub(crate) struct ConfigArgs {
    /// The config, a TOML file.
    pub(crate) config: PathBuf,
    /// Override a key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A check before work.
#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    /// The config of a distillation.
    pub(crate) config: PathBuf,
    /// Override a key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Plan for a device with this much memory. It need not be here.
    #[arg(long, value_name = "GIB", value_parser = positive)]
    pub(crate) memory: Option<f64>,
    /// Find out what to set so that a run fits into this much memory.
    #[arg(long, value_name = "GIB", value_parser = positive, conflicts_with = "memory")]
    pub(crate) fit: Option<f64>,
    /// Plan for random weights. A pipeline's folder then needs only its configs.
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Plan for one of so many processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) processes: u32,
}

/// A measurement of an update.
#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// The config of a distillation.
    pub(crate) config: PathBuf,
    /// Override a key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Updates before the clock runs.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) warm_up: u64,
    /// Updates to measure; in one more, phases are.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) updates: u64,
    /// Draw all weights instead of reading them. A pipeline's folder then needs only its configs.
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Seeds count up from what is given.
const LAST_SEED: u64 = u64::MAX >> 1;

fn num_prompts(text: &str) -> Result<usize, String> {
    const MOST: usize = 100_000;
    match text.parse() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from 1 to {MOST}")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a positive number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
