//! A method of another program: nothing in this workspace knows of it, and it trains, resumes and is rehearsed all the same.

use dmdr_config::{External, NetId, NetSpec, Plan, Problem, Recipe, Setup};
use dmdr_diffusion::loss;
use dmdr_methods::{Losses, Method, MethodError, Simulation, Update};
use dmdr_tensor::Kind;

/// Its configuration: the student, its average, and nothing else.
pub struct ToyRecipe(pub External);

impl Recipe for ToyRecipe {
    fn title(&self) -> String {
        "a toy".to_owned()
    }
    fn plan(&self) -> Plan {
        self.0.plan()
    }

    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec> {
        setup.student()
    }

    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem> {
        setup.optimizer_problems(&self.nets(setup))
    }
}

/// Draws the student to the guided teacher's prediction on its own intermediate states.
pub struct Toy(pub Simulation);

impl Method for Toy {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let r = self.0.run(update)?;
        update.minimise(NetId::STUDENT, |update, part| {
            let r = r.part(part);
            let teacher = update.nets().teacher();
            let aim = teacher.x0_no_grad(&r.x_t, &r.t, &r.cond);
            let student = update.view(NetId::STUDENT).trained();
            let x0 = student.x0(&r.x_t, &r.t, &r.cond);
            let per_sample = loss::denoise(student.schedule, &x0, &aim, &r.t);
            let mut losses = Losses::default();
            losses.add("toy", 1.0, per_sample.mean(Kind::Float));
            Ok(losses)
        })
    }
}
