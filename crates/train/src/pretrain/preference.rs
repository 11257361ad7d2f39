//! The preference model: Bradley-Terry on pairs `-log sigmoid(score(better) - score(worse))` (HPSv2's form, 2306.09341).
//!
//! The better image is a clean scene of the caption; the worse one is damaged (blurred, noisy, faded, misplaced, warped,
//! melted) or shows another object, colour, count or relation.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{PreferenceModel, Pretrain};
use dmdr_data::{PromptStream, Prompts, SceneBatch};
use dmdr_methods::Losses;
use dmdr_models::{Stored, WorldClip};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, mix};
use dmdr_world::World;

use super::{Objective, augment, world_clip};
use crate::{TrainError, compute};

pub(super) struct PreferenceObjective {
    world: World,
    store: ParamStore,
    net: WorldClip,
    augment: bool,
    margin: f64,
    seed: u64,
    batch_size: usize,
}

impl PreferenceObjective {
    pub(super) fn new(
        config: &Pretrain,
        model: &PreferenceModel,
        world: World,
        device: Device,
    ) -> Self {
        let store = ParamStore::trainable(device, config.seed)
            .with_compute(compute(config.precision, device));
        let net = WorldClip::new(&store, world_clip::towers(&model.towers(), &world));
        Self {
            world,
            store,
            net,
            augment: model.augment,
            margin: model.margin,
            seed: config.seed,
            batch_size: config.batch_size,
        }
    }

    /// Half of the batch is damaged, each image in one way; the other half shows another scene.
    fn worse(&self, images: &Tensor, prompts: &Prompts, step: u64) -> Result<Tensor, TrainError> {
        let count = images.size()[0];
        let half = count / 2;
        let damaged = images.narrow(0, 0, half);
        let damages = [
            augment::blur(&damaged, 1.5),
            augment::noise(&damaged, 0.3),
            augment::fade(&damaged, 0.8),
            augment::misplace(&damaged),
            augment::warp(&damaged, 0.1),
            augment::melt(&damaged),
        ];
        let which = Tensor::randint(
            damages.len() as i64,
            [1, half, 1, 1, 1],
            (Kind::Int64, images.device()),
        );
        let size = damaged.size();
        let index = which.expand([1, half, size[1], size[2], size[3]], false);
        let damaged = Tensor::stack(&damages, 0)
            .gather(0, &index, false)
            .squeeze_dim(0);

        let wrong = world_clip::contrasts(
            &self.world,
            &prompts.prompts[half as usize..],
            self.seed,
            step,
        );
        let max_tokens = self.net.config().text.max_tokens as usize;
        let wrong = Prompts::new(&self.world, wrong, max_tokens, images.device())?;
        let seed = mix(&[self.seed, 1]) as u64; // other places and backgrounds than the better scenes
        let wrong = SceneBatch::render(&self.world, &wrong, seed, step).to_device(images.device());
        Ok(Tensor::cat(&[damaged, wrong], 0))
    }
}

impl Objective for PreferenceObjective {
    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn twin(&self) -> ParamStore {
        let twin = ParamStore::frozen(self.store.device());
        let _ = WorldClip::new(&twin, self.net.config().clone());
        twin
    }

    fn losses(&self, step: u64) -> Result<Losses, TrainError> {
        let max_tokens = self.net.config().text.max_tokens as usize;
        let stream = PromptStream::training(&self.world, self.seed);
        let SceneBatch { images, prompts } =
            stream.scenes(step, self.batch_size, max_tokens, self.store.device())?;
        let worse = self.worse(&images, &prompts, step)?;
        let better = if self.augment {
            augment::noise(&images, 0.02)
        } else {
            images
        };
        let text = self.net.embed_text(&prompts.ids);
        let score = |images: &Tensor| {
            let product = self.net.embed_image(images) * &text;
            product.sum_dim_intlist(&[-1i64][..], false, Kind::Float)
        };
        let margin = (score(&better) - score(&worse)) * self.net.temperature() - self.margin;
        let mut losses = Losses::default();
        losses.observe(
            "accuracy",
            margin
                .gt(0.0)
                .to_kind(Kind::Float)
                .mean(Kind::Float)
                .double_value(&[]),
        );
        losses.keep("better", &better);
        losses.keep("worse", &worse);
        losses.add("preference", 1.0, -margin.log_sigmoid().mean(Kind::Float));
        Ok(losses)
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
