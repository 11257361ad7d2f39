//! One frozen network, many roles: teacher, real score and fake score are views of the base and its LoRA.

use dmdr_diffusion::Schedule;
use dmdr_models::{Call, Denoiser, Guidance, View};
use dmdr_tensor::AdapterId;

/// The student.
pub enum Generator {
    /// A network of its own, started from the base.
    Full(Box<dyn Denoiser>),
    /// An adapter on the base.
    Adapter(AdapterId),
}

/// The score of the student's distribution.
pub enum FakeScore {
    /// A LoRA on the base: the real score can be given a dose of it (`DynaDG`).
    Adapter(AdapterId),
    /// A network of its own.
    Full(Box<dyn Denoiser>),
}

/// The networks of a distillation and who plays what.
pub struct Roles {
    /// The frozen base with its adapters.
    pub base: Box<dyn Denoiser>,
    /// The student.
    pub generator: Generator,
    /// A copy of the student for algorithms that compare with one.
    pub reference: Option<Generator>,
    /// The fake score.
    pub score: FakeScore,
    /// Noise schedule of all of them.
    pub schedule: Schedule,
    /// The teacher's guidance, which is the real score's too unless a method draws one.
    pub guidance: Guidance,
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roles")
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl Roles {
    /// The base alone, with guidance.
    pub fn teacher(&self) -> View<'_> {
        View {
            net: &*self.base,
            schedule: self.schedule,
            call: Call::default(),
            guidance: Some(self.guidance.clone()),
        }
    }

    /// The teacher with a dose of the fake score's LoRA (`DynaDG`); `adapters` is [`Self::score_adapters`] at `s_r`. At
    /// `s_r = 0` it is bit-equal to the teacher.
    pub fn real_score<'a>(&'a self, adapters: &'a [(AdapterId, f64)]) -> View<'a> {
        View {
            call: Call {
                train: false,
                adapters,
                ..Call::default()
            },
            ..self.teacher()
        }
    }

    /// The fake score, never guided; `adapters` is [`Self::score_adapters`] at `s_f`.
    pub fn fake_score<'a>(&'a self, adapters: &'a [(AdapterId, f64)], train: bool) -> View<'a> {
        let net = match &self.score {
            FakeScore::Adapter(_) => &*self.base,
            FakeScore::Full(net) => &**net,
        };
        View {
            net,
            call: Call {
                train,
                adapters,
                ..Call::default()
            },
            guidance: None,
            schedule: self.schedule,
        }
    }

    /// The fake score's LoRA at `scale`; nothing for a network of its own.
    pub fn score_adapters(&self, scale: f64) -> Vec<(AdapterId, f64)> {
        match self.score {
            FakeScore::Adapter(id) => vec![(id, scale)],
            FakeScore::Full(_) => Vec::new(),
        }
    }

    /// The student, never guided. `adapters` is [`Self::generator_adapters`].
    pub fn generator<'a>(&'a self, adapters: &'a [(AdapterId, f64)], train: bool) -> View<'a> {
        self.unguided(&self.generator, adapters, train)
    }

    /// What the student activates on its network.
    pub fn generator_adapters(&self) -> Vec<(AdapterId, f64)> {
        self.generator.adapters()
    }

    /// The copy of the student that it is compared with. `adapters` is [`Self::reference_adapters`]. It is called as in
    /// training, so that it agrees with the student to the bit as long as their weights do.
    ///
    /// # Panics
    /// If there is none.
    pub fn reference<'a>(&'a self, adapters: &'a [(AdapterId, f64)]) -> View<'a> {
        let reference = self.reference.as_ref().expect("built with a reference");
        self.unguided(reference, adapters, true)
    }

    /// What the frozen copy activates on its network.
    pub fn reference_adapters(&self) -> Vec<(AdapterId, f64)> {
        self.reference
            .as_ref()
            .map_or_else(Vec::new, Generator::adapters)
    }

    fn unguided<'a>(
        &'a self,
        generator: &'a Generator,
        adapters: &'a [(AdapterId, f64)],
        train: bool,
    ) -> View<'a> {
        let net = match generator {
            Generator::Full(net) => &**net,
            Generator::Adapter(_) => &*self.base,
        };
        View {
            net,
            call: Call {
                train,
                adapters,
                ..Call::default()
            },
            guidance: None,
            schedule: self.schedule,
        }
    }
}

impl Generator {
    fn adapters(&self) -> Vec<(AdapterId, f64)> {
        match self {
            Self::Full(_) => Vec::new(),
            Self::Adapter(id) => vec![(*id, 1.0)],
        }
    }
}
