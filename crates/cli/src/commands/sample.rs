//! `dmdr sample`: one row a prompt; teacher and student side by side on identical noise.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use dmdr_config::OnBadRow;
use dmdr_console::progress::say;
use dmdr_eval::Sampler;
use dmdr_events::atomic_write;
use dmdr_image::Image;
use dmdr_prompts::{BadRow, Fault, Format, Options, PromptSet, Source as PromptFile};
use dmdr_tensor::{Kind, Tensor, write_tensors};
use dmdr_train::FinishedRun;
use serde_json::json;

use crate::{
    args::{SampleArgs, Who},
    output::{check_extension, check_folder, check_weights, inputs_of_run},
};

/// The picture if none is named.
const DEFAULT: &str = "samples.png";
/// The text of a PNG that tells how it was made.
const NOTE: &str = "dmdr";

/// Who draws, and how.
struct Drawer<'a> {
    sampler: &'a dyn Sampler,
    /// As interfaces for diffusion models call it.
    rule: &'static str,
    num_steps: usize,
    shift: f64,
}

pub(crate) fn run(args: &SampleArgs, quiet: bool) -> Result<ExitCode> {
    let captions = captions(args)?;
    let output = check_outputs(args, captions.len())?;
    let trained = FinishedRun::open(&args.run)?;
    let (mut teacher, mut student) = (trained.teacher(), trained.student());
    teacher.num_steps = args
        .teacher_steps
        .map_or(teacher.num_steps, NonZeroUsize::get);
    student.num_steps = args.steps.map_or(student.num_steps, NonZeroUsize::get);
    let of_teacher = Drawer {
        sampler: &teacher,
        rule: "Euler",
        num_steps: teacher.num_steps,
        shift: teacher.shift,
    };
    let of_student = Drawer {
        sampler: &student,
        rule: "LCM", // predicts and renoises
        num_steps: student.num_steps,
        shift: student.shift,
    };
    let drawers: Vec<Drawer> = match args.who {
        Who::Teacher => vec![of_teacher],
        Who::Student => vec![of_student],
        Who::Both => vec![of_teacher, of_student],
    };
    if let Some(folder) = &args.images {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    trained.source.prepare(&captions)?;
    let mut cells: Vec<Image> = Vec::new();
    let mut tensors = Vec::new();
    for (row, caption) in captions.iter().enumerate() {
        for drawer in &drawers {
            let name = drawer.sampler.name();
            for drawn in draw(args, &trained, drawer, caption)? {
                let Drawn { image, seed, .. } = &drawn;
                if let Some(folder) = &args.images {
                    let text = parameters(args, drawer, caption, &drawn);
                    let path = image_file(folder, row, name, *seed);
                    atomic_write(path, image.png(&[("parameters", &text)]))?;
                }
                if args.tensors.is_some() {
                    let shape = [3, image.height as i64, image.width as i64];
                    tensors.push(Tensor::from_slice(&image.data).reshape(shape));
                }
                cells.push(image.viewable());
            }
        }
    }
    let who: Vec<_> = drawers.iter().map(Drawer::to_json).collect();
    let made_with = json!({
        "run": args.run.to_string_lossy(), "prompts": captions, "who": who, "first_seed": args.seed, "count": args.count,
        "batch": args.batch(), "size": [cells[0].width, cells[0].height], "commit": dmdr_console::environment::COMMIT,
    });
    let grid = Image::grid(&cells, args.count * drawers.len());
    let made_with = made_with.to_string();
    let picture = if is_png(&output) {
        grid.png(&[(NOTE, &made_with)])
    } else {
        grid.jpeg()
            .with_context(|| format!("cannot write `{}`", output.display()))?
    };
    atomic_write(&output, picture)?;
    if let Some(path) = &args.tensors {
        let images = BTreeMap::from([("images".to_owned(), Tensor::stack(&tensors, 0))]);
        let notes = BTreeMap::from([("dmdr".to_owned(), made_with)]);
        write_tensors(path, &images, Kind::Float, &notes)?;
    }
    let who: Vec<String> = drawers
        .iter()
        .map(|Drawer { sampler, .. }| {
            let (name, count) = (sampler.name(), sampler.num_evaluations());
            format!("{name} ({count} evaluations)")
        })
        .collect();
    say(quiet, &format!("{}: {}", output.display(), who.join(", ")));
    Ok(ExitCode::SUCCESS)
}

/// Checks, before anything is drawn, that all files may be written, and gives the picture's.
fn check_outputs(args: &SampleArgs, num_captions: usize) -> Result<PathBuf> {
    let output = args.output.clone().unwrap_or_else(|| DEFAULT.into());
    check_extension(&output, &["png", "jpg", "jpeg"])?;
    check_folder(&output)?;
    let mut outputs = Vec::new();
    // By its default name it is made again and again: an earlier one of ours may go.
    let is_ours = || fs::read(&output).is_ok_and(|file| Image::has_png_text(&file, NOTE));
    if args.output.is_some() || !is_ours() {
        outputs.push(output.clone());
    }
    if let Some(path) = &args.tensors {
        check_weights(path)?;
        outputs.push(path.clone());
    }
    if let Some(folder) = &args.images {
        let names = match args.who {
            Who::Teacher => &["teacher"][..],
            Who::Student => &["student"],
            Who::Both => &["teacher", "student"],
        };
        for row in 0..num_captions {
            for name in names {
                let seeds = args.seed..args.seed + args.count as u64;
                outputs.extend(seeds.map(|seed| image_file(folder, row, name, seed)));
            }
        }
    }
    let mut inputs = inputs_of_run(&args.run)?;
    inputs.extend(args.prompts.clone());
    args.overwrite.check(&outputs, &inputs)?;
    Ok(output)
}

fn is_png(path: &Path) -> bool {
    path.extension()
        .is_some_and(|own| own.eq_ignore_ascii_case("png"))
}

/// Where `--images` puts an image.
fn image_file(folder: &Path, row: usize, name: &str, seed: u64) -> PathBuf {
    folder.join(format!("{row:03}-{name}-{seed}.png"))
}

impl SampleArgs {
    /// Images at a time.
    fn batch(&self) -> usize {
        self.batch.map_or(self.count, NonZeroUsize::get)
    }
}

impl Drawer<'_> {
    fn to_json(&self) -> serde_json::Value {
        let sampler = self.sampler;
        json!({
            "name": sampler.name(), "sampler": self.rule, "steps": self.num_steps, "shift": self.shift,
            "guidance": sampler.guidance(), "evaluations": sampler.num_evaluations(),
        })
    }
}

