//! Which prompts and which noise: pure functions of the set, the same for every sampler.

use dmdr_batches::Prompts;
use dmdr_tensor::{Device, Kind, Tensor, reseed};
use dmdr_world::{DensePrompt, Prompt, Split, World};
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Seed of the prompts of every evaluation: numbers of two papers, runs or machines are about the same captions.
pub const PROMPT_SEED: u64 = 251_113_649;

/// Images sampled at a time. Part of the protocol: noise that a sampler draws itself is seeded batch by batch.
pub const BATCH_SIZE: usize = 64;

/// Streams of randomness, so that the first noise and a sampler's own are never the same numbers.
const NOISE_STREAM: u64 = 0x4556_414C_0001;
const SAMPLING_STREAM: u64 = 0x4556_414C_0002;

/// Prompts and seeds: every prompt is drawn once a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSet {
    /// Split of the prompts: validation for decisions, test for results.
    pub split: Split,
    /// Number of prompts; a multiple of 6 has as many of each kind.
    pub num_prompts: usize,
    /// Seeds of the noise.
    pub seeds: Vec<u64>,
}

impl EvalSet {
    /// Images in total.
    pub fn num_images(&self) -> usize {
        self.num_prompts * self.seeds.len()
    }

    /// The prompts, `num_prompts` of them; kinds take turns.
    pub fn prompts(&self, world: &World) -> Vec<Prompt> {
        (0..self.num_prompts as u64)
            .map(|index| world.prompt(self.split, PROMPT_SEED, index))
            .collect()
    }

    /// As many dense prompts.
    pub fn dense_prompts(&self, world: &World) -> Vec<DensePrompt> {
        (0..self.num_prompts as u64)
            .map(|index| world.dense_prompt(self.split, PROMPT_SEED, index))
            .collect()
    }

    /// Name of the split, as in configs.
    pub fn split_name(&self) -> &'static str {
        match self.split {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    pub(crate) fn check(&self) -> Result<(), EvalError> {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if self.num_prompts == 0 {
            Err(EvalError::Set("needs at least one prompt"))
        } else if seeds.is_empty() {
            Err(EvalError::Set("needs at least one seed"))
        } else if seeds.len() < self.seeds.len() {
            Err(EvalError::Set("has a seed twice"))
        } else {
            Ok(())
        }
    }
}

/// Prompts of the emoji world as samplers get them, [`BATCH_SIZE`] at a time.
pub(crate) fn tokenised(
    prompts: &[Prompt],
    world: &World,
    max_tokens: usize,
    device: Device,
) -> Result<Vec<Prompts>, EvalError> {
    let chunks = prompts.chunks(BATCH_SIZE);
    chunks
        .map(|chunk| Ok(Prompts::new(world, chunk.to_vec(), max_tokens, device)?))
        .collect()
}

/// Consecutive prompts of a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Place of the first in the set.
    pub(crate) first: usize,
    /// What is drawn at a time.
    pub(crate) prompts: &'a Prompts,
}

impl<'a> Batch<'a> {
    /// All batches of a set, which are `prompts`.
    pub(crate) fn of(prompts: &'a [Prompts]) -> Vec<Self> {
        let mut next = 0;
        let batch = |prompts: &'a Prompts| {
            let first = next;
            next += prompts.len();
            Self { first, prompts }
        };
        prompts.iter().map(batch).collect()
    }

    /// Standard normal noise `[B, C, H, W]` for `shape` `[C, H, W]`. Drawn on the CPU and image by image, so that neither the device nor the
    /// batch size changes it.
    pub(crate) fn noise(&self, seed: u64, shape: [i64; 3], device: Device) -> Tensor {
        let noise: Vec<Tensor> = (self.first..self.first + self.prompts.len())
            .map(|index| {
                reseed(&[NOISE_STREAM, seed, index as u64]);
                Tensor::randn(shape, (Kind::Float, Device::Cpu))
            })
            .collect();
        Tensor::stack(&noise, 0).to_device(device)
    }

    /// Fixes what a sampler draws itself.
    pub(crate) fn reseed(&self, seed: u64) {
        reseed(&[SAMPLING_STREAM, seed, self.first as u64]);
    }
}

#[cfg(test)]
mod tests {
    use dmdr_config::WorldPreset;

    use super::*;

    fn set(num_prompts: usize, seeds: &[u64]) -> EvalSet {
        EvalSet {
            split: Split::Test,
            num_prompts,
            seeds: seeds.to_vec(),
        }
    }

    #[test]
    fn noise_depends_on_seed_and_prompt_only() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let set = set(BATCH_SIZE + 6, &[0]);
        let tokenised =
            |prompts: &[Prompt]| tokenised(prompts, &world, 16, Device::Cpu).expect("captions fit");
        let prompts = tokenised(&set.prompts(&world));
        let batches = Batch::of(&prompts);
        assert_eq!(batches.len(), 2);
        let shape = [3, 8, 8];
        let noise = batches[1].noise(7, shape, Device::Cpu);
        assert_eq!(noise.size(), [6, 3, 8, 8]);
        let one = tokenised(&set.prompts(&world)[..1]);
        let alone = Batch {
            first: BATCH_SIZE + 5,
            prompts: &one[0],
        };
        assert_eq!(alone.noise(7, shape, Device::Cpu).get(0), noise.get(5));
        assert_ne!(alone.noise(8, shape, Device::Cpu).get(0), noise.get(5));
        assert_ne!(noise.get(4), noise.get(5));
    }

    #[test]
    fn empty_and_doubled_sets_are_refused() {
        assert!(set(6, &[3, 1]).check().is_ok());
        for bad in [set(0, &[0]), set(6, &[]), set(6, &[0, 1, 0])] {
            assert!(matches!(bad.check(), Err(EvalError::Set(_))), "{bad:?}");
        }
    }
}
