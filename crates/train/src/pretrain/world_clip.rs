//! World-CLIP: symmetric contrastive loss (CLIP, arXiv 2103.00020) with hard negative captions (NegCLIP, 2210.01936).

use std::{collections::BTreeMap, path::Path};

use dmdr_batches::{KindSampler, PromptStream, Prompts, SceneBatch, augment};
use dmdr_config::{Pretrain, WorldClipModel};
use dmdr_methods::Losses;
use dmdr_models::{ClipConfig, ImageTowerConfig, Stored, TextTowerConfig, WorldClip};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor, mix};
use dmdr_world::{Prompt, Split, Tokenizer, World};

use super::Objective;
use crate::TrainError;

pub(super) struct ClipObjective {
    world: World,
    store: ParamStore,
    net: WorldClip,
    kinds: KindSampler,
    contrasts: usize,
    augment: bool,
    seed: u64,
    batch_size: usize,
}

/// Tower sizes for `world`.
pub(super) fn towers(model: &WorldClipModel, world: &World) -> ClipConfig {
    let (dim, heads) = (model.dim as i64, model.heads as i64);
    ClipConfig {
        text: TextTowerConfig {
            vocabulary: world.tokenizer().vocab_len() as i64,
            max_tokens: model.max_tokens as i64,
            end_token: i64::from(Tokenizer::END),
            dim,
            depth: model.text_depth as i64,
            heads,
        },
        image: ImageTowerConfig {
            image_size: world.canvas() as i64,
            patch: model.patch as i64,
            dim,
            depth: model.image_depth as i64,
            heads,
        },
        embed_dim: model.embed_dim as i64,
    }
}

/// For each prompt one that differs in a single fact.
pub(super) fn contrasts(
    world: &World,
    prompts: &[Prompt],
    seed: u64,
    iteration: u64,
) -> Vec<Prompt> {
    prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            world.contrast(
                Split::Train,
                prompt,
                mix(&[seed, iteration, index as u64]) as u64,
            )
        })
        .collect()
}

impl ClipObjective {
    pub(super) fn new(
        config: &Pretrain,
        model: &WorldClipModel,
        world: World,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let store =
            ParamStore::trainable(runtime.device, config.seed).with_compute(runtime.compute);
        let net = WorldClip::new(&store, towers(model, &world));
        if let Some(path) = &model.init {
            store.load(path)?;
        }
        Ok(Self {
            world,
            store,
            net,
            kinds: KindSampler::new(model.kinds.to_array()),
            contrasts: model.contrasts,
            augment: model.augment,
            seed: config.seed,
            batch_size: config.batch_size,
        })
    }

    /// [`Self::contrasts`] near misses a prompt, first one of each, then another of each.
    fn near_misses(&self, prompts: &[Prompt], iteration: u64) -> Vec<Prompt> {
        let rounds = 0..self.contrasts as u64;
        rounds
            .flat_map(|round| {
                let seed = mix(&[self.seed, round]) as u64;
                contrasts(&self.world, prompts, seed, iteration)
            })
            .collect()
    }
}

impl Objective for ClipObjective {
    fn losses(&self, iteration: u64) -> Result<Losses, TrainError> {
        let device = self.store.device();
        let max_tokens = self.net.config().text.max_tokens as usize;
        let stream = PromptStream {
            kinds: self.kinds,
            ..PromptStream::training(&self.world, self.seed)
        };
        let SceneBatch { images, prompts } =
            stream.scenes(iteration, self.batch_size, max_tokens, device)?;
        let right = prompts.scenes();
        let wrong = self.near_misses(&right.prompts, iteration);
        let wrong = Prompts::new(&self.world, wrong, max_tokens, device)?;
        let images = if self.augment {
            augment::mild(&images)
        } else {
            images
        };

        let count = images.size()[0];
        let image = self.net.embed_image(&images);
        let ids = Tensor::cat(&[&right.ids, &wrong.scenes().ids], 0);
        let text = self.net.embed_text(&ids); // [(1 + contrasts) B, E]
        let logits = image.matmul(&text.transpose(0, 1)) * self.net.temperature(); // [B, (1 + contrasts) B]
        // Another image's equal caption is no negative.
        let same = ids
            .unsqueeze(0)
            .eq_tensor(&right.ids.unsqueeze(1))
            .all_dim(2, false);
        let diagonal = Tensor::eye_m(count, ids.size()[0], (Kind::Bool, device));
        let logits = logits.masked_fill(
            &same.logical_and(&diagonal.logical_not()),
            f64::NEG_INFINITY,
        );
        let target = Tensor::arange(count, (Kind::Int64, device));
        let image_loss = logits.cross_entropy_for_logits(&target);
        let text_loss = logits
            .narrow(1, 0, count)
            .transpose(0, 1)
            .cross_entropy_for_logits(&target);

        let mut losses = Losses::default();
        let accuracy = logits
            .argmax(1, false)
            .eq_tensor(&target)
            .to_kind(Kind::Float);
        losses.numbers.keep("accuracy", &accuracy.mean(Kind::Float));
        losses.keep("images", &images);
        losses.add("contrastive", 0.5, image_loss + text_loss);
        Ok(losses)
    }

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn twin(&self) -> ParamStore {
        let twin = ParamStore::frozen(self.store.device());
        let _ = WorldClip::new(&twin, self.net.config().clone());
        twin
    }

    fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(WorldClip::save(
            store,
            self.net.config(),
            path,
            Kind::Half,
            notes,
        )?)
    }
}
