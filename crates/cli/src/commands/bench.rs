//! `dmdr bench`: how long an update takes, and what it is spent on.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_config::Experiment;
use dmdr_console::{environment, neighbours, progress::print_data};
use dmdr_events::atomic_write;
use dmdr_tensor::{LIBTORCH_VERSION, Runtime, get_num_threads, use_random_weights};
use dmdr_train::{Assembly, Bench};
use serde_json::json;

use super::check_files;
use crate::args::BenchArgs;

const GIGA: f64 = 1e9;
const MEBIBYTE: f64 = (1 << 20) as f64;

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let mut experiment = Experiment::load(&args.config, &args.set)?;
    // Only updates are measured.
    experiment.events.evaluate_every = 0;
    experiment.guard = None;
    if args.random_weights {
        use_random_weights();
    } else {
        check_files(&experiment.referenced_files())?;
    }
    let runtime = Runtime::new(experiment.device, experiment.precision)?;
    let environment = environment::detect(&experiment.device.to_string());
    if let Some(complaint) = neighbours::complaint() {
        print_data(&format!(
            "warning      {complaint}: the figures are worse than alone"
        ));
    }
    let assembly = Assembly::of(&experiment, runtime);
    let bench = Bench::of(&assembly, args.warm_up as usize, args.updates as usize)?;

    let kind = format!("{:?}", runtime.compute);
    print_data(&format!("machine      {}", environment.machine()));
    print_data(&format!(
        "libtorch     {LIBTORCH_VERSION}, {} threads",
        get_num_threads()
    ));
    print_data(&format!(
        "config       {}, products in {kind}",
        args.config.display()
    ));
    let (least, most) = ends(&bench.seconds);
    print_data(&format!(
        "update       {:.3} s ({least:.3} to {most:.3}, {} updates), batch {}, {:.2} samples/s",
        bench.median(),
        bench.seconds.len(),
        bench.batch_size,
        bench.batch_size as f64 / bench.median()
    ));
    print_data(&format!(
        "operations   {:.1} GFLOP an update, {:.1} GFLOP/s: {:.0} % of a large product's {:.1}",
        bench.operations as f64 / GIGA,
        bench.rate() / GIGA,
        bench.rate() / bench.ceiling * 100.0,
        bench.ceiling / GIGA
    ));
    print_data(&format!(
        "memory       {:.1} MiB at most, {:.2} of what the doctor says",
        bench.peak as f64 / MEBIBYTE,
        bench.peak as f64 / bench.forecast as f64
    ));
    print_data("phases       seconds, with a wait for the device around each");
    let total: f64 = bench.phases.values().sum();
    for (name, seconds) in &bench.phases {
        let share = seconds / total * 100.0;
        print_data(&format!("  {name:<14} {seconds:>9.3}  {share:>3.0} %"));
    }
    if let Some(path) = &args.json {
        let report = json!({
            "config": experiment.name, "commit": environment::COMMIT, "machine": environment.machine(),
            "libtorch": LIBTORCH_VERSION, "threads": get_num_threads(), "kind": kind,
            "random_weights": args.random_weights, "batch_size": bench.batch_size,
            "seconds": bench.seconds, "phases": bench.phases, "operations": bench.operations,
            "operations_per_s": bench.rate(), "ceiling_per_s": bench.ceiling,
            "peak_bytes": bench.peak, "forecast_bytes": bench.forecast,
        });
        atomic_write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The smallest and the largest.
fn ends(values: &[f64]) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    values.iter().fold(ends, |(least, most), value| {
        (least.min(*value), most.max(*value))
    })
}
