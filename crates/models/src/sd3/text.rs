//! Text of SD3 and SD3.5: CLIP-L and bigG side by side, widened with zeros to T5's width, then T5's tokens behind them.
//!
//! Source: `encode_prompt` of diffusers' `StableDiffusion3Pipeline` (0.42.1), with one prompt for all encoders and without
//! `clip_skip`.

use std::path::Path;

use dmdr_tensor::{Runtime, Tensor};

use crate::{
    ClipArchitecture, Conditioning, ModelError, T5Encoder, TextEncoder, TextTokenizer,
    Transformers, text::ClipEncoder,
};

/// The encoders. Conditioning: tokens `[B, 77 + T, 4096]`, where T5 reads `T` tokens, 256 by default; pooled
/// `[B, 768 + 1280]`, both CLIPs' projected.
#[derive(Debug)]
pub struct Sd3Text {
    l: ClipEncoder,
    g: ClipEncoder,
    /// Without it its tokens are zeros: 9.5 GB less in bf16, at some cost in following long prompts and in spelling.
    t5: Option<(TextTokenizer, T5Encoder)>,
    width: i64,
    t5_tokens: usize,
}

impl Sd3Text {
    /// The encoders in a pipeline's folder: `text_encoder`, `tokenizer`, and `.._2`, `.._3`. `width` is that of the
    /// backbone's text tokens (`joint_attention_dim`). T5 reads `t5_tokens` of a prompt
    /// ([`Family::max_sequence_length`](crate::Family::max_sequence_length)), and is left out unless `with_t5`.
    ///
    /// # Errors
    /// Files that are missing or do not fit; widths that contradict each other.
    pub fn load(
        folder: &Path,
        runtime: Runtime,
        width: i64,
        t5_tokens: usize,
        with_t5: bool,
    ) -> Result<Self, ModelError> {
        let clip =
            |index| ClipEncoder::load(folder, index, ClipArchitecture::WithProjection, runtime);
        let (l, g) = (clip(1)?, clip(2)?);
        l.check_length(&g, "SD3's text encoders")?;
        let t5 = if with_t5 {
            let net = T5Encoder::load(&runtime.store(), &folder.join("text_encoder_3"))?;
            let tokenizer = TextTokenizer::t5(&folder.join("tokenizer_3"), t5_tokens)?;
            Some((tokenizer.for_table(net.config().vocab_size), net))
        } else {
            None
        };
        let text = Self {
            l,
            g,
            t5,
            width,
            t5_tokens,
        };
        text.check_width()?;
        Ok(text)
    }

    fn check_width(&self) -> Result<(), ModelError> {
        let (width, clip) = (self.width, self.l.width() + self.g.width());
        let t5 = self.t5.as_ref().map(|(_, net)| net.config().d_model);
        let reason = if clip > width {
            format!("both CLIPs together are {clip} wide, the backbone's text tokens only {width}")
        } else if let Some(t5) = t5.filter(|&t5| t5 != width) {
            format!("T5 is {t5} wide, the backbone's text tokens {width}")
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "SD3's text encoders",
            reason,
        })
    }
}

impl TextEncoder for Sd3Text {
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError> {
        let (l, pooled_l) = self.l.encode(prompts)?;
        let (g, pooled_g) = self.g.encode(prompts)?;
        let clip = Tensor::cat(&[l, g], 2);
        let clip = clip.constant_pad_nd([0, self.width - clip.size()[2]]);
        let t5 = match &self.t5 {
            Some((tokenizer, net)) => net.forward(&tokenizer.encode(prompts)?.ids),
            None => clip.new_zeros(
                [clip.size()[0], self.t5_tokens as i64, self.width],
                (clip.kind(), clip.device()),
            ),
        };
        let pooled = [pooled_l, pooled_g].map(|pooled| pooled.expect("they have a projection"));
        Ok(Conditioning {
            tokens: Tensor::cat(&[clip, t5], 1),
            pooled: Tensor::cat(&pooled, 1),
        })
    }

    /// The empty prompt, encoded like any other.
    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        self.encode(&[""])
    }
}
