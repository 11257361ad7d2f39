//! Prompt files for a published pipeline: prompts are encoded once into a cache, and its autoencoder makes images.

use std::{cell::RefCell, path::Path, rc::Rc};

use dmdr_batches::Prompts;
use dmdr_config::{Experiment, PromptFiles, Teacher};
use dmdr_models::{
    AutoencoderKl, Conditioning, Decoder, EmbeddingCache, Family, ImageSides, ModelError, Pipeline,
    PipelineIndex, TextEncoder, TrainedSchedule, load_diffusers_config,
};
use dmdr_prompts::PromptsError;
use dmdr_tensor::{ParamStore, Ranks, Runtime, are_weights_random, no_grad_guard, phantom};

use super::Source;
use crate::{Backbone, Corpus, TrainError, memory};

/// Prompts encoded together; one shard of the cache.
const SHARD: usize = 32;

/// The prompts of a run on a pipeline.
#[derive(Debug)]
pub struct Published {
    corpus: Rc<Corpus>,
    embeddings: Embeddings,
    pipeline: Rc<dyn Pipeline>,
    /// Tokens that its encoder for long texts reads, if it has one.
    max_sequence_length: Option<usize>,
    null: Conditioning,
    vae: Rc<AutoencoderKl>,
    /// Timestep shift that the pipeline's own scheduler has for images of `size`.
    trained_shift: Option<f64>,
    /// What is read otherwise than one may expect.
    warnings: Vec<String>,
    /// Height and width in pixels.
    size: i64,
    seed: u64,
    runtime: Runtime,
}

/// Encoded prompts.
#[derive(Debug)]
enum Embeddings {
    /// On disk.
    Cached(RefCell<EmbeddingCache>),
    /// In a rehearsal, which must leave the cache alone: what stands for every prompt.
    Rehearsed(Conditioning),
}

impl Published {
    /// The pipeline in `folder` with the prompts of `corpus`; what the cache that `files` names lacks is encoded now.
    ///
    /// # Errors
    /// A pipeline that is unreadable or does not fit.
    pub fn load(
        experiment: &Experiment,
        files: &PromptFiles,
        corpus: &Rc<Corpus>,
        folder: &Path,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let index = PipelineIndex::read(folder)?;
        let (family, size) = (index.family(), files.size as i64);
        let pipeline = index.open()?;
        check_size(size, &*pipeline, folder)?;
        let schedule = TrainedSchedule::of(&index)?;
        let warnings = index.warnings()?;
        let max_sequence_length = sequence_length(family, &experiment.teacher)?;
        let rule = rule(&*pipeline, max_sequence_length)?;
        let vae_folder = folder.join("vae");
        let keeping = memory::rewards(experiment, runtime);
        let store = ParamStore::frozen(runtime.device).keeping(keeping);
        let config = load_diffusers_config::<AutoencoderKl>(&vae_folder)?;
        check_shift_factor(family, &vae_folder, config.shift_factor)?;
        let vae = AutoencoderKl::new(&store, config)?;
        AutoencoderKl::load(&store, &vae_folder)?;
        let vae = match files.tile {
            Some(tile) => vae.with_tiles(tile as i64),
            None => vae,
        };
        let [_, height, width] = vae.latent_shape(size);
        let num_patches = pipeline.num_patches([height, width]);
        let mut source = Self {
            corpus: Rc::clone(corpus),
            embeddings: Embeddings::Rehearsed(Conditioning::none(1, runtime.device)),
            pipeline,
            max_sequence_length,
            null: Conditioning::none(1, runtime.device),
            vae: Rc::new(vae),
            trained_shift: schedule.and_then(|schedule| schedule.shift(num_patches)),
            warnings,
            size,
            seed: experiment.seed,
            runtime,
        };
        if are_weights_random() {
            let tokens = max_sequence_length.unwrap_or_default();
            let one = source.pipeline.random_text(tokens, runtime.device);
            source.null = source.sized(one.clone());
            source.embeddings = Embeddings::Rehearsed(one);
            return Ok(source);
        }
        let prompts = || corpus.train.iter().chain(corpus.validation.iter());
        if phantom::is_phantom(runtime.device) {
            source.rehearse(prompts())?;
            return Ok(source);
        }
        let cache = EmbeddingCache::open(&files.embeddings, folder, &rule, runtime.compute)?;
        source.embeddings = Embeddings::Cached(RefCell::new(cache));
        source.encode_missing(prompts)?;
        source.null = source.cached_null()?;
        Ok(source)
    }

