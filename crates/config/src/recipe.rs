//! The contract of a method's configuration: what the run has to know of it.

use crate::curve::Curve;
use crate::error::Problem;
use crate::net::{Motion, NetForm, NetId, NetSpec, Start};
use crate::networks::{FakeForm, FakeScore, Student, Tuning};
use crate::optimizer::{Ema, Optim};
use crate::reward::Reward;
use crate::rl::RlAlgorithm;
use crate::world::World;

/// How long a run is and how much it takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Updates of the student.
    pub num_updates: u64,
    /// Prompts of a batch.
    pub batch_size: usize,
    /// Batches of an update: iterations, of which each is drawn anew.
    pub iterations: u64,
}

/// The tables of an experiment that a method shares with others.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// `[student]`.
    pub student: &'a Student,
    /// `[fake_score]`.
    pub fake_score: &'a FakeScore,
    /// `[[rewards]]`.
    pub rewards: &'a [Reward],
    /// `[optim]`.
    pub optim: &'a Optim,
    /// `[ema]`.
    pub ema: Option<Ema>,
    /// `[world]`.
    pub world: &'a World,
}

/// The reinforcement learning term of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RlPart {
    /// Where it stands in the file.
    pub key: &'static str,
    /// How rewards become a loss.
    pub algorithm: RlAlgorithm,
    /// Its weight over updates.
    pub weight: Curve,
}

/// A method's configuration, beside its defaults and ranges: what it asks of the run, and its own rules.
pub trait Recipe {
    /// How long it trains.
    fn plan(&self) -> Plan;

    /// The networks it has beside the teacher.
    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec>;

    /// Rules that tie its keys to each other and to `setup`, where they are broken.
    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem>;

    /// What is allowed but probably not meant.
    fn warnings(&self, _setup: &Setup<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Keys of what it anneals, and the update that each settles at.
    fn anneals(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// What it is called, with its paper: the card of an export says so.
    fn title(&self) -> String;

    /// Its reinforcement learning, which is what rewards are for.
    fn rl(&self) -> Option<RlPart> {
        None
    }

    /// The table that gives it reinforcement learning, if there is one: what to add where rewards stand for nothing.
    fn rl_table(&self) -> Option<&'static str> {
        None
    }

    /// Whether something else stays when a guard lowers the weight of reinforcement learning.
    fn has_other_terms(&self) -> bool {
        true
    }
}

impl RlPart {
    /// The networks of its algorithm.
    pub fn nets(&self, setup: &Setup<'_>) -> Option<NetSpec> {
        let reference = self.algorithm.needs().reference;
        reference.map(|_| setup.like_student(NetId::REFERENCE, Motion::Copied))
    }

    /// Whether the copy of the student is taken before `update`: when the term sets in, and when the algorithm says so.
    pub fn takes_reference(&self, update: u64) -> bool {
        let Some(refresh) = self.algorithm.needs().reference else {
            return false;
        };
        let is_on = |update| self.weight.at(update) > 0.0;
        let sets_in = || update.checked_sub(1).is_none_or(|last| !is_on(last));
        is_on(update) && (refresh.is_due(update) || sets_in())
    }

    /// What its algorithm needs and a run of `plan` does not have.
    pub fn problems(&self, plan: Plan, setup: &Setup<'_>) -> Vec<Problem> {
        let (key, needs) = (self.key, self.algorithm.needs());
        let name = self.algorithm.name();
        let mut problems = Vec::new();
        if needs.reward_gradient {
            let models = setup.rewards.iter().map(|reward| &reward.model).enumerate();
            for (index, model) in models.filter(|(_, model)| !model.is_differentiable()) {
                problems.push(Problem::new(
                    &[&format!("rewards.{index}.model"), key],
                    format!("reward `{}` has no gradient; ReFL needs one", model.name()),
                    "use `dpo` or `grpo`, or another reward",
                ));
            }
        }
        if let Some(groups) = needs.groups
            && groups.num_prompts > plan.batch_size
        {
            problems.push(Problem::new(
                &[&format!("{key}.algorithm.{name}.groups.num_prompts")],
                format!(
                    "{} prompts are to be sampled in groups, but a batch has {}",
                    groups.num_prompts, plan.batch_size
                ),
                "sample fewer, or enlarge the batch",
            ));
        }
        let stochastic = setup.student.num_steps - 1;
        if needs
            .stochastic_steps
            .is_some_and(|least| least > stochastic)
        {
            problems.push(Problem::new(
                &[
                    "student.num_steps",
                    &format!("{key}.algorithm.{name}.num_train_steps"),
                ],
                format!(
                    "a student of {} steps has {stochastic} stochastic steps: the last one has no likelihood",
                    setup.student.num_steps
                ),
                "train at most that many; a student of one step takes `refl` or `dpo`",
            ));
        }
        problems
    }
}

impl Setup<'_> {
    /// The student and, with `[ema]`, its average.
    pub fn student(&self) -> Vec<NetSpec> {
        let start = match &self.student.init {
            Some(path) => Start::File {
                key: "student.init",
                path: path.clone(),
            },
            None => Start::Teacher,
        };
        let student = NetSpec {
            id: NetId::STUDENT,
            form: self.student_form(),
            start,
            motion: Motion::Trained,
        };
        let average = self.ema.map(|ema| Motion::Average {
            of: NetId::STUDENT,
            decay: ema.decay,
            warms_up: false,
        });
        let average = average.map(|motion| self.like_student(NetId::AVERAGE, motion));
        [student].into_iter().chain(average).collect()
    }

