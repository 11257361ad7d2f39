//! `dmdr doctor`: files, device, and memory of a distillation, before any work.

mod fit;

use std::{fs, io, path::Path, process::ExitCode, rc::Rc};

use anyhow::Result;
use dmdr_config::{Checkpointing, Experiment, ReferencedFile};
use dmdr_console::{environment, neighbours, progress::print_data};
use dmdr_tensor::{
    Device, LIBTORCH_VERSION, Ranks, Runtime, device, get_num_threads, open_cuda,
    precision_warning, total_memory_bytes, use_random_weights,
};
use dmdr_train::{Assembly, Corpus, Rehearsal};

use self::fit::{Fitted, fit, switches};
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
    if args.random_weights {
        use_random_weights();
    } else {
        print_files(&experiment.referenced_files())?;
    }
    let corpus = Corpus::read(&experiment)?.map(Rc::new);
    if let Some(corpus) = &corpus {
        print_prompts(corpus)?;
    }
    let name = experiment.device.to_string();
    let (target, capacity) = match args.fit.or(args.memory) {
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
    let of = capacity.map_or(String::new(), |bytes| {
        format!("of {} on {name}", in_words(bytes))
    });
    print_memory(&rehearsal, &experiment, corpus.is_some(), &of);

    let peak_of = |changed: &Experiment| {
        let assembly = Assembly::of(changed, runtime).with_corpus(corpus.clone());
        Ok(Rehearsal::of(&assembly)?.peak())
    };
    if let Some(gib) = args.fit {
        let fitted = fit(&experiment, gibibytes(gib), &peak_of)?;
        return Ok(print_fitted(fitted, gib));
    }
    let fits = |peak: u64| capacity.is_none_or(|capacity| peak <= capacity);
    print_data("switches");
    for switch in switches(&experiment) {
        let peak = peak_of(&switch.changed)?;
        let verdict = if fits(peak) { "" } else { "does not fit" };
        let line = format!("  {:<36} {:>10}  {verdict}", switch.label, in_words(peak));
        print_data(line.trim_end());
    }
    if fits(rehearsal.peak()) {
        print_data("ready to train");
        return Ok(ExitCode::SUCCESS);
    }
    print_data("does not fit: use one or more of the switches");
    Ok(ExitCode::FAILURE)
}

/// What takes how much; `of` says what of.
fn print_memory(rehearsal: &Rehearsal, experiment: &Experiment, encodes: bool, of: &str) {
    print_data("memory");
    for (name, bytes) in &rehearsal.resident {
        print_line(name, *bytes, "");
    }
    let kept = if experiment.gradient_checkpointing == Checkpointing::default() {
        "kept"
    } else {
        "computed again (gradient_checkpointing)"
    };
    let note = format!("activations, {kept}, and gradients");
    print_line("an update", rehearsal.update, &note);
    if encodes {
        print_line(
            "text encoders",
            rehearsal.encoding,
            "before the training, unless all prompts are cached",
        );
    }
    print_line("at most", rehearsal.peak(), of);
}

/// What to set so that a run takes `gib` at most.
fn print_fitted(fitted: Option<Fitted>, gib: f64) -> ExitCode {
    let Some(Fitted { sets, peak }) = fitted else {
        print_data(&format!(
            "does not fit into {gib} GiB with checkpointing, a smaller batch and `[memory]`: take an adapter as the student, or fewer rewards"
        ));
        return ExitCode::FAILURE;
    };
    print_data(&format!("fits into {gib} GiB with {}", in_words(peak)));
    for set in &sets {
        print_data(&format!("  --set {set}"));
    }
    if sets.is_empty() {
        print_data("  as it is");
    }
    ExitCode::SUCCESS
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

fn print_files(files: &[ReferencedFile]) -> Result<()> {
    check_files(files)?;
    for file in files {
        let bytes = num_bytes(&file.path)?;
        let path = file.path.display();
        print_data(&format!("file       {path} ({})", in_words(bytes)));
    }
    Ok(())
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
