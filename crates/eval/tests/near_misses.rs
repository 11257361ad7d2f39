//! The shipped World-CLIP sees what the judge counts: on true scenes of combinations that it was not trained on, it
//! tells a caption from one that differs in a single fact.

use std::path::{Path, PathBuf};

use dmdr_batches::{Prompts, images_to_tensor};
use dmdr_config::WorldPreset;
use dmdr_eval::EvalSet;
use dmdr_rewards::{RewardModel, WorldClipScore};
use dmdr_tensor::{Device, no_grad_guard};
use dmdr_world::{Kind, Prompt, Split, World};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

/// Share of 50 prompts of `kind` whose scene is nearer to its own caption.
fn accuracy(towers: &WorldClipScore, world: &World, kind: Kind, prompts: &[Prompt]) -> f64 {
    let _guard = no_grad_guard();
    let own: Vec<Prompt> = prompts.iter().filter(|p| p.kind == kind).cloned().collect();
    let wrong = (0..)
        .zip(&own)
        .map(|(seed, prompt)| world.contrast(Split::Validation, prompt, seed))
        .collect();
    let scenes: Vec<_> = (0..)
        .zip(&own)
        .map(|(seed, prompt)| world.render(&world.scene(prompt, seed)))
        .collect();
    let images = images_to_tensor(&scenes, Device::Cpu);
    let score = |prompts: Vec<Prompt>| {
        let prompts = Prompts::new(world, prompts, 16, Device::Cpu).expect("short captions");
        towers.score(&images, &prompts).expect("fits")
    };
    let count = own.len() as f64;
    score(own)
        .gt_tensor(&score(wrong))
        .sum(dmdr_tensor::Kind::Float)
        .double_value(&[])
        / count
}

#[test]
fn world_clip_tells_captions_from_near_misses_in_every_kind() {
    let world = World::new(WorldPreset::Mini).expect("valid drawings");
    let path = asset("world-clip.safetensors");
    let towers = WorldClipScore::load("world_clip", &path, Device::Cpu).expect("shipped");
    let set = EvalSet {
        split: Split::Validation,
        num_prompts: 300,
        seeds: vec![0],
    };
    let prompts = set.prompts(&world);
    for kind in Kind::ALL {
        let accuracy = accuracy(&towers, &world, kind, &prompts);
        assert!(accuracy >= 0.9, "{kind:?}: {accuracy:.3}");
    }
}
