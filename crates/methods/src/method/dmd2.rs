//! DMD2 (arXiv 2405.14867): distribution matching without regression, and a discriminator that lifts the teacher's cap.
//!
//! The discriminator reads the fake score's features, and its loss trains the fake score as well. Without it no true images
//! are needed.

use dmdr_config::{Dmd2 as Config, NetId};
use dmdr_tensor::phase;

use crate::{Losses, Method, MethodError, Rollout, Simulation, Update, term};

/// The method.
pub struct Dmd2 {
    config: Config,
    /// Of the fake score's adapter.
    fake_scale: f64,
    simulation: Simulation,
}

impl Dmd2 {
    /// `[method.dmd2]`; the fake score's adapter is called at `fake_scale`.
    pub fn new(config: Config, fake_scale: f64, simulation: Simulation) -> Self {
        Self {
            config,
            fake_scale,
            simulation,
        }
    }

    /// A rollout; the fake score and the discriminator on it.
    fn iterate(&self, update: &mut Update<'_>) -> Result<Rollout, MethodError> {
        let r = self.simulation.run(update)?;
        let Config {
            fake_score, gan, ..
        } = &self.config;
        let Some(gan) = gan else {
            update.minimise(NetId::FAKE_SCORE, |update, part| {
                Ok(term::fake_score(
                    fake_score,
                    self.fake_scale,
                    update,
                    &r.part(part),
                ))
            })?;
            return Ok(r);
        };
        let images = update.true_images(&r.prompts)?;
        update.minimise_together(
            &[NetId::FAKE_SCORE, NetId::DISCRIMINATOR],
            |update, part| {
                let (r, images) = (r.part(part), part.of(&images));
                let mut losses = term::fake_score(fake_score, self.fake_scale, update, &r);
                losses.extend(term::discriminator(
                    gan,
                    self.fake_scale,
                    update,
                    &images,
                    &r,
                ));
                Ok(losses)
            },
        )?;
        Ok(r)
    }

    fn student_losses(&self, update: &Update<'_>, r: &Rollout) -> Losses {
        let student = update.view(NetId::STUDENT).trained();
        let x0 = phase("generator", || student.x0(&r.x_t, &r.t, &r.cond));
        let mut losses = term::dm(&self.config.dm, self.fake_scale, update, &x0, r);
        losses.keep("x_t", &r.x_t);
        losses.keep("t", &r.t);
        losses.keep("x0", &x0);
        if let Some(gan) = &self.config.gan {
            losses.extend(term::gan(gan, self.fake_scale, update, &x0, r));
        }
        losses
    }
}

impl Method for Dmd2 {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let mut r = self.iterate(update)?;
        for _ in 1..self.config.ttur {
            r = self.iterate(update)?;
        }
        update.minimise(NetId::STUDENT, |update, part| {
            Ok(self.student_losses(update, &r.part(part)))
        })
    }
}
