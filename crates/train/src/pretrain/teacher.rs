//! The teacher: flow matching on scenes with caption dropout (classifier-free guidance, arXiv 2207.12598).

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{Prediction as ConfigPrediction, Pretrain, TeacherModel, TimeDistribution};
use dmdr_data::{Prompts, SceneBatch, images_from_tensor};
use dmdr_diffusion::{Schedule, loss, sample_times, sampler, time_grid};
use dmdr_methods::Losses;
use dmdr_models::{
    Call, Conditioning, Dit, DitConfig, Guidance, Prediction, Stored, View, WorldClip, load_config,
};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, no_grad_guard, reseed};
use dmdr_world::{Image, Split, World};

use super::Objective;
use crate::{TrainError, compute};

/// Sampling of the sheets that are written during training.
const SHEET_STEPS: usize = 25;
const SHEET_GUIDANCE: f64 = 3.0;

pub(super) struct TeacherObjective {
    world: World,
    clip: WorldClip,
    null: Conditioning,
    max_tokens: usize,
    store: ParamStore,
    net: Dit,
    time: TimeDistribution,
    caption_dropout: f64,
    seed: u64,
    batch_size: usize,
}

impl TeacherObjective {
    pub(super) fn new(
        config: &Pretrain,
        model: &TeacherModel,
        world: World,
        device: Device,
    ) -> Result<Self, TrainError> {
        let clip_config = load_config::<WorldClip>(&model.text_encoder)?;
        let clip_store = ParamStore::frozen(device);
        let clip = WorldClip::new(&clip_store, clip_config.clone());
        clip_store.load(&model.text_encoder)?;
        let vocabulary = world.tokenizer().vocab_len() as i64;
        if clip_config.text.vocabulary != vocabulary {
            return Err(TrainError::Incompatible {
                what: "model.teacher.text_encoder",
                reason: format!(
                    "the encoder knows {} words, this world has {vocabulary}",
                    clip_config.text.vocabulary
                ),
            });
        }
        let max_tokens = clip_config.text.max_tokens as usize;
        let null = clip.condition(&Prompts::null_ids(&world, max_tokens, device)?);
        let dit = DitConfig {
            image_size: world.canvas() as i64,
            channels: 3,
            patch: model.patch as i64,
            dim: model.dim as i64,
            depth: model.depth as i64,
            heads: model.heads as i64,
            context_dim: clip_config.text.dim,
            pooled_dim: clip_config.embed_dim,
            prediction: match model.prediction {
                ConfigPrediction::X0 => Prediction::X0,
                ConfigPrediction::Velocity => Prediction::Flow,
            },
        };
        let store = ParamStore::trainable(device, config.seed)
            .with_compute(compute(config.precision, device));
        let net = Dit::new(&store, &[], dit)?;
        Ok(Self {
            world,
            clip,
            null,
            max_tokens,
            store,
            net,
            time: model.time.clone(),
            caption_dropout: model.caption_dropout,
            seed: config.seed,
            batch_size: config.batch_size,
        })
    }
}

impl Objective for TeacherObjective {
    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn twin(&self) -> ParamStore {
        let twin = ParamStore::frozen(self.store.device());
        Dit::new(&twin, &[], self.net.config().clone()).expect("built once already");
        twin
    }

    fn losses(&self, step: u64) -> Result<Losses, TrainError> {
        let device = self.store.device();
        let batch = SceneBatch::draw(
            &self.world,
            Split::Train,
            self.seed,
            step,
            self.batch_size,
            self.max_tokens,
            device,
        )?;
        let cond = {
            let _guard = no_grad_guard();
            let cond = self.clip.condition(&batch.prompts.ids);
            let dropped =
                Tensor::rand([cond.batch()], (Kind::Float, device)).lt(self.caption_dropout);
            cond.replace(&dropped, &self.null)
        };
        let x0 = batch.images * 2.0 - 1.0;
        let t = sample_times(&self.time, step, x0.size()[0], device);
        let eps = x0.randn_like();
        let schedule = Schedule::RectifiedFlow;
        let x_t = schedule.add_noise(&x0, &eps, &t);
        let view = View {
            net: &self.net,
            schedule,
            call: Call {
                train: true,
                adapters: &[],
            },
            guidance: None,
        };
        let per_sample = loss::denoise(schedule, &view.x0(&x_t, &t, &cond), &x0, &t);
        let mut losses = Losses::default();
        losses.keep("x0", &x0);
        losses.keep("t", &t);
        losses.keep("eps", &eps);
        losses.add("flow", 1.0, per_sample.mean(Kind::Float));
        Ok(losses)
    }

    fn sheet(&self, store: &ParamStore, num_prompts: usize) -> Result<Option<Image>, TrainError> {
        let device = store.device();
        let _guard = no_grad_guard();
        let net_store = ParamStore::frozen(device).with_compute(self.store.compute());
        let net = Dit::new(&net_store, &[], self.net.config().clone())?;
        net_store.copy_from(store);
        let prompts = Prompts::draw(
            &self.world,
            Split::Validation,
            0,
            0,
            num_prompts,
            self.max_tokens,
            device,
        )?;
        let cond = self.clip.condition(&prompts.ids);
        let guidance = Guidance {
            scale: SHEET_GUIDANCE,
            null: self.null.clone(),
        };
        let view = View {
            net: &net,
            schedule: Schedule::RectifiedFlow,
            call: Call::default(),
            guidance: Some(guidance),
        };
        let size = self.world.canvas() as i64;
        reseed(&[0]);
        let noise = Tensor::randn([num_prompts as i64, 3, size, size], (Kind::Float, device));
        let times = time_grid(SHEET_STEPS, 1.0);
        let x = sampler::euler(view.schedule, &times, &noise, |x, t| view.x0(x, t, &cond));
        let images: Vec<Image> = images_from_tensor(&((x + 1.0) / 2.0))
            .iter()
            .map(|image| image.enlarge(4))
            .collect();
        Ok(Some(Image::grid(&images, 6)))
    }

    fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(Dit::save(
            store,
            self.net.config(),
            path,
            Kind::Half,
            notes,
        )?)
    }
}
