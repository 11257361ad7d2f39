//! `dmdr doctor`: files, device, and memory of a distillation, before any work.

use std::{fs, io, path::Path, process::ExitCode, rc::Rc};

use anyhow::Result;
use dmdr_config::{Experiment, Lora, Tuning};
use dmdr_console::{environment, neighbours, progress::print_data};
use dmdr_tensor::{
    Device, LIBTORCH_VERSION, Ranks, Runtime, device, get_num_threads, open_cuda, precision_warning,
    total_memory_bytes,
};
use dmdr_train::{Assembly, Corpus, Rehearsal};

use super::check_files;
use crate::args::DoctorArgs;

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let experiment = Experiment::load(&args.config, &args.set)?;
    let environment = environment::detect(&experiment.device.to_string());
    print_data(&format!("machine    {}", environment.machine()));
    print_data(&format!(
        "libtorch   {LIBTORCH_VERSION}, {} threads",
        get_num_threads()
    ));
    for warning in experiment.warnings() {
        print_data(&format!("warning    {warning}"));
    }
    check_files(&experiment.referenced_files())?;
    for file in experiment.referenced_files() {
        let bytes = num_bytes(&file.path)?;
        let path = file.path.display();
        print_data(&format!("file       {path} ({})", in_words(bytes)));
    }
    let corpus = Corpus::read(&experiment)?.map(Rc::new);
    if let Some(corpus) = &corpus {
        print_prompts(corpus)?;
    }
    let name = experiment.device.to_string();
    let (target, capacity) = match args.memory {
        // It need not be here, so nobody is asked.
        Some(gib) if name == "cpu" => (Device::Cpu, Some(gibibytes(gib))),
        Some(gib) => (Device::Cuda(0), Some(gibibytes(gib))),
        None => {
            let device = device(&name)?;
            print_cards(device);
            (device, total_memory_bytes(device).ok())
        }
    };
    let runtime = Runtime {
        ranks: Ranks::counted(args.processes),
        ..Runtime::on(target, experiment.precision)
    };
    print_data(&format!(
        "products   {:?} (precision = {:?})",
        runtime.compute, experiment.precision
    ));

    print_slowness(&experiment, target);

    let assembly = Assembly::of(&experiment, runtime).with_corpus(corpus.clone());
    let rehearsal = Rehearsal::of(&assembly)?;
    for warning in &rehearsal.warnings {
        print_data(&format!("warning    {warning}"));
    }
    print_data("memory");
    for (name, bytes) in &rehearsal.resident {
        print_line(name, *bytes, "");
    }
    let kept = ["kept", "computed again (gradient_checkpointing)"];
    let note = format!(
        "activations, {}, and gradients",
        kept[usize::from(experiment.gradient_checkpointing)]
    );
    print_line("an update", rehearsal.update, &note);
    if corpus.is_some() {
        print_line(
            "text encoders",
            rehearsal.encoding,
            "before the training, unless all prompts are cached",
        );
    }
    let of = capacity.map_or(String::new(), |bytes| {
        format!("of {} on {name}", in_words(bytes))
    });
    print_line("at most", rehearsal.peak(), &of);

    let fits = |peak: u64| capacity.is_none_or(|capacity| peak <= capacity);
    print_data("switches");
    for (switch, changed) in switches(&experiment) {
        let assembly = Assembly::of(&changed, runtime).with_corpus(corpus.clone());
        let peak = Rehearsal::of(&assembly)?.peak();
        let verdict = if fits(peak) { "" } else { "does not fit" };
        print_data(&format!("  {switch:<36} {:>10}  {verdict}", in_words(peak)));
    }
    if fits(rehearsal.peak()) {
        print_data("ready to train");
        return Ok(ExitCode::SUCCESS);
    }
    print_data("does not fit: use one or more of the switches");
    Ok(ExitCode::FAILURE)
}

