//! The evaluator: prompts and noise in, metrics out.

use std::{
    cell::{Ref, RefCell},
    collections::BTreeMap,
    path::Path,
};

use dmdr_batches::{images_from_tensor, images_to_tensor};
use dmdr_config::Assets;
use dmdr_events::InputFile;
use dmdr_image::Image;
use dmdr_rewards::{RewardModel, WorldClipScore};
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard};
use dmdr_world::{Judge, Prompt, Split, World};

use crate::{
    EvalError, EvalSet, Evaluation, Gaussian, ImageScore, Sampler,
    judging::over_threads,
    metrics,
    sampling::Sampling,
    set::{Batch, tokenised},
    texture,
};

/// True scenes of each prompt that images are compared with, so that the fit of the truth is better than of the images.
const SCENES_PER_PROMPT: u64 = 4;
/// Seeds of these scenes start here, far from any that a run trains on.
const FIRST_SCENE_SEED: u64 = 0x5452_5554_4800;

/// The judge and the towers that score images, loaded once.
#[derive(Debug)]
pub struct Evaluator {
    world: World,
    judge: Judge,
    world_clip: WorldClipScore,
    preference: WorldClipScore,
    preference_heldout: WorldClipScore,
    towers: BTreeMap<String, InputFile>,
    device: Device,
    num_kept: usize,
    /// Features of true scenes of the set that was evaluated last.
    truth: RefCell<Option<((Split, usize), Gaussian)>>,
}

impl Evaluator {
    /// Loads the towers that `assets` names onto `device`.
    ///
    /// # Errors
    /// A file that cannot be read, holds something else, or was made for another world.
    pub fn load(world: World, assets: &Assets, device: Device) -> Result<Self, EvalError> {
        let mut files = BTreeMap::new();
        let mut load = |name: &str, path: &Path| {
            files.insert(name.to_owned(), InputFile::read(path)?);
            let towers = WorldClipScore::load(name, path, device)?;
            check_world(&towers, &world, path)?;
            Ok::<_, EvalError>(towers)
        };
        Ok(Self {
            world_clip: load("world_clip", &assets.world_clip)?,
            preference: load("preference", &assets.preference)?,
            preference_heldout: load("preference_heldout", &assets.preference_heldout)?,
            judge: Judge::new(&world),
            towers: files,
            world,
            device,
            num_kept: 0,
            truth: RefCell::new(None),
        })
    }

    /// The files that the towers were read from, by metric.
    pub fn towers(&self) -> &BTreeMap<String, InputFile> {
        &self.towers
    }

    /// Keeps the images of the first `num_prompts` prompts of every seed in [`Evaluation::images`].
    #[must_use]
    pub fn keep_images(mut self, num_prompts: usize) -> Self {
        self.num_kept = num_prompts;
        self
    }

    /// The world that is judged.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Tokens a caption that samplers get, the ids of [`dmdr_batches::EmojiPrompts`].
    pub fn max_tokens(&self) -> usize {
        self.world_clip.towers().config().text.max_tokens as usize
    }

