//! `dmdr eval dpg`: images as the official script takes them, four of a prompt in one file, and its scores from answers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use dmdr_benchmarks::dpg::{
    Answers, Cascade, Graph, ImageAnswers, Item, Quirks, Scores, read_prompts,
};
use dmdr_console::progress::{Counter, print_data, say};
use dmdr_events::{InputFile, atomic_write};
use dmdr_image::Image;
use dmdr_remote::{ApiKey, Cache, Endpoint, Parameters, VlmJudge};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    draw::{Place, draw, is_picture, missing},
    scores::{self, Pictures},
};
use crate::args::{DpgArgs, QuirkArg};

/// Images of a prompt: two rows of two.
const COUNT: usize = 4;
const COLUMNS: usize = 2;

/// The file with all images of a prompt.
struct Sheet(PathBuf);

impl Place for Sheet {
    fn is_filled(&self) -> bool {
        is_picture(&self.0)
    }

    fn fill(&self, images: &[Image]) -> Result<()> {
        Ok(atomic_write(
            &self.0,
            Image::tiled(images, COLUMNS).png(&[]),
        )?)
    }
}

/// The figures, and what they are of.
#[derive(Serialize)]
struct Figures<'a> {
    scores: &'a Scores,
    quirks: Quirks,
    prompts: InputFile,
    questions: Option<InputFile>,
    pictures: Pictures,
    answers: InputFile,
    judge: Option<Told>,
}

/// A judge, and how it was asked.
#[derive(Serialize, Deserialize)]
struct Told {
    url: Option<String>,
    model: Option<String>,
    template: String,
    parameters: Value,
}

impl Told {
    /// Who gave `answers`, as the last `scores.json` tells, where they are the same.
    fn before(images: &Path, answers: &InputFile) -> Option<Self> {
        #[derive(Deserialize)]
        struct Before {
            answers: InputFile,
            judge: Option<Told>,
        }
        let before = scores::before::<Before>(images)?;
        let is_same = before.answers.sha256 == answers.sha256;
        before.judge.filter(|_| is_same)
    }
}

