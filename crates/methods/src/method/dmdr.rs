//! DMDR: distribution matching distillation and reinforcement learning in one objective (arXiv 2511.13649).
//!
//! `L = w_dm L_dm + w_rl L_rl` (Eq. 2). In the cold start `w_rl` is 0 and two dynamics help: `DynaDG` gives the real
//! score a decaying dose of the fake score's LoRA, `DynaRS` draws renoise times from an annealed Beta. Without `L_rl` it is
//! DMD. Without `L_dm` it is reinforcement learning alone with the regulariser of each algorithm's authors.

use dmdr_config::{Curve, DistributionMatching, Dmdr as Config, FakeScoreLoss, NetId, RlAlone};

use dmdr_tensor::phase;

use crate::{
    Losses, Method, MethodError, Rollout, Simulation, Update,
    rl::{Group, RlTerm},
    term,
};

/// The method.
pub struct Dmdr {
    matching: Option<Matching>,
    rl: Option<RlTerm>,
    pretraining: Curve,
    iterations: u64,
    simulation: Simulation,
}

/// Distribution matching with the fake score that it needs.
struct Matching {
    dm: DistributionMatching,
    fake_score: FakeScoreLoss,
    /// Of the fake score's adapter.
    fake_scale: f64,
}

impl Dmdr {
    /// `[method.dmdr]`; the fake score's adapter is called at `fake_scale`, and `rl` is what `config.rl` describes.
    pub fn new(
        config: Config,
        fake_scale: f64,
        rl: Option<RlTerm>,
        simulation: Simulation,
    ) -> Self {
        Self {
            matching: Some(Matching {
                dm: config.dm,
                fake_score: config.fake_score,
                fake_scale,
            }),
            rl,
            pretraining: Curve::Constant(0.0),
            iterations: config.ttur,
            simulation,
        }
    }

    /// `[method.rl]`; `rl` is what `config` describes.
    pub fn without_matching(config: &RlAlone, rl: RlTerm, simulation: Simulation) -> Self {
        Self {
            matching: None,
            rl: Some(rl),
            pretraining: config.pretraining,
            iterations: 1,
            simulation,
        }
    }

    /// Reinforcement learning and its weight, once the curve has left 0.
    fn rl_at(&self, update: &Update<'_>) -> Option<(f64, &RlTerm)> {
        let rl = self.rl.as_ref()?;
        let weight = rl.weight(update);
        (weight > 0.0).then_some((weight, rl))
    }

    /// A rollout, and the fake score on it.
    fn iterate(&self, update: &mut Update<'_>) -> Result<Rollout, MethodError> {
        let r = self.simulation.run(update)?;
        if let Some(matching) = &self.matching {
            let Matching {
                fake_score,
                fake_scale,
                ..
            } = matching;
            update.minimise(NetId::FAKE_SCORE, |update, part| {
                Ok(term::fake_score(
                    fake_score,
                    *fake_scale,
                    update,
                    &r.part(part),
                ))
            })?;
        }
        Ok(r)
    }

    fn student_losses(
        &self,
        update: &Update<'_>,
        r: &Rollout,
        group: Option<&Group>,
    ) -> Result<Losses, MethodError> {
        // DPO and GRPO are about whole trajectories; without matching they need no prediction with gradient here.
        let x0 = if let (None, Some(group)) = (&self.matching, group) {
            group.x0.shallow_clone()
        } else {
            let student = update.view(NetId::STUDENT).trained();
            phase("generator", || student.x0(&r.x_t, &r.t, &r.cond))
        };
        let mut losses = Losses::default();
        losses.keep("x_t", &r.x_t);
        losses.keep("t", &r.t);
        losses.keep("x0", &x0);
        if let Some(Matching { dm, fake_scale, .. }) = &self.matching {
            losses.extend(term::dm(dm, *fake_scale, update, &x0, r));
        }
        if let Some(rl) = &self.rl {
            losses.numbers.know("rl/weight", rl.weight(update));
        }
        if let Some((weight, rl)) = self.rl_at(update) {
            let term = rl.loss(update, &x0, r, group)?;
            losses.numbers.extend(term.numbers);
            losses.add("rl", weight, term.loss);
        }
        losses.extend(term::pretraining(&self.pretraining, update, r)?);
        Ok(losses)
    }
}

impl Method for Dmdr {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let rl = self.rl_at(update);
        if let Some((_, rl)) = rl {
            rl.take_reference(update);
        }

        let mut r = self.iterate(update)?;
        for _ in 1..self.iterations {
            r = self.iterate(update)?;
        }

        let group = match rl {
            Some((_, rl)) => rl.group(update, &r)?,
            None => None,
        };
        for _ in 0..rl.map_or(1, |(_, rl)| rl.num_inner_updates()) {
            update.minimise(NetId::STUDENT, |update, part| {
                let group = group.as_ref().map(|group| group.part(part));
                self.student_losses(update, &r.part(part), group.as_ref())
            })?;
        }
        Ok(())
    }
}