    /// Encodes a shard of the longest of `prompts`, which stands for all of them from now on.
    fn rehearse(
        &mut self,
        prompts: impl Iterator<Item = Result<String, PromptsError>>,
    ) -> Result<(), TrainError> {
        let _guard = no_grad_guard();
        let encoder = self.text_encoder()?;
        let mut longest = String::new();
        for prompt in prompts {
            let prompt = prompt?;
            if prompt.len() > longest.len() {
                longest = prompt;
            }
        }
        let shard = [longest.as_str(); SHARD];
        let one = encoder.encode(&shard)?.narrow(0, 1).repeat(1); // not a view of all
        self.null = self.sized(encoder.unconditional()?);
        self.embeddings = Embeddings::Rehearsed(one);
        Ok(())
    }

    /// Encodes those of `prompts` that the cache lacks, and the empty one. The text encoders are loaded for it and freed.
    /// Prompts are asked for twice, so that they need not all be held.
    fn encode_missing<I: Iterator<Item = Result<String, PromptsError>>>(
        &self,
        prompts: impl Fn() -> I,
    ) -> Result<(), TrainError> {
        let Embeddings::Cached(cache) = &self.embeddings else {
            return Ok(());
        };
        let mut cache = cache.borrow_mut();
        let mut is_whole = cache.contains_null();
        for prompt in prompts() {
            is_whole = is_whole && cache.contains(&prompt?);
        }
        if is_whole {
            return Ok(());
        }
        let _guard = no_grad_guard();
        let encoder = self.text_encoder()?;
        let prompts = prompts().map(|prompt| prompt.map_err(TrainError::from));
        cache.fill(&*encoder, prompts, SHARD)?;
        if !cache.contains_null() {
            cache.insert_null(&encoder.unconditional()?)?;
        }
        Ok(())
    }

    fn cached(&self, prompts: &[&str]) -> Result<Conditioning, TrainError> {
        let cond = match &self.embeddings {
            Embeddings::Cached(cache) => cache.borrow().get(prompts, self.runtime.device)?,
            Embeddings::Rehearsed(one) => one.repeat(prompts.len() as i64),
        };
        Ok(self.sized(cond))
    }

    fn cached_null(&self) -> Result<Conditioning, TrainError> {
        let cond = match &self.embeddings {
            Embeddings::Cached(cache) => cache.borrow().null(self.runtime.device)?,
            Embeddings::Rehearsed(_) => return Ok(self.null.clone()),
        };
        Ok(self.sized(cond))
    }

    fn text_encoder(&self) -> Result<Box<dyn TextEncoder>, TrainError> {
        let tokens = self.max_sequence_length.unwrap_or_default();
        Ok(self.pipeline.text_encoder(self.runtime, tokens)?)
    }

    fn sized(&self, cond: Conditioning) -> Conditioning {
        self.pipeline.with_size(cond, self.size)
    }
}

impl Source for Published {
    /// Every prompt once an epoch: a pure function of seed and iteration.
    fn training(&self, iteration: u64, count: usize, ranks: Ranks) -> Result<Prompts, TrainError> {
        let train = &self.corpus.train;
        let order = train.order(self.seed, count as u64, ranks.rank(), ranks.count());
        let captions = train.batch(&order, iteration)?;
        Ok(Prompts::plain(captions))
    }

    /// The first prompts for validation, again from the start where there are fewer.
    fn sheet(&self, count: usize) -> Result<Prompts, TrainError> {
        let validation = &self.corpus.validation;
        let caption = |index| validation.get(index % validation.len());
        let captions = (0..count).map(caption).collect::<Result<_, _>>()?;
        Ok(Prompts::plain(captions))
    }

    fn validation(&self, count: usize) -> Result<Vec<String>, TrainError> {
        let count = count.min(self.corpus.validation.len());
        Ok(self.sheet(count)?.captions)
    }

    /// Encodes all of `captions` that the cache lacks, so that the text encoders are loaded once for them.
    fn prepare(&self, captions: &[String]) -> Result<(), TrainError> {
        self.encode_missing(|| captions.iter().cloned().map(Ok))
    }

