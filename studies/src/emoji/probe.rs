//! What the two scores are worth at one moment of a run.

use std::path::Path;

use dmdr_config::{Method, NetId};
use dmdr_diffusion::{sampler, time_grid};
use dmdr_eval::{Manifold, Sampler};
use dmdr_events::RunDir;
use dmdr_models::{Conditioning, View};
use dmdr_rewards::WorldClipScore;
use dmdr_tensor::{Kind, Tensor, no_grad_guard, reseed};
use dmdr_train::FinishedRun;
use serde::{Deserialize, Serialize};

use super::EmojiOutcome;
use crate::LabError;

/// Prompts, each drawn once.
const PROMPTS: usize = 96;
/// Euler steps of a score's sampler.
const STEPS: usize = 10;
/// Noise levels of the gradient.
const TIMES: [f64; 3] = [0.3, 0.5, 0.7];

/// Real and fake score at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Mean of precision and recall between what the two scores would sample, in World-CLIP's features: 1 = the same.
    pub overlap: f64,
    /// Mean cosine between `x0_fake - x0_real` as the method takes it and the same with a fake score that was trained to the
    /// end and a real score without a dose of it.
    pub cosine: f64,
}

/// Probes the run that left `of`, after `update` updates; `converged` went on training its fake score there, with the
/// student kept as it was.
///
/// # Errors
/// A file that cannot be read.
pub fn probe(of: &EmojiOutcome, update: u64, converged: &EmojiOutcome) -> Result<Probe, LabError> {
    let _guard = no_grad_guard();
    let checkpoint = RunDir::open(&of.run)?.checkpoint(update);
    let now = open(
        &of.run,
        &checkpoint.join("student.safetensors"),
        &checkpoint.join("fake_score.safetensors"),
    )?;
    let then = open(
        &of.run,
        &now.weights,
        &converged.run.join("fake-score.safetensors"),
    )?;

    let scale = now.experiment.fake_score.scale;
    let real_scale = match &now.experiment.method {
        Method::Dmdr(dmdr) => dmdr.dm.real_scale.at(update),
        _ => 0.0,
    };
    let prompts = now.source.sheet(PROMPTS)?;
    let cond = now.source.encode(&prompts)?;
    let shape = now.backbone.image_shape();
    reseed(&[0xF7]);
    let noise = Tensor::randn(
        [&[PROMPTS as i64][..], &shape].concat(),
        (Kind::Float, now.runtime.device),
    );

    let real = now.nets.teacher_with(NetId::FAKE_SCORE, real_scale);
    let fake = now.nets.view(NetId::FAKE_SCORE).scaled(scale);
    let towers = WorldClipScore::load(
        "world_clip",
        &now.experiment.assets.world_clip,
        now.runtime.device,
    )?;
    let of_real = features(&towers, &real, &noise, &cond);
    let of_fake = features(&towers, &fake, &noise, &cond);
    let precision = Manifold::new(&of_real).share_of(&of_fake);
    let recall = Manifold::new(&of_fake).share_of(&of_real);

    let exact_fake = then.nets.view(NetId::FAKE_SCORE).scaled(scale);
    let exact_real = then.nets.teacher();
    let x0 = now.student().sample(&prompts, &noise)? * 2.0 - 1.0;
    let mut cosines = Vec::new();
    for time in TIMES {
        let t = Tensor::full([PROMPTS as i64], time, (Kind::Float, now.runtime.device));
        let x_t = real.schedule.add_noise(&x0, &x0.randn_like(), &t);
        let taken = fake.x0(&x_t, &t, &cond) - real.x0(&x_t, &t, &cond);
        let exact = exact_fake.x0(&x_t, &t, &cond) - exact_real.x0(&x_t, &t, &cond);
        cosines.push(cosine(&taken, &exact));
    }
    Ok(Probe {
        overlap: 0.5 * (precision + recall),
        cosine: cosines.iter().sum::<f64>() / TIMES.len() as f64,
    })
}

/// The run in `path` with this student and this fake score.
fn open(path: &Path, student: &Path, score: &Path) -> Result<FinishedRun, LabError> {
    let run = FinishedRun::with_nets(path, student, &[NetId::FAKE_SCORE])?;
    run.nets.store(NetId::FAKE_SCORE).load(score)?;
    Ok(run)
}

/// World-CLIP's features of what `score` would sample from `noise [B, C, H, W]`, by the deterministic sampler: `[B, E]`.
fn features(
    towers: &WorldClipScore,
    score: &View<'_>,
    noise: &Tensor,
    cond: &Conditioning,
) -> Tensor {
    let x = sampler::euler(score.schedule, &time_grid(STEPS, 1.0), noise, |x, t| {
        score.x0(x, t, cond)
    });
    let images = (x.clamp(-1.0, 1.0) + 1.0) / 2.0;
    towers.towers().embed_image(&images)
}

/// Mean over the batch of the cosine between `a` and `b [B, C, H, W]`.
fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    let dot = |a: &Tensor, b: &Tensor| {
        (a * b)
            .flatten(1, -1)
            .sum_dim_intlist(&[1i64][..], false, Kind::Double)
    };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().clamp_min(1e-12);
    cosine.mean(Kind::Double).double_value(&[])
}
