//! The preference model: Bradley-Terry on pairs `-log sigmoid(score(better) - score(worse))` (HPSv2's form, 2306.09341).
//!
//! The better image is a clean scene of the caption; the worse one is damaged (blurred, noisy, faded, misplaced, warped,
//! melted, or repainted by a generator) or shows another object, colour, count or relation.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{PreferenceModel, Pretrain};
use dmdr_data::{PromptStream, Prompts, SceneBatch, augment, images_from_tensor};
use dmdr_methods::Losses;
use dmdr_models::{Stored, WorldClip};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, mix, reseed};
use dmdr_world::{Image, World};

use super::{Objective, repaint::Repainter, world_clip};
use crate::{TrainError, compute};

pub(super) struct PreferenceObjective {
    world: World,
    store: ParamStore,
    net: WorldClip,
    repainter: Option<Repainter>,
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
    ) -> Result<Self, TrainError> {
        let compute = compute(config.precision, device);
        let store = ParamStore::trainable(device, config.seed).with_compute(compute);
        let net = WorldClip::new(&store, world_clip::towers(&model.towers(), &world));
        let repainter = match &model.repaint {
            Some(repaint) => Some(Repainter::load(repaint, &world, device, compute)?),
            None => None,
        };
        Ok(Self {
            world,
            store,
            net,
            repainter,
            augment: model.augment,
            margin: model.margin,
            seed: config.seed,
            batch_size: config.batch_size,
        })
    }

    /// Part of the batch is damaged, part is repainted if there is a generator, and the rest shows other scenes.
    fn worse(&self, images: &Tensor, prompts: &Prompts, step: u64) -> Result<Tensor, TrainError> {
        let count = prompts.prompts.len();
        let max_tokens = self.net.config().text.max_tokens as usize;
        let rows = |first: usize, last: usize| {
            let images = images.narrow(0, first as i64, (last - first) as i64);
            let prompts = prompts.prompts[first..last].to_vec();
            let prompts = Prompts::new(&self.world, prompts, max_tokens, images.device())?;
            Ok::<_, TrainError>((images, prompts))
        };
        let part = count / if self.repainter.is_some() { 3 } else { 2 };
        let mut worse = vec![damaged(&rows(0, part)?.0)];
        let mut done = part;
        if let Some(repainter) = &self.repainter {
            let (images, prompts) = rows(done, done + part)?;
            worse.push(repainter.repaint(&images, &prompts));
            done += part;
        }
        worse.push(self.other_scenes(&rows(done, count)?.1, step)?);
        Ok(Tensor::cat(&worse, 0))
    }

    /// Scenes in which one fact of each prompt is wrong.
    fn other_scenes(&self, prompts: &Prompts, step: u64) -> Result<Tensor, TrainError> {
        let device = self.store.device();
        let wrong = world_clip::contrasts(&self.world, &prompts.prompts, self.seed, step);
        let max_tokens = self.net.config().text.max_tokens as usize;
        let wrong = Prompts::new(&self.world, wrong, max_tokens, device)?;
        let seed = mix(&[self.seed, 1]) as u64; // other places and backgrounds than the better scenes
        Ok(SceneBatch::render(&self.world, &wrong, seed, step).to_device(device))
    }
}

/// Each of `images [B, 3, H, W]` damaged in one of several ways.
fn damaged(images: &Tensor) -> Tensor {
    let damages = [
        augment::blur(images, 1.5),
        augment::noise(images, 0.3),
        augment::fade(images, 0.8),
        augment::misplace(images),
        augment::warp(images, 0.1),
        augment::melt(images),
    ];
    let size = images.size();
    let which = Tensor::randint(
        damages.len() as i64,
        [1, size[0], 1, 1, 1],
        (Kind::Int64, images.device()),
    );
    let index = which.expand([1, size[0], size[1], size[2], size[3]], false);
    Tensor::stack(&damages, 0)
        .gather(0, &index, false)
        .squeeze_dim(0)
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

    /// Pairs: a row of better images, below it the worse ones, and so on.
    fn sheet(&self, _: &ParamStore, num_prompts: usize) -> Result<Option<Image>, TrainError> {
        const COLUMNS: usize = 8;
        let max_tokens = self.net.config().text.max_tokens as usize;
        reseed(&[self.seed]);
        let stream = PromptStream::training(&self.world, self.seed);
        let SceneBatch { images, prompts } =
            stream.scenes(0, num_prompts, max_tokens, self.store.device())?;
        let enlarged = |images: &Tensor| -> Vec<Image> {
            let images = images_from_tensor(images);
            images.iter().map(|image| image.enlarge(4)).collect()
        };
        let worse = enlarged(&self.worse(&images, &prompts, 0)?);
        let better = enlarged(&images);
        let rows = better.chunks(COLUMNS).zip(worse.chunks(COLUMNS));
        let cells: Vec<Image> = rows
            .flat_map(|(better, worse)| [better, worse].concat())
            .collect();
        Ok(Some(Image::grid(&cells, COLUMNS)))
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
