//! One block of the MMDiT: image and text tokens have weights of their own and meet in one attention (Fig. 2b of arXiv
//! 2403.03206).

use dmdr_tensor::{Init, Scope, Tensor};

use super::Sd3Config;
use crate::{
    Call,
    attention::{Projections, QkNorm, attend},
    layers::{LayerNorm, Linear, Mlp, gated, modulate},
};

const QK_NORM_EPS: f64 = 1e-6;

/// The projections of one kind of tokens; `names` of the three, `norms` of their normalisation.
fn projections(
    scope: &Scope<'_>,
    names: [&str; 3],
    norms: [&str; 2],
    config: &Sd3Config,
) -> Projections {
    let (dim, head_dim) = (config.dim(), config.attention_head_dim);
    let linear = |name| Linear::new(&scope.sub(name), dim, dim, Init::XavierUniform);
    let norm = config
        .qk_norm
        .map(|_| QkNorm::new(scope, norms, head_dim, QK_NORM_EPS));
    Projections::new(names.map(linear), norm, config.num_attention_heads)
}

fn of_image(scope: &Scope<'_>, config: &Sd3Config) -> Projections {
    projections(
        scope,
        ["to_q", "to_k", "to_v"],
        ["norm_q", "norm_k"],
        config,
    )
}

fn of_text(scope: &Scope<'_>, config: &Sd3Config) -> Projections {
    let names = ["add_q_proj", "add_k_proj", "add_v_proj"];
    projections(scope, names, ["norm_added_q", "norm_added_k"], config)
}

/// Second attention of some blocks, among image tokens alone (SD3.5-Medium).
#[derive(Debug)]
struct ImageAttention {
    projections: Projections,
    out: Linear,
}

/// What turns attended text into the next block's text; the last block has none.
#[derive(Debug)]
struct TextUpdate {
    out: Linear,
    ff: Mlp,
}

/// The block. Norms have no weights: adaLN brings scale and shift.
#[derive(Debug)]
pub(super) struct JointBlock {
    norm: LayerNorm,
    modulation: Linear,
    text_modulation: Linear,
    image: Projections,
    text: Projections,
    out: Linear,
    image_attention: Option<ImageAttention>,
    ff: Mlp,
    text_update: Option<TextUpdate>,
}

impl JointBlock {
    pub(super) fn new(scope: &Scope<'_>, config: &Sd3Config, index: i64) -> Self {
        let dim = config.dim();
        let is_dual = config.dual_attention_layers.contains(&index);
        let is_last = index == config.num_layers - 1;
        let adaln = |name, parts| Linear::modulation(&scope.sub(name), dim, parts * dim);
        let square = |name| Linear::new(&scope.sub(name), dim, dim, Init::XavierUniform);
        let attn = scope.sub("attn");
        Self {
            norm: LayerNorm::plain(dim),
            modulation: adaln("norm1.linear", if is_dual { 9 } else { 6 }),
            text_modulation: adaln("norm1_context.linear", if is_last { 2 } else { 6 }),
            image: of_image(&attn, config),
            text: of_text(&attn, config),
            out: square("attn.to_out.0"),
            image_attention: is_dual.then(|| ImageAttention {
                projections: of_image(&scope.sub("attn2"), config),
                out: square("attn2.to_out.0"),
            }),
            ff: Mlp::feed_forward(&scope.sub("ff"), dim, 4 * dim),
            text_update: (!is_last).then(|| TextUpdate {
                out: square("attn.to_add_out"),
                ff: Mlp::feed_forward(&scope.sub("ff_context"), dim, 4 * dim),
            }),
        }
    }

    /// Image `x [B, N, D]`, text `context [B, L, D]`, `c [B, D]` after SiLU -> both updated; of the last block only the
    /// image.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Tensor,
        c: &Tensor,
        call: &Call<'_>,
    ) -> (Tensor, Option<Tensor>) {
        let parts = |linear: &Linear, count| linear.forward(c, call).unsqueeze(1).chunk(count, -1);
        // Shift, scale, gate of the attention, of the MLP and, in dual blocks, of the second attention.
        let m = parts(
            &self.modulation,
            if self.image_attention.is_some() { 9 } else { 6 },
        );
        let normed = self.norm.forward(x);
        let normed_context = self.norm.forward(context);

        let is_last = self.text_update.is_none();
        let text_m = parts(&self.text_modulation, if is_last { 2 } else { 6 });
        // The last block's is AdaLayerNormContinuous: scale first.
        let (shift, scale) = if is_last { (1, 0) } else { (0, 1) };
        let (attended, attended_context) = self.joint_attention(
            &modulate(&normed, &m[0], &m[1]),
            &modulate(&normed_context, &text_m[shift], &text_m[scale]),
            call,
        );

        let image = gated(x, &m[2], &self.out.forward(&attended, call));
        let image = match &self.image_attention {
            Some(ImageAttention { projections, out }) => {
                let [q, k, v] = projections.forward(&modulate(&normed, &m[6], &m[7]), call);
                image + &m[8] * out.forward(&attend(&q, &k, &v, None, false), call)
            }
            None => image,
        };
        let mixed = modulate(&self.norm.forward(&image), &m[3], &m[4]);
        let image = gated(&image, &m[5], &self.ff.forward(&mixed, call));

        let text = self.text_update.as_ref().map(|update| {
            let attended = update.out.forward(&attended_context, call);
            let text = gated(context, &text_m[2], &attended);
            let mixed = modulate(&self.norm.forward(&text), &text_m[3], &text_m[4]);
            gated(&text, &text_m[5], &update.ff.forward(&mixed, call))
        });
        (image, text)
    }

    /// Attention over image and text tokens together, image first; both parts before their output projection.
    fn joint_attention(&self, x: &Tensor, context: &Tensor, call: &Call<'_>) -> (Tensor, Tensor) {
        let (image, text) = (
            self.image.forward(x, call),
            self.text.forward(context, call),
        );
        let both = |part: usize| Tensor::cat(&[&image[part], &text[part]], 1);
        let attended = attend(&both(0), &both(1), &both(2), None, false);
        let num_image = x.size()[1];
        let num_text = context.size()[1];
        (
            attended.narrow(1, 0, num_image),
            attended.narrow(1, num_image, num_text),
        )
    }
}
