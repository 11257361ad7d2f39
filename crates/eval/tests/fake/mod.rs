//! A sampler made of a function, and an evaluator with small random towers.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dmdr_batches::Prompts;
use dmdr_config::Assets;
use dmdr_config::WorldPreset;
use dmdr_eval::{EvalError, Evaluator, Sampler};
use dmdr_models::{ClipConfig, ImageTowerConfig, Stored, TextTowerConfig, WorldClip};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor};
use dmdr_world::{Tokenizer, World};

pub(crate) type Make = fn(&World, &Prompts, &Tensor) -> Tensor;

/// A sampler made of a function.
pub(crate) struct Fake {
    pub(crate) name: &'static str,
    pub(crate) world: World,
    pub(crate) make: Make,
}

impl Sampler for Fake {
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError> {
        Ok((self.make)(&self.world, prompts, noise))
    }

    fn num_evaluations(&self) -> usize {
        4
    }

    fn guidance(&self) -> f64 {
        3.0
    }

    fn name(&self) -> &str {
        self.name
    }
}

pub(crate) fn world() -> World {
    World::new(WorldPreset::Mini).expect("valid drawings")
}

pub(crate) fn fake(name: &'static str, make: Make) -> Fake {
    Fake {
        name,
        world: world(),
        make,
    }
}

pub(crate) fn towers(world: &World, seed: u64, path: &Path) {
    let config = ClipConfig {
        text: TextTowerConfig {
            vocabulary: world.tokenizer().vocab_len() as i64,
            max_tokens: 16,
            end_token: i64::from(Tokenizer::END),
            dim: 16,
            depth: 1,
            heads: 2,
        },
        image: ImageTowerConfig {
            image_size: world.canvas() as i64,
            patch: 4,
            dim: 16,
            depth: 1,
            heads: 2,
        },
        embed_dim: 8,
    };
    let store = ParamStore::trainable(Device::Cpu, seed);
    let _net = WorldClip::new(&store, config.clone());
    WorldClip::save(&store, &config, path, Kind::Float, &BTreeMap::new())
        .expect("a temporary file");
}

/// Tests of one process share libtorch's generator, and evaluations reseed it: they take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An evaluator with small random towers.
pub(crate) fn evaluator() -> Evaluator {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let assets = Assets {
        world_clip: path("world-clip"),
        preference: path("preference"),
        preference_heldout: path("preference-heldout"),
    };
    let paths = [
        &assets.world_clip,
        &assets.preference,
        &assets.preference_heldout,
    ];
    for (seed, path) in paths.into_iter().enumerate() {
        towers(&world(), seed as u64, path);
    }
    Evaluator::load(world(), &assets, Device::Cpu).expect("valid towers")
}
