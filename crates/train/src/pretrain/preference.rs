//! The preference model: Bradley-Terry on pairs `-log sigmoid(score(better) - score(worse))` (HPSv2's form, 2306.09341).
//!
//! The better image is a clean scene of the caption; the worse one is damaged (blurred, noisy, faded, misplaced, warped,
//! melted, or repainted by a teacher) or shows another object, colour, count or relation.

use std::{collections::BTreeMap, path::Path};

use dmdr_batches::{PromptStream, Prompts, SceneBatch, augment, images_from_tensor};
use dmdr_config::{PreferenceModel, Pretrain};
use dmdr_image::Image;
use dmdr_methods::Losses;
use dmdr_models::{Stored, WorldClip};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor, mix, reseed};
use dmdr_world::{Prompt, World};

use super::{Objective, repaint::Repainter, world_clip};
use crate::TrainError;

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
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let store =
            ParamStore::trainable(runtime.device, config.seed).with_compute(runtime.compute);
        let net = WorldClip::new(&store, world_clip::towers(&model.towers(), &world));
        let repainter = match &model.repaint {
            Some(repaint) => Some(Repainter::load(repaint, &world, model.max_tokens, runtime)?),
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

    /// Part of the batch is damaged, part is repainted if there is a teacher, and the rest shows other scenes.
    fn worse(
        &self,
        images: &Tensor,
        prompts: &Prompts,
        iteration: u64,
    ) -> Result<Tensor, TrainError> {
        let prompts = &prompts.scenes().prompts;
        let count = prompts.len();
        let part = count / if self.repainter.is_some() { 3 } else { 2 };
        let scenes = |first: usize| images.narrow(0, first as i64, part as i64);
        let mut worse = vec![damaged(&scenes(0))];
        let mut done = part;
        if let Some(repainter) = &self.repainter {
            let described = self.tokenised(prompts[done..done + part].to_vec())?;
            worse.push(repainter.repaint(&scenes(done), &described));
            done += part;
        }
        worse.push(self.other_scenes(&prompts[done..], iteration)?);
        Ok(Tensor::cat(&worse, 0))
    }

    /// Scenes in which one fact of each prompt is wrong.
    fn other_scenes(&self, prompts: &[Prompt], iteration: u64) -> Result<Tensor, TrainError> {
        let wrong = world_clip::contrasts(&self.world, prompts, self.seed, iteration);
        let wrong = self.tokenised(wrong)?;
        let seed = mix(&[self.seed, 1]) as u64; // other places and backgrounds than the better scenes
        let scenes = SceneBatch::render(&self.world, &wrong, 0.., seed, iteration);
        Ok(scenes.to_device(self.store.device()))
    }

    fn tokenised(&self, prompts: Vec<Prompt>) -> Result<Prompts, TrainError> {
        let device = self.store.device();
        Ok(Prompts::new(
            &self.world,
            prompts,
            self.max_tokens(),
            device,
        )?)
    }

    fn max_tokens(&self) -> usize {
        self.net.config().text.max_tokens as usize
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
    fn losses(&self, iteration: u64) -> Result<Losses, TrainError> {
        let stream = PromptStream::training(&self.world, self.seed);
        let device = self.store.device();
        let SceneBatch { images, prompts } =
            stream.scenes(iteration, self.batch_size, self.max_tokens(), device)?;
        let worse = self.worse(&images, &prompts, iteration)?;
        let better = if self.augment {
            augment::noise(&images, 0.02)
        } else {
            images
        };
        let text = self.net.embed_text(&prompts.scenes().ids);
        let score = |images: &Tensor| {
            let product = self.net.embed_image(images) * &text;
            product.sum_dim_intlist(&[-1i64][..], false, Kind::Float)
        };
        let margin = (score(&better) - score(&worse)) * self.net.temperature() - self.margin;
        let mut losses = Losses::default();
        let accuracy = margin.gt(0.0).to_kind(Kind::Float).mean(Kind::Float);
        losses.numbers.keep("accuracy", &accuracy);
        losses.keep("better", &better);
        losses.keep("worse", &worse);
        losses.add("preference", 1.0, -margin.log_sigmoid().mean(Kind::Float));
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

    /// Pairs: a row of better images, below it the worse ones, and so on.
    fn sheet(&self, _: &ParamStore, num_prompts: usize) -> Result<Option<Image>, TrainError> {
        const COLUMNS: usize = 8;
        reseed(&[self.seed]);
        let stream = PromptStream::training(&self.world, self.seed);
        let device = self.store.device();
        let SceneBatch { images, prompts } =
            stream.scenes(0, num_prompts, self.max_tokens(), device)?;
        let enlarged = |images: &Tensor| -> Vec<Image> {
            let images = images_from_tensor(images);
            images.iter().map(Image::viewable).collect()
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
