//! One role of a network: teacher, real score, fake score and student are all views.

use dmdr_diffusion::{Schedule, guide};
use dmdr_tensor::{AdapterId, Tensor, jvp, no_grad_guard};

use crate::{Call, Conditioning, Denoiser, Taps};

/// Classifier-free guidance of a view.
#[derive(Clone, Debug)]
pub struct Guidance {
    /// `w` of `u + w (c - u)`; 1 is off.
    pub scale: f64,
    /// Encoding of the empty caption, one row.
    pub null: Conditioning,
}

impl Guidance {
    /// Whether the unconditional half matters; at exactly 1 it has weight 0.
    #[expect(clippy::float_cmp, reason = "1 is the value that means off")]
    fn is_on(&self) -> bool {
        self.scale != 1.0
    }
}

/// A network in one role: how it is called and guided. Methods ask it for `x0` and never see the parameterization.
#[derive(Clone)]
pub struct View<'a> {
    /// The network.
    pub net: &'a dyn Denoiser,
    /// Its noise schedule.
    pub schedule: Schedule,
    /// Active adapters and their scales.
    pub adapters: Vec<(AdapterId, f64)>,
    /// Whether a gradient will be taken; see [`Call::train`].
    pub train: bool,
    /// Guidance of this role.
    pub guidance: Option<Guidance>,
}

impl<'a> View<'a> {
    /// `net` by itself: no adapter, no guidance, no gradient.
    pub fn new(net: &'a dyn Denoiser, schedule: Schedule) -> Self {
        Self {
            net,
            schedule,
            adapters: Vec::new(),
            train: false,
            guidance: None,
        }
    }

    /// The same role, called as when a gradient is taken.
    #[must_use]
    pub fn trained(self) -> Self {
        Self {
            train: true,
            ..self
        }
    }

    /// The same role with all its adapters at `scale`; nothing changes for a network without any.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Self {
        for (_, of_adapter) in &mut self.adapters {
            *of_adapter = scale;
        }
        self
    }

    /// Clean prediction for `x_t [B, C, H, W]`, `t [B]`; guided calls evaluate both halves in one batch of `2 B`.
    pub fn x0(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
        match &self.guidance {
            Some(guidance) if guidance.is_on() => {
                let (conditional, unconditional) = self.halves(guidance, x_t, t, cond);
                guide(&conditional, &unconditional, guidance.scale)
            }
            _ => self.plain_x0(x_t, t, cond),
        }
    }

    /// `(w - 1) (x0_c - x0_u)`: what guidance adds to the conditional prediction; zero without guidance. No graph.
    pub fn guidance_no_grad(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
        let _guard = no_grad_guard();
        match &self.guidance {
            Some(guidance) if guidance.is_on() => {
                let (conditional, unconditional) = self.halves(guidance, x_t, t, cond);
                (conditional - unconditional) * (guidance.scale - 1.0)
            }
            _ => x_t.zeros_like(),
        }
    }

    /// The same role at another scale of its guidance; a role without any keeps none.
    #[must_use]
    pub fn with_guidance(mut self, scale: f64) -> View<'a> {
        if let Some(guidance) = &mut self.guidance {
            guidance.scale = scale;
        }
        self
    }

    /// The same role without guidance.
    #[must_use]
    pub fn unguided(&self) -> View<'a> {
        View {
            guidance: None,
            ..self.clone()
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            train: self.train,
            adapters: &self.adapters,
            ..Call::default()
        }
    }

    fn plain_x0(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
        let raw = self.net.forward(x_t, t, cond, &self.call());
        self.net
            .parameterization()
            .to_x0(self.schedule, &raw, x_t, t)
    }

    /// Conditional and unconditional prediction, from one batch of `2 B`.
    fn halves(
        &self,
        guidance: &Guidance,
        x_t: &Tensor,
        t: &Tensor,
        cond: &Conditioning,
    ) -> (Tensor, Tensor) {
        let batch = x_t.size()[0];
        let both = cond.concat(&guidance.null.expand(batch));
        let x0 = self.plain_x0(
            &Tensor::cat(&[x_t, x_t], 0),
            &Tensor::cat(&[t, t], 0),
            &both,
        );
        (x0.narrow(0, 0, batch), x0.narrow(0, batch, batch))
    }

    /// [`Self::x0`] without a graph, for roles that are never trained through.
    pub fn x0_no_grad(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
        let _guard = no_grad_guard();
        self.x0(x_t, t, cond)
    }

    /// [`Self::x0`] at `x_t [B, C, H, W]`, `t [B]`, and its derivative along `(dx, dt)`, which are like them; both like `x_t`. With
    /// `dx`, the flow's velocity, and `dt = 1` it is how the prediction changes on the way along a trajectory.
    ///
    /// No graph: one run carries values and tangents, and keeps nothing for a way back ([`dmdr_tensor::jvp`]). Attention
    /// holds weights meanwhile, a few times `[B, N, N]` for one head at a time, as fused kernels have no such derivative. So the
    /// value is that of `x0` but for rounding. A time that is rounded to a timestep has the derivative of what it was
    /// before.
    ///
    /// # Panics
    /// If `dx` or `dt` differ from `x_t` and `t` in shape or kind, or within another derivative.
    pub fn jvp(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        dx: &Tensor,
        dt: &Tensor,
        cond: &Conditioning,
    ) -> (Tensor, Tensor) {
        jvp(&[(x_t, dx), (t, dt)], |dual| {
            self.x0(&dual[0], &dual[1], cond)
        })
    }

    /// Outputs of the blocks that `taps` name, of the conditional half alone: [`Denoiser::features`].
    ///
    /// # Panics
    /// If `taps` are for another number of blocks, or hold a pass that nobody took.
    pub fn features(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        cond: &Conditioning,
        taps: &Taps,
    ) -> Vec<Tensor> {
        self.net.features(x_t, t, cond, &self.call(), taps)
    }

    /// Network evaluations one [`Self::x0`] costs: 2 with guidance.
    pub fn evaluations(&self) -> usize {
        if self.guidance.as_ref().is_some_and(Guidance::is_on) {
            2
        } else {
            1
        }
    }
}
