//! `dmdr doctor`: files, device, and memory of a distillation, before any work.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_config::Experiment;
use dmdr_tensor::{LIBTORCH_VERSION, device, get_num_threads, peak_memory_bytes};
use dmdr_train::{Networks, Source, compute};

use super::check_files;
use crate::{args::DoctorArgs, environment, progress::print_data};

/// f32 bytes an element.
const F32: u64 = 4;

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
        let bytes = std::fs::metadata(&file.path)?.len();
        print_data(&format!(
            "file       {} ({})",
            file.path.display(),
            mebibytes(bytes)
        ));
    }
    let device = device(&experiment.device.to_string())?;
    let kind = compute(experiment.precision, device);
    print_data(&format!(
        "products   {kind:?} (precision = {:?})",
        experiment.precision
    ));
    let source = Source::load(&experiment, device)?;
    let networks = Networks::build(&experiment, &source, device, kind)?;
    let count = |store: &dmdr_tensor::ParamStore| store.num_scalars() as u64;
    let (base, student, score) = (
        count(&networks.base),
        count(&networks.student),
        count(&networks.score),
    );
    print_data(&format!(
        "teacher    {base} parameters, {}",
        mebibytes(networks.base.num_bytes() as u64)
    ));
    // Value, gradient and two moments each; the average is one more copy.
    let average = if experiment.ema.is_some() { F32 } else { 0 };
    for (name, scalars, bytes) in [
        ("student", student, student * (4 * F32 + average)),
        ("fake score", score, score * 4 * F32),
    ] {
        print_data(&format!(
            "{name:<10} {scalars} trained parameters, {}",
            mebibytes(bytes)
        ));
    }
    print_data(&format!(
        "memory     {} with everything loaded",
        mebibytes(peak_memory_bytes(device)?)
    ));
    print_data("ready to train");
    Ok(ExitCode::SUCCESS)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