    /// A network of the student's form that starts as the student does.
    pub fn like_student(&self, id: NetId, motion: Motion) -> NetSpec {
        NetSpec {
            id,
            form: self.student_form(),
            start: Start::Net(NetId::STUDENT),
            motion,
        }
    }

    /// The fake score.
    pub fn fake_score(&self) -> NetSpec {
        let start = match &self.fake_score.init {
            Some(path) => Start::File {
                key: "fake_score.init",
                path: path.clone(),
            },
            None => Start::Teacher,
        };
        NetSpec {
            id: NetId::FAKE_SCORE,
            form: match self.fake_score.form {
                FakeForm::Full => NetForm::Full,
                FakeForm::Lora => NetForm::Lora(self.fake_score.lora()),
                FakeForm::OutputLora => NetForm::OutputLora(self.fake_score.lora()),
            },
            start,
            motion: Motion::Trained,
        }
    }

    fn student_form(&self) -> NetForm {
        match &self.student.tuning {
            Tuning::Full => NetForm::Full,
            Tuning::Lora(lora) => NetForm::Lora(lora.clone()),
        }
    }

    /// That there are no true images for what `key` asks for, where it is so.
    pub fn true_images_problem(&self, key: &str) -> Option<Problem> {
        let has_truth = matches!(self.world, World::Preset(_));
        (!has_truth).then(|| {
            Problem::new(
                &[key, "world"],
                "it needs true images, and only the emoji world draws them",
                "remove it, with its optimiser if it has one, or use a method that learns from the teacher alone, such as `dmdr`",
            )
        })
    }

    /// Trained networks without an optimiser, and optimisers without a network.
    pub fn optimizer_problems(&self, nets: &[NetSpec]) -> Vec<Problem> {
        let trained = || {
            let trained = nets.iter().filter(|net| net.motion == Motion::Trained);
            trained.map(|net| net.id.name())
        };
        let missing = trained().filter(|name| self.optim.get(name).is_none());
        let missing = missing.map(|name| {
            Problem::new(
                &[&format!("optim.{name}")],
                format!("the method trains `{name}`, and it has no optimiser"),
                format!("add a table `[optim.{name}]` with `lr`"),
            )
        });
        let idle = self
            .optim
            .names()
            .filter(|name| !trained().any(|id| id == *name));
        let idle = idle.map(|name| {
            let names: Vec<&str> = trained().collect();
            Problem::new(
                &[&format!("optim.{name}")],
                format!(
                    "the method trains no `{name}`, only `{}`",
                    names.join("`, `")
                ),
                match name {
                    "generator" => "it is called `student` now",
                    "score" => "it is called `fake_score` now",
                    _ => "remove it",
                },
            )
        });
        missing.chain(idle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::{Dpo, Grpo};

    fn dpo(refresh_every: u64) -> RlAlgorithm {
        RlAlgorithm::Dpo(Dpo {
            refresh_every,
            ..Dpo::default()
        })
    }

    fn grpo(kl: f64) -> RlAlgorithm {
        RlAlgorithm::Grpo(Grpo {
            kl,
            ..Grpo::default()
        })
    }

    /// Of the first 100 updates, those before which the reference is taken.
    fn taken(algorithm: RlAlgorithm, weight: Curve) -> Vec<u64> {
        let part = RlPart {
            key: "method.rl",
            algorithm,
            weight,
        };
        let updates = 0..100;
        updates
            .filter(|update| part.takes_reference(*update))
            .collect()
    }

    #[test]
    fn the_reference_is_taken_where_it_is_needed_and_anew_if_asked_for() {
        let taken = |algorithm| taken(algorithm, Curve::Constant(1.0));
        assert_eq!(taken(dpo(0)), [0]);
        assert_eq!(taken(grpo(0.1)), [0]);
        assert_eq!(taken(dpo(40)), [0, 40, 80]);
        for without in [dpo(1), grpo(0.0), RlAlgorithm::Refl] {
            assert!(taken(without).is_empty(), "{without:?}");
        }
    }

    #[test]
    fn the_reference_is_taken_when_the_term_sets_in() {
        let sets_in = Curve::Step {
            from: 0.0,
            to: 0.1,
            at: 25,
        };
        assert_eq!(taken(dpo(0), sets_in), [25]);
        assert_eq!(taken(dpo(40), sets_in), [25, 40, 80]);
        assert!(taken(dpo(1), sets_in).is_empty(), "the student is its own");
    }
}
