//! The teacher: flow matching on scenes with caption dropout (classifier-free guidance, arXiv 2207.12598).

use std::{collections::BTreeMap, path::Path};

use dmdr_batches::{KindSampler, PromptStream};
use dmdr_config::{Pretrain, TeacherModel, TimeDistribution};
use dmdr_diffusion::{Schedule, loss, sample_times};
use dmdr_image::Image;
use dmdr_methods::Losses;
use dmdr_models::{Dit, DitConfig, Guidance, Stored, View};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor};
use dmdr_world::World;

use super::Objective;
use crate::{Emoji, Source, TeacherSampler, TrainError, run::sheet::Sheet};

/// Sampling of the sheets that are written during training.
const SHEET_STEPS: usize = 25;
const SHEET_GUIDANCE: f64 = 3.0;

pub(super) struct TeacherObjective {
    source: Emoji,
    store: ParamStore,
    net: Dit,
    time: TimeDistribution,
    kinds: KindSampler,
    caption_dropout: f64,
    seed: u64,
    batch_size: usize,
}

impl TeacherObjective {
    pub(super) fn new(
        config: &Pretrain,
        model: &TeacherModel,
        world: World,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let key = "model.teacher.text_encoder";
        let emoji = Emoji::read_by(key, &model.text_encoder, world, config.seed, runtime.device)?;
        let (context_dim, pooled_dim) = emoji.text.widths();
        let dit = DitConfig {
            image_size: emoji.world.canvas() as i64,
            channels: 3,
            patch: model.patch as i64,
            dim: model.dim as i64,
            depth: model.depth as i64,
            heads: model.heads as i64,
            context_dim,
            pooled_dim,
            prediction: model.prediction,
        };
        let store =
            ParamStore::trainable(runtime.device, config.seed).with_compute(runtime.compute);
        let net = Dit::new(&store, &[], dit)?;
        if let Some(path) = &model.init {
            store.load(path)?;
        }
        Ok(Self {
            source: emoji,
            store,
            net,
            time: model.time.clone(),
            kinds: KindSampler::new(model.kinds.to_array()),
            caption_dropout: model.caption_dropout,
            seed: config.seed,
            batch_size: config.batch_size,
        })
    }
}

/// The network in its one role here, without guidance.
fn view(net: &Dit, train: bool) -> View<'_> {
    let view = View::new(net, Schedule::RectifiedFlow);
    View { train, ..view }
}

impl Objective for TeacherObjective {
    fn losses(&self, iteration: u64) -> Result<Losses, TrainError> {
        let device = self.store.device();
        let Emoji { world, text, .. } = &self.source;
        let stream = PromptStream {
            kinds: self.kinds,
            ..PromptStream::training(world, self.seed)
        };
        let batch = stream.scenes(iteration, self.batch_size, text.max_tokens(), device)?;
        let dropped =
            Tensor::rand([self.batch_size as i64], (Kind::Float, device)).lt(self.caption_dropout);
        let cond = text.encode(&batch.prompts);
        let cond = cond.replace(&dropped, text.null());
        let x0 = batch.images * 2.0 - 1.0;
        let t = sample_times(&self.time, iteration, x0.size()[0], device);
        let eps = x0.randn_like();
        let role = view(&self.net, true);
        let x_t = role.schedule.add_noise(&x0, &eps, &t);
        let per_sample = loss::denoise(role.schedule, &role.x0(&x_t, &t, &cond), &x0, &t);
        let mut losses = Losses::default();
        losses.keep("x0", &x0);
        losses.keep("t", &t);
        losses.keep("eps", &eps);
        losses.add("flow", 1.0, per_sample.mean(Kind::Float));
        Ok(losses)
    }

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn twin(&self) -> ParamStore {
        let twin = ParamStore::frozen(self.store.device());
        Dit::new(&twin, &[], self.net.config().clone()).expect("built once already");
        twin
    }

    fn sheet(&self, store: &ParamStore, num_prompts: usize) -> Result<Option<Image>, TrainError> {
        let device = store.device();
        let net_store = ParamStore::frozen(device).with_compute(self.store.compute());
        let net = Dit::new(&net_store, &[], self.net.config().clone())?;
        net_store.copy_from(store);
        let guidance = Guidance {
            scale: SHEET_GUIDANCE,
            null: self.source.null().clone(),
        };
        let sampler = TeacherSampler {
            view: View {
                guidance: Some(guidance),
                ..view(&net, false)
            },
            source: &self.source,
            num_steps: SHEET_STEPS,
            shift: 1.0,
        };
        let config = self.net.config();
        let shape = [config.channels, config.image_size, config.image_size];
        let sheet = Sheet::new(self.source.sheet(num_prompts)?, shape, device);
        Ok(Some(sheet.draw(&sampler)?))
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