    /// What is read otherwise than one may expect, and a teacher that is sampled otherwise than its pipeline says, which
    /// may be meant.
    fn warnings(&self, experiment: &Experiment) -> Vec<String> {
        let teacher = &experiment.teacher;
        let mut warnings = self.warnings.clone();
        let differs = |shift: &f64| (shift - teacher.shift).abs() > 1e-6;
        if let Some(shift) = self.trained_shift.filter(differs) {
            warnings.push(format!(
                "`teacher.shift` is {}, the scheduler of `{}` has {shift}",
                teacher.shift,
                self.pipeline.index().folder().display()
            ));
        }
        warnings
    }

    /// From the cache; a prompt it lacks, as `dmdr sample` may bring, is encoded now.
    fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError> {
        self.prepare(&prompts.captions)?;
        let captions: Vec<&str> = prompts.captions.iter().map(String::as_str).collect();
        self.cached(&captions)
    }

    fn null(&self) -> &Conditioning {
        &self.null
    }

    fn backbone(&self, _experiment: &Experiment) -> Result<Backbone, TrainError> {
        let widths = self.pipeline.widths(&self.null);
        if let Some((key, read, made)) = widths.iter().find(|(_, read, made)| read != made) {
            let config = self.pipeline.index().network().join("config.json");
            return Err(TrainError::Incompatible {
                what: config.display().to_string(),
                reason: format!(
                    "`{key}` is {read}, but the other parts of the pipeline make {made}"
                ),
            });
        }
        let shape = self.vae.latent_shape(self.size);
        Ok(Backbone::new(self.pipeline.clone(), shape))
    }

    fn decoder(&self) -> Rc<dyn Decoder> {
        self.vae.clone()
    }

    fn corpus(&self) -> Option<&Corpus> {
        Some(&self.corpus)
    }

    fn pipeline(&self) -> Option<&dyn Pipeline> {
        Some(&*self.pipeline)
    }
}

/// Refuses a size that the pipeline would not draw as it is: it would be cut down without a word, or nothing would fit.
fn check_size(size: i64, pipeline: &dyn Pipeline, folder: &Path) -> Result<(), TrainError> {
    let sides = ImageSides::of(pipeline)?;
    let nearest = sides.nearest(size);
    if nearest == [size] {
        return Ok(());
    }
    let words: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    Err(TrainError::Size {
        found: size,
        pipeline: folder.to_owned(),
        step: sides.step,
        most: sides
            .most
            .map_or(String::new(), |most| format!(", at most {most}")),
        nearest: words.join(" or "),
    })
}

/// How the pipeline's encoders are combined, and what they read of a prompt if that is not the usual.
fn rule(pipeline: &dyn Pipeline, length: Option<usize>) -> Result<String, TrainError> {
    let rule = pipeline.text_rule()?;
    let usual = pipeline.index().family().max_sequence_length();
    Ok(match length.filter(|_| length != usual) {
        Some(length) => format!("{rule}, {length} tokens"),
        None => rule,
    })
}

/// Tokens that the pipeline's encoder for long texts reads: those that `teacher` says, or the usual number.
fn sequence_length(family: &dyn Family, teacher: &Teacher) -> Result<Option<usize>, TrainError> {
    let usual = family.max_sequence_length();
    match teacher.max_sequence_length {
        Some(_) if usual.is_none() => Err(TrainError::Incompatible {
            what: "teacher.max_sequence_length".to_owned(),
            reason: format!(
                "`{}` has no encoder for long texts: its CLIPs read 77 tokens; remove the key",
                teacher.weights.display()
            ),
        }),
        Some(length) => Ok(Some(length)),
        None => Ok(usual),
    }
}

/// Some pipelines of diffusers scale latents, but shift none.
fn check_shift_factor(
    family: &dyn Family,
    folder: &Path,
    factor: Option<f64>,
) -> Result<(), TrainError> {
    match factor.filter(|&factor| factor != 0.0) {
        Some(found) if !family.shifts_latents() => {
            let error = ModelError::NotBuilt {
                path: folder.join("config.json"),
                field: "shift_factor",
                found: found.to_string(),
                expected: "null",
            };
            Err(error.into())
        }
        _ => Ok(()),
    }
}