pub(crate) fn run(args: &DpgArgs, quiet: bool) -> Result<ExitCode> {
    if args.draw.run.is_none() && args.questions.is_none() {
        bail!(
            "nothing to do: give `--run RUN` to draw images, or `--questions FILE` with `--answers FILE` to score answers"
        );
    }
    let quirks = quirks(args);
    let judge = judge(args)?;
    if let (Some(_), Some(path)) = (&judge, &args.answers)
        && !cache_of(path).exists()
    {
        // Answers without a judge's cache beside them are somebody else's.
        args.overwrite.check(std::slice::from_ref(path), &[])?;
    }
    let graph = args
        .questions
        .as_ref()
        .map(|path| Graph::read(path, quirks))
        .transpose()?;
    std::fs::create_dir_all(&args.draw.images)
        .with_context(|| format!("cannot create `{}`", args.draw.images.display()))?;
    let sheet = |item: &str| args.draw.images.join(format!("{item}.png"));
    let items = read_prompts(&args.prompts)?;
    let prompts: Vec<(String, Sheet)> = items
        .iter()
        .map(|(item, prompt)| (prompt.clone(), Sheet(sheet(item))))
        .collect();
    draw(&args.draw, &prompts, COUNT, quiet)?;
    let Some((graph, path)) = graph.zip(args.answers.as_ref()) else {
        say(
            quiet,
            &format!(
                "{}: images of {} prompts; score answers about them with `--questions FILE --answers FILE`, and `--judge URL` to have them answered",
                args.draw.images.display(),
                prompts.len()
            ),
        );
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(judge) = &judge {
        let answers = ask(&graph, judge, &sheet, args.jobs as usize, quiet)?;
        answers.write(path)?;
    }
    let answers = Answers::read(path)?;
    let scores = graph.score(&answers)?;
    let metrics = graph.metrics(&answers, &scores)?;
    let names = items.keys().map(|item| format!("{item}.png"));
    let names: Vec<String> = names
        .filter(|name| args.draw.images.join(name).is_file())
        .collect();
    let answers = scores::input(path)?;
    let figures = Figures {
        scores: &scores,
        quirks,
        prompts: scores::input(&args.prompts)?,
        questions: args.questions.as_deref().map(scores::input).transpose()?,
        pictures: Pictures::read(&args.draw.images, &names)?,
        judge: match &judge {
            Some(judge) => Some(Told {
                url: args.judge.clone(),
                model: args.model.clone(),
                template: judge.yes_no_template().to_owned(),
                parameters: judge.parameters(),
            }),
            None => Told::before(&args.draw.images, &answers),
        },
        answers,
    };
    print(&scores, quiet);
    let num_images = metrics["dpg/overall"].per_seed.len();
    let measured = scores::measured("dpg", scores.num_items, num_images, metrics);
    scores::write(&args.draw, "cpu", &measured, &figures, quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// The script's ways that the command line chooses.
fn quirks(args: &DpgArgs) -> Quirks {
    if !args.as_written && args.quirks.is_empty() {
        return Quirks::OFFICIAL;
    }
    let has = |quirk| args.quirks.contains(&quirk);
    Quirks {
        first_row_lost: has(QuirkArg::FirstRowLost),
        cascade: if has(QuirkArg::FileOrder) {
            Cascade::FileOrder
        } else {
            Cascade::Dependents
        },
        last_image_categories: has(QuirkArg::LastImageCategories),
        defects_pass: has(QuirkArg::DefectsPass),
    }
}

/// The judge that the command line names, which keeps its answers beside the file of answers.
fn judge(args: &DpgArgs) -> Result<Option<VlmJudge>> {
    let (Some(url), Some(model), Some(answers)) = (&args.judge, &args.model, &args.answers) else {
        return Ok(None);
    };
    let endpoint = Endpoint {
        api_key: key()?,
        timeout: Duration::from_secs(args.timeout),
        ..Endpoint::new(url)
    };
    let judge = VlmJudge::new(endpoint.client()?, model).with_parameters(parameters(args))?;
    let judge = match &args.template {
        Some(template) => judge
            .with_templates(template, VlmJudge::NUMBER_TEMPLATE)
            .context("`--template`")?,
        None => judge,
    };
    Ok(Some(judge.with_cache(Cache::new(cache_of(answers)))))
}

/// Where a judge keeps what it answered, beside the file `answers`.
fn cache_of(answers: &Path) -> PathBuf {
    answers.with_extension("cache")
}

/// The key that the environment holds, if it holds one.
fn key() -> Result<Option<ApiKey>> {
    const NAME: &str = "DMDR_API_KEY";
    let key = std::env::var(NAME).unwrap_or_default();
    if key.trim().is_empty() {
        return Ok(None);
    }
    ApiKey::new(&key)
        .map(Some)
        .map_err(|error| anyhow!("environment variable `{NAME}`: {error}"))
}

/// What every request says besides model and question.
fn parameters(args: &DpgArgs) -> Parameters {
    let usual = Parameters::default();
    Parameters {
        max_tokens: args.max_tokens.unwrap_or(usual.max_tokens),
        extra: args.parameter.iter().cloned().collect(),
        omit: args.omit.clone(),
    }
}

fn print(scores: &Scores, quiet: bool) {
    for (category, score) in &scores.broad {
        print_data(&format!("{category:<16} {:.2}", 100.0 * score));
    }
    print_data(&format!(
        "{:<16} {:.2}  ({} prompts)",
        "overall",
        100.0 * scores.overall,
        scores.num_items
    ));
    if !scores.left_out.is_empty() {
        say(
            quiet,
            &format!("not scored: {}", scores.left_out.join(", ")),
        );
    }
}

/// The judge's answers to every question about every image, `jobs` prompts at a time.
fn ask(
    graph: &Graph,
    judge: &VlmJudge,
    sheet: &(dyn Fn(&str) -> PathBuf + Sync),
    jobs: usize,
    quiet: bool,
) -> Result<Answers> {
    let items = &graph.items;
    if let Some(path) = items
        .iter()
        .map(|item| sheet(&item.id))
        .find(|path| !path.is_file())
    {
        return Err(missing(&path));
    }
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<usize, Result<Vec<ImageAnswers>>>> = Mutex::default();
    let counter = Mutex::new(Counter::new(quiet, "images with questions"));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(index)
                {
                    let answers = answers(item, judge, &sheet(&item.id));
                    if answers.is_err() {
                        next.store(items.len(), Ordering::Relaxed); // the others stop as well
                    }
                    let mut found = found.lock().expect("nobody panics");
                    found.insert(index, answers);
                    let mut counter = counter.lock().expect("nobody panics");
                    counter.update(found.len() * COUNT, items.len() * COUNT);
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panics").into_values();
    let found: Vec<Vec<ImageAnswers>> = found.collect::<Result<_>>()?;
    let names = items.iter().map(|item| item.id.clone());
    Ok(Answers {
        items: names.zip(found).collect(),
    })
}

/// Answers about each image of a prompt.
fn answers(item: &Item, judge: &VlmJudge, sheet: &Path) -> Result<Vec<ImageAnswers>> {
    let of_image = |png: &Vec<u8>| -> Result<ImageAnswers> {
        let mut answers = ImageAnswers::new();
        for question in &item.questions {
            let answer = if judge.yes_no(png, &question.text)? {
                "yes"
            } else {
                "no"
            };
            answers.insert(question.id, answer.to_owned());
        }
        Ok(answers)
    };
    let context = || format!("asking about `{}`", sheet.display());
    let pictures = pictures(sheet)?;
    pictures
        .iter()
        .map(of_image)
        .collect::<Result<_>>()
        .with_context(context)
}

/// The four images in a prompt's file.
fn pictures(path: &Path) -> Result<Vec<Vec<u8>>> {
    let sheet = Image::from_file(path)?;
    if !(sheet.width.is_multiple_of(COLUMNS) && sheet.height.is_multiple_of(COUNT / COLUMNS)) {
        bail!(
            "`{}` is {} x {} pixels: expected two rows of two images of one size",
            path.display(),
            sheet.width,
            sheet.height
        );
    }
    let tiles = sheet.tiles(COLUMNS, COUNT / COLUMNS);
    Ok(tiles.iter().map(|tile| tile.png(&[])).collect())
}
