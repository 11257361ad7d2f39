//! Measuring on scenes of the emoji world, whose truth is known.

use crate::{EvalError, EvalSet, Evaluator, Measure, Measured, Sampler};

/// The judge and the towers of the emoji world, on its scenes.
#[derive(Debug)]
pub struct Scenes {
    /// What scores.
    pub evaluator: Evaluator,
    /// Prompts and seeds.
    pub set: EvalSet,
}

impl Measure for Scenes {
    fn measure(
        &self,
        sampler: &dyn Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Measured, EvalError> {
        let evaluation = self.evaluator.evaluate(sampler, &self.set, progress)?;
        Ok(evaluation.measured)
    }
}