/// An image.
struct Drawn {
    image: Image,
    seed: u64,
    /// Seeds of those that were drawn at once: the size of a batch changes the last bits.
    batch: Range<u64>,
}

/// All images of `caption`, batch by batch.
fn draw(
    args: &SampleArgs,
    trained: &FinishedRun,
    drawer: &Drawer,
    caption: &str,
) -> Result<Vec<Drawn>> {
    let mut all = Vec::with_capacity(args.count);
    while all.len() < args.count {
        let first = args.seed + all.len() as u64;
        let count = args.batch().min(args.count - all.len());
        let images = trained.draw(drawer.sampler, caption, first, count)?;
        let batch = first..first + count as u64;
        let seeded = images.into_iter().zip(batch.clone());
        all.extend(seeded.map(|(image, seed)| Drawn {
            image,
            seed,
            batch: batch.clone(),
        }));
    }
    Ok(all)
}

/// The prompts of `--prompt`, then those of `--prompts`.
fn captions(args: &SampleArgs) -> Result<Vec<String>> {
    let mut captions = args.prompt.clone();
    if let Some(path) = &args.prompts {
        captions.extend(lines(path)?);
    }
    if captions.is_empty() || args.count == 0 {
        bail!("nothing to draw: give `--prompt TEXT` or `--prompts FILE`, and `--count` above 0");
    }
    Ok(captions)
}

/// The lines of a text file, read as prompt files of a training are; empty ones separate.
fn lines(path: &Path) -> Result<Vec<String>> {
    // Its name tells its format, as in a training; any other name is a text.
    let source = PromptFile::new(path, "prompt").unwrap_or_else(|_| PromptFile {
        path: path.to_owned(),
        format: Format::Text,
        column: String::new(),
    });
    let options = Options {
        on_bad_row: OnBadRow::Skip,
        ..Options::default()
    };
    let set = PromptSet::read(&[source], &options)?;
    let is_wrong = |row: &&BadRow| row.fault != Fault::Empty;
    if let Some(row) = set.census().examples.iter().find(is_wrong) {
        bail!("{row}");
    }
    Ok(set.iter().collect::<Result<_, _>>()?)
}

/// How an image was made, in the words that interfaces for diffusion models read from its file.
fn parameters(args: &SampleArgs, drawer: &Drawer, caption: &str, drawn: &Drawn) -> String {
    let Drawn { image, seed, batch } = drawn;
    format!(
        "{caption}\nSteps: {}, Sampler: {}, CFG scale: {}, Shift: {}, Seed: {seed} of a batch of {} from {}, Size: {}x{}, \
         Model: {} of {}, Version: dmdr {}",
        drawer.num_steps,
        drawer.rule,
        drawer.sampler.guidance(),
        drawer.shift,
        batch.end - batch.start,
        batch.start,
        image.width,
        image.height,
        drawer.sampler.name(),
        args.run.display(),
        dmdr_console::environment::COMMIT,
    )
}
