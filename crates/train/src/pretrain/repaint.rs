//! The mistakes of a diffusion model: what a teacher makes of a scene that was noised.

use dmdr_batches::Prompts;
use dmdr_config::Repaint;
use dmdr_diffusion::Schedule;
use dmdr_models::{Decoder, Denoiser, Pixels, View, open_text_conditional};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor, no_grad_guard};
use dmdr_world::World;

use crate::{TextEncoder, TrainError, assembly::text_encoder::check_widths};

/// Noising times, `[low, high)`: at the low end outlines and tints suffer, at the high end objects change or melt together.
const TIMES: [f64; 2] = [0.7, 1.0];
const NUM_STEPS: usize = 3;

/// A frozen teacher with its text encoder.
pub(super) struct Repainter {
    text: TextEncoder,
    net: Box<dyn Denoiser>,
    schedule: Schedule,
}

impl Repainter {
    /// Loads what `config` names, for captions of `max_tokens`.
    ///
    /// # Errors
    /// An unreadable file, or one of another kind or world.
    pub(super) fn load(
        config: &Repaint,
        world: &World,
        max_tokens: usize,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        let key = |name| format!("model.preference.repaint.{name}");
        let text = TextEncoder::load(
            &key("text_encoder"),
            &config.text_encoder,
            world,
            runtime.device,
        )?;
        text.check_length("model.preference.max_tokens", max_tokens)?;
        let network = open_text_conditional(&config.teacher)?;
        let widths = network.text_widths();
        check_widths(&key("teacher"), &config.teacher, widths, &text)?;
        let store = ParamStore::frozen(runtime.device).with_compute(runtime.compute);
        Ok(Self {
            text,
            net: network.teacher(&store, &[])?,
            schedule: network.schedule(),
        })
    }

    /// `images [B, 3, H, W]` in `[0, 1]` of `prompts`, each noised to a time of its own and denoised in a few steps of
    /// prediction and fresh noise, without guidance.
    pub(super) fn repaint(&self, images: &Tensor, prompts: &Prompts) -> Tensor {
        let _guard = no_grad_guard();
        let cond = self.text.encode(prompts);
        let teacher = View::new(&*self.net, self.schedule);
        let [low, high] = TIMES;
        let first = Tensor::rand([images.size()[0]], (Kind::Float, images.device()));
        let first = first * (high - low) + low;
        let mut x0 = images * 2.0 - 1.0;
        for step in 0..NUM_STEPS {
            let t = &first * (1.0 - step as f64 / NUM_STEPS as f64);
            let x_t = teacher.schedule.add_noise(&x0, &x0.randn_like(), &t);
            x0 = teacher.x0(&x_t, &t, &cond);
        }
        Pixels.decode(&x0)
    }
}