    /// Samples every prompt of `set` once a seed and scores the images. `progress` is told (images done, of) after every
    /// batch.
    ///
    /// Results are a pure function of sampler, set and towers; libtorch's random state is left changed.
    ///
    /// # Errors
    /// An empty set, or a sampler that fails or makes images of another shape or with pixels that are not finite.
    pub fn evaluate(
        &self,
        sampler: &dyn Sampler,
        set: &EvalSet,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation, EvalError> {
        set.check()?;
        let prompts = set.prompts(&self.world);
        let prompts = tokenised(&prompts, &self.world, self.max_tokens(), self.device)?;
        let batches = Batch::of(&prompts);
        let side = self.world.canvas() as i64;
        let mut sampling = Sampling::new(sampler, [3, side, side], self.device).of_squares(side);
        let mut scores = Vec::with_capacity(set.num_images());
        let mut features = Vec::new();
        let mut kept = Vec::new();
        for &seed in &set.seeds {
            let mut of_seed = Vec::new();
            for batch in &batches {
                let images = sampling.images(batch, seed)?;
                let pixels = images_from_tensor(&images);
                of_seed.push(self.score(batch, seed, &images, &pixels, &mut scores)?);
                let num_kept = self.num_kept.saturating_sub(batch.first);
                kept.extend(pixels.into_iter().take(num_kept));
                progress(scores.len(), set.num_images());
            }
            features.push(Tensor::cat(&of_seed, 0));
        }
        let mut metrics = metrics::of_scores(&scores, set.num_prompts);
        metrics.extend(metrics::of_features(&features, &scores, &self.truth(set)));
        Ok(Evaluation {
            sampler: sampler.name().to_owned(),
            measured: sampling.measured(set.split_name(), set.num_prompts, &set.seeds, metrics),
            scores,
            images: kept,
        })
    }

    /// Adds the scores of a batch's images; returns their World-CLIP features `[B, E]`.
    fn score(
        &self,
        batch: &Batch,
        seed: u64,
        images: &Tensor,
        pixels: &[Image],
        scores: &mut Vec<ImageScore>,
    ) -> Result<Tensor, EvalError> {
        let _no_grad = no_grad_guard();
        let (prompts, scenes) = (batch.prompts, batch.prompts.scenes());
        let towers = self.world_clip.towers();
        let features = towers.embed_image(images);
        let cosines = (&features * towers.embed_text(&scenes.ids)).sum_dim_intlist(
            &[-1i64][..],
            false,
            Kind::Float,
        );
        let world_clip = values(&cosines);
        let preference = values(&self.preference.score(images, prompts)?);
        let preference_heldout = values(&self.preference_heldout.score(images, prompts)?);
        // Towers are not `Sync`: the threads see the judge only.
        let saturation = values(&texture::saturation(images));
        let high_frequency = values(&texture::high_frequency(images));
        let judge = &self.judge;
        let judge = |image: &Image, prompt: &Prompt| {
            let reading = judge.read(image);
            (
                judge.verdict_of(&reading, prompt),
                !judge.is_malformed(&reading),
            )
        };
        let verdicts = over_threads(pixels, &scenes.prompts, judge);
        let verdicts = scenes.prompts.iter().zip(verdicts);
        for (index, (prompt, (verdict, well_formed))) in verdicts.enumerate() {
            scores.push(ImageScore {
                prompt: batch.first + index,
                seed,
                kind: prompt.kind,
                caption: prompt.caption.clone(),
                correct: verdict.correct,
                reason: verdict.reason,
                well_formed,
                world_clip: world_clip[index],
                preference: preference[index],
                preference_heldout: preference_heldout[index],
                saturation: saturation[index],
                high_frequency: high_frequency[index],
            });
        }
        Ok(features.to_device(Device::Cpu))
    }

    /// Features of true scenes of the set's prompts, as a Gaussian; the last one is kept.
    fn truth(&self, set: &EvalSet) -> Ref<'_, Gaussian> {
        let key = (set.split, set.num_prompts);
        let is_known = self
            .truth
            .borrow()
            .as_ref()
            .is_some_and(|(known, _)| *known == key);
        if !is_known {
            let _no_grad = no_grad_guard();
            let features: Vec<Tensor> = set
                .prompts(&self.world)
                .chunks(crate::BATCH_SIZE)
                .map(|prompts| {
                    let scenes = prompts.iter().flat_map(|prompt| {
                        (FIRST_SCENE_SEED..FIRST_SCENE_SEED + SCENES_PER_PROMPT)
                            .map(move |seed| self.world.render(&self.world.scene(prompt, seed)))
                    });
                    let images = images_to_tensor(&scenes.collect::<Vec<_>>(), self.device);
                    self.world_clip
                        .towers()
                        .embed_image(&images)
                        .to_device(Device::Cpu)
                })
                .collect();
            *self.truth.borrow_mut() = Some((key, Gaussian::fit(&Tensor::cat(&features, 0))));
        }
        Ref::map(self.truth.borrow(), |truth| {
            &truth.as_ref().expect("just made").1
        })
    }
}

/// `[B]` as f64.
pub(crate) fn values(scores: &Tensor) -> Vec<f64> {
    let scores = scores
        .to_device(Device::Cpu)
        .to_kind(Kind::Double)
        .contiguous();
    Vec::try_from(scores).expect("one f64 an image on the CPU")
}

fn check_world(towers: &WorldClipScore, world: &World, path: &Path) -> Result<(), EvalError> {
    let config = towers.towers().config();
    let sizes = [
        (
            "vocabulary",
            world.tokenizer().vocab_len(),
            config.text.vocabulary,
        ),
        ("image size", world.canvas(), config.image.image_size),
    ];
    for (what, expected, found) in sizes {
        let expected = expected as i64;
        if expected != found {
            return Err(EvalError::OtherWorld {
                path: path.to_owned(),
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}
