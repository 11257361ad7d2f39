//! Running a sampler: noise, seeds, checks, speed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dmdr_events::Statistic;
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard};

use crate::{EvalError, Measured, Sampler, set::Batch};

/// A sampler at work.
pub(crate) struct Sampling<'a> {
    sampler: &'a dyn Sampler,
    noise: [i64; 3],
    /// Side of the images, where it is known.
    side: Option<i64>,
    device: Device,
    clock: Clock,
}

impl<'a> Sampling<'a> {
    /// Of a sampler that takes noise of shape `noise` `[C, H, W]`.
    pub(crate) fn new(sampler: &'a dyn Sampler, noise: [i64; 3], device: Device) -> Self {
        Self {
            sampler,
            noise,
            side: None,
            device,
            clock: Clock::default(),
        }
    }

    /// The same, of images that have to be squares of `side` pixels.
    #[must_use]
    pub(crate) fn of_squares(self, side: i64) -> Self {
        let side = Some(side);
        Self { side, ..self }
    }

    /// Images of a batch, `[B, 3, H, W]` in `[0, 1]`, f32 on the device.
    pub(crate) fn images(&mut self, batch: &Batch, seed: u64) -> Result<Tensor, EvalError> {
        let noise = batch.noise(seed, self.noise, self.device);
        batch.reseed(seed);
        let images = self.clock.time(batch.prompts.len(), || {
            let _no_grad = no_grad_guard();
            let images = self.sampler.sample(batch.prompts, &noise)?;
            // Reading one number waits for the device.
            let is_finite = images.isfinite().all().int64_value(&[]) == 1;
            Ok::<_, EvalError>((images, is_finite))
        });
        let (images, is_finite) = images?;
        let name = || self.sampler.name().to_owned();
        let (found, count) = (images.size(), batch.prompts.len() as i64);
        let is_side = |pixels: i64| self.side.is_none_or(|side| pixels == side);
        if !matches!(found[..], [b, 3, h, w] if b == count && is_side(h) && is_side(w)) {
            let side = self.side.map_or("any".to_owned(), |side| side.to_string());
            return Err(EvalError::ImageShape {
                name: name(),
                expected: format!("[{count}, 3, {side}, {side}]"),
                found,
            });
        }
        if !is_finite {
            return Err(EvalError::NotFinite {
                name: name(),
                seed,
                first: batch.first,
            });
        }
        Ok(images
            .to_device(self.device)
            .to_kind(Kind::Float)
            .clamp(0.0, 1.0))
    }

    /// What `metrics` say of its images, which are of `num_prompts` prompts of `split` and of noise from `seeds`.
    pub(crate) fn measured(
        &self,
        split: &str,
        num_prompts: usize,
        seeds: &[u64],
        metrics: BTreeMap<String, Statistic>,
    ) -> Measured {
        Measured {
            split: split.to_owned(),
            num_prompts,
            seeds: seeds.to_vec(),
            num_evaluations: self.sampler.num_evaluations(),
            guidance: self.sampler.guidance(),
            metrics,
            images_per_second: self.clock.images_per_second(),
            scores: BTreeMap::new(),
        }
    }
}

/// Time spent in the sampler. The first batch is left out where there are more: it pays for starting up.
#[derive(Debug, Default)]
struct Clock {
    first: Option<(usize, Duration)>,
    images: usize,
    elapsed: Duration,
}

impl Clock {
    fn time<T>(&mut self, images: usize, sample: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let sampled = sample();
        let elapsed = start.elapsed();
        if self.first.is_none() {
            self.first = Some((images, elapsed));
        } else {
            self.images += images;
            self.elapsed += elapsed;
        }
        sampled
    }

    fn images_per_second(&self) -> f64 {
        let (images, elapsed) = match self.first {
            Some(first) if self.images == 0 => first,
            _ => (self.images, self.elapsed),
        };
        images as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
    }
}
