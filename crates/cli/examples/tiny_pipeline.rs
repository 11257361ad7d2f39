//! Writes a tiny Stable Diffusion 3 pipeline of random weights in diffusers' layout, to try all commands in seconds:
//! `cargo run --release --example tiny_pipeline -- FOLDER`. Its pictures are noise.

use std::{fs, path::PathBuf, process::ExitCode};

use serde_json::json;

#[path = "../tests/common/pipeline.rs"]
mod pipeline;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return refuse("expected one argument: the folder to write");
    };
    if folder.exists() {
        return refuse(&format!("`{}` exists: name a new folder", folder.display()));
    }
    if let Err(error) = write(&folder) {
        return refuse(&format!("cannot write `{}`: {error}", folder.display()));
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "an example's own message")]
fn refuse(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

/// The pipeline with what diffusers itself wants beside the parts: an index of all of them and a scheduler.
fn write(folder: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("scheduler"))?;
    pipeline::sd3(folder);
    pipeline::clip(folder);
    let index = pipeline::sd3_index();
    fs::write(folder.join("model_index.json"), index.to_string())?;
    let scheduler = json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000,
        "shift": 3.0,
    });
    let path = folder.join("scheduler/scheduler_config.json");
    fs::write(path, scheduler.to_string())
}
