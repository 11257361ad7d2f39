//! Writes a tiny pipeline of random weights, to try all commands in seconds; its pictures are noise:
//! `cargo run --release --example tiny_pipeline -- FOLDER [FAMILY]`. The family is `sd3`, which is the default, `sdxl`,
//! `z_image`, or `sit`. The first three are in diffusers' layout, with CLIP's towers beside them. SiT is a network for five
//! classes with an autoencoder, and `DINOv2` beside them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;

#[path = "../tests/common/pipeline.rs"]
mod pipeline;

const FAMILIES: [&str; 4] = ["sd3", "sdxl", "z_image", "sit"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), family, None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return refuse("expected the folder to write, and perhaps a family");
    };
    let (folder, family) = (PathBuf::from(folder), family.as_deref().unwrap_or("sd3"));
    if !FAMILIES.contains(&family) {
        return refuse(&format!("there is no family `{family}`, only {FAMILIES:?}"));
    }
    if folder.exists() {
        return refuse(&format!("`{}` exists: name a new folder", folder.display()));
    }
    if let Err(error) = write(&folder, family) {
        return refuse(&format!("cannot write `{}`: {error}", folder.display()));
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "an example's own message")]
fn refuse(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

fn write(folder: &Path, family: &str) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    match family {
        "sdxl" => pipeline::sdxl(folder),
        "z_image" => pipeline::z_image(folder),
        "sit" => {
            pipeline::sit(folder);
            pipeline::dino(folder);
            return Ok(());
        }
        _ => {
            pipeline::sd3(folder);
            complete_sd3(folder)?;
        }
    }
    pipeline::clip(folder);
    Ok(())
}

/// What diffusers itself wants beside the parts: an index of all of them and a scheduler.
fn complete_sd3(folder: &Path) -> std::io::Result<()> {
    let index = pipeline::sd3_index();
    fs::write(folder.join("model_index.json"), index.to_string())?;
    let scheduler = json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000,
        "shift": 3.0,
    });
    fs::create_dir(folder.join("scheduler"))?;
    let path = folder.join("scheduler/scheduler_config.json");
    fs::write(path, scheduler.to_string())
}