/// What is there of CUDA, where the run is on it.
fn print_cards(device: Device) {
    if let (Device::Cuda(_), Ok(cuda)) = (device, open_cuda()) {
        print_data(&format!("cuda       {cuda}"));
        for (name, bytes) in &cuda.cards {
            print_data(&format!("card       {name}, {}", in_words(*bytes)));
        }
    }
}

/// What makes an update slow without need.
fn print_slowness(experiment: &Experiment, target: Device) {
    if target == Device::Cpu
        && let Some(complaint) = neighbours::complaint()
    {
        print_data(&format!(
            "warning    {complaint}: an update takes several times as long; `dmdr train` and its like let threads give way"
        ));
    }
    if let Some(warning) = precision_warning(experiment.precision, target) {
        print_data(&format!("warning    {warning}"));
    }
}

fn print_prompts(corpus: &Corpus) -> Result<()> {
    for line in corpus.census() {
        print_data(&line);
    }
    if let Some(warning) = corpus.warning()? {
        print_data(&format!("warning    {warning}"));
    }
    Ok(())
}

/// What else could be set, and the experiment with it.
fn switches(experiment: &Experiment) -> Vec<(String, Experiment)> {
    let changed = |change: &dyn Fn(&mut Experiment)| {
        let mut changed = experiment.clone();
        change(&mut changed);
        changed
    };
    let recomputes = !experiment.gradient_checkpointing;
    let mut switches = vec![(
        format!("gradient_checkpointing = {recomputes}"),
        changed(&|changed| changed.gradient_checkpointing = recomputes),
    )];
    switches.extend(halved(experiment));
    if experiment.student.tuning == Tuning::Full && experiment.student.init.is_none() {
        let lora = Lora {
            targets: None,
            ..experiment.fake_score.lora()
        };
        switches.push((
            format!("student.tuning = lora, rank {}", lora.rank),
            changed(&|changed| changed.student.tuning = Tuning::Lora(lora.clone())),
        ));
    }
    // What the config's rules refuse, such as more prompts in groups than a batch has, is no way out.
    switches.retain(|(_, changed)| changed.check().is_ok());
    switches
}

/// Half the batch twice, which is the same batch.
fn halved(experiment: &Experiment) -> Option<(String, Experiment)> {
    let recipe = experiment.method.recipe();
    let half = |count: usize| (count >= 2 && count.is_multiple_of(2)).then_some(count / 2);
    let batch_size = half(recipe.plan().batch_size)?;
    let accumulate = experiment.accumulate * 2;
    // By their keys, so that nobody has to know every method.
    let mut sets = vec![
        format!(
            "method.{}.batch_size={batch_size}",
            experiment.method.name()
        ),
        format!("accumulate={accumulate}"),
    ];
    if let Some(part) = recipe.rl()
        && let Some(groups) = part.algorithm.needs().groups
    {
        let (key, name, count) = (part.key, part.algorithm.name(), half(groups.num_prompts)?);
        sets.push(format!("{key}.algorithm.{name}.groups.num_prompts={count}"));
    }
    let changed = Experiment::parse(Path::new("config"), &experiment.to_toml(), &sets);
    let switch = format!("batch_size = {batch_size}, accumulate = {accumulate}");
    changed.ok().map(|changed| (switch, changed))
}

fn print_line(name: &str, bytes: u64, note: &str) {
    let line = format!("  {name:<36} {:>10}  {note}", in_words(bytes));
    print_data(line.trim_end());
}

/// Of a file, or of all files in a folder that can be read: a link in it may lead nowhere.
fn num_bytes(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let entries = fs::read_dir(path)?.flatten();
    Ok(entries
        .map(|entry| num_bytes(&entry.path()).unwrap_or(0))
        .sum())
}

fn gibibytes(number: f64) -> u64 {
    (number * f64::from(1 << 30)) as u64
}

fn in_words(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.1} GiB", mebibytes / 1024.0)
    }
}
