//! What a distillation is loaded from, in the order that it is loaded.

pub(crate) mod backbone;
pub(crate) mod corpus;
pub(crate) mod finished;
pub(crate) mod inputs;
pub(crate) mod metrics;
pub(crate) mod rewards;
pub(crate) mod samplers;
pub(crate) mod text_encoder;

use std::rc::Rc;

use dmdr_config::{Experiment, NetSpec, Recipe, RlPart};
use dmdr_diffusion::student_times;
use dmdr_methods::{Division, Method, MethodError, Nets, Parts, Simulation, build, rl::RlTerm};
use dmdr_models::Guidance;
use dmdr_rewards::Complaints;
use dmdr_tensor::{Ranks, Runtime, phantom};

use crate::{
    Backbone, Corpus, Distillation, Source, TrainError, Trainer, assembly::rewards::rewards,
    build_nets, memory, open_source, run::nets::Placing, source::source_with,
};

/// Makes a method of its parts.
pub type Build<'a> = &'a dyn Fn(Parts) -> Result<Box<dyn Method>, MethodError>;

/// An experiment with what stands in the place of something that it would load itself.
#[derive(Clone)]
pub struct Assembly<'a> {
    experiment: &'a Experiment,
    runtime: Runtime,
    corpus: Option<Rc<Corpus>>,
    method: Option<(&'a dyn Recipe, Build<'a>)>,
}

impl std::fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly")
            .field("experiment", &self.experiment.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Assembly<'a> {
    /// All that `experiment` names, to be computed as `runtime` says.
    pub fn of(experiment: &'a Experiment, runtime: Runtime) -> Self {
        Self {
            experiment,
            runtime,
            corpus: None,
            method: None,
        }
    }

    /// With prompt files that were read already: those of the experiment.
    #[must_use]
    pub fn with_corpus(self, corpus: Option<Rc<Corpus>>) -> Self {
        Self { corpus, ..self }
    }

    /// With a method of the calling program, for `[method.external]`.
    #[must_use]
    pub fn with_method(self, recipe: &'a dyn Recipe, build: Build<'a>) -> Self {
        Self {
            method: Some((recipe, build)),
            ..self
        }
    }

    /// The experiment.
    pub fn experiment(&self) -> &'a Experiment {
        self.experiment
    }

    /// Where it computes.
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// The same assembly on a device without memory.
    pub(crate) fn on_phantom(&self) -> Self {
        let runtime = Runtime {
            device: phantom::device(),
            ..self.runtime
        };
        Self {
            runtime,
            ..self.clone()
        }
    }

    /// The method's contract with the run.
    pub(crate) fn recipe(&self) -> &'a dyn Recipe {
        let experiment = self.experiment;
        self.method
            .map_or_else(|| experiment.method.recipe(), |(recipe, _)| recipe)
    }

    /// Loads and checks everything; no training yet.
    ///
    /// # Errors
    /// Any input that is missing, unreadable or does not fit.
    pub fn distillation(&self) -> Result<Distillation<'a>, TrainError> {
        let source = self.source()?;
        let (backbone, nets) = self.networks(&*source)?;
        self.assemble(source, backbone, nets)
    }

    pub(crate) fn source(&self) -> Result<Box<dyn Source>, TrainError> {
        match &self.corpus {
            Some(corpus) => source_with(self.experiment, Some(corpus), self.runtime),
            None => open_source(self.experiment, self.runtime),
        }
    }

    /// The networks of the method. Rules of one that the calling program brought are checked here: the config could not.
    pub(crate) fn networks(&self, source: &dyn Source) -> Result<(Backbone, Nets), TrainError> {
        let setup = self.experiment.setup();
        if let Some((recipe, _)) = self.method {
            self.experiment.check_method(recipe)?;
        }
        let specs = self.recipe().nets(&setup);
        networks(self.experiment, source, &specs, self.runtime)
    }

    /// What is trained, of its source and its networks.
    pub(crate) fn assemble(
        &self,
        source: Box<dyn Source>,
        backbone: Backbone,
        mut nets: Nets,
    ) -> Result<Distillation<'a>, TrainError> {
        let (experiment, recipe) = (self.experiment, self.recipe());
        let schedule = nets.frozen().schedule;
        let of = &experiment.student;
        let times = student_times(of.num_steps, of.shift, of.conditioning_time);
        let complaints = Complaints::default();
        let rl = match recipe.rl() {
            Some(part) => {
                let runtime = Runtime {
                    keeping: memory::rewards(experiment, self.runtime),
                    ..self.runtime
                };
                let rewards = rewards(experiment, &*source, runtime, &complaints)?;
                let algorithm = part.algorithm.on_more_groups(experiment.accumulate);
                let part = RlPart { algorithm, ..part };
                Some(RlTerm::new(part, rewards, times.clone(), schedule)?)
            }
            None => None,
        };
        let parts = Parts {
            simulation: Simulation {
                times,
                image_shape: backbone.image_shape(),
            },
            fake_scale: experiment.fake_score.scale,
            rl,
        };
        let method = match self.method {
            Some((_, build)) => build(parts)?,
            None => build(&experiment.method, parts)?,
        };
        let sharing = memory::shared(experiment.memory.shard_moments, self.runtime);
        nets.train_among(&experiment.optim, sharing);
        let iterations = recipe.plan().iterations;
        let trainer = Trainer::new(method, nets, iterations, experiment.seed)
            .divided(division(experiment, recipe, self.runtime.ranks))
            .among(self.runtime.ranks);
        let runtime = self.runtime;
        Distillation::of_parts(
            experiment, recipe, runtime, source, trainer, backbone, complaints,
        )
    }
}

/// In how many parts the batches of `experiment` are computed, and how many there can be.
fn division(experiment: &Experiment, recipe: &dyn Recipe, ranks: Ranks) -> Division {
    let groups = recipe.rl().and_then(|part| part.algorithm.needs().groups);
    let batch_size = recipe.plan().batch_size;
    let divided = groups.map_or(batch_size, |groups| gcd(batch_size, groups.num_prompts));
    let parts = experiment.accumulate;
    // What several processes fetch together, none may fetch once more.
    let most = if experiment.memory.shard_base && ranks != Ranks::ALONE {
        parts
    } else {
        divided * parts
    };
    Division::new(parts, most)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl<'a> Distillation<'a> {
    /// Loads and checks everything that `experiment` names; no training yet.
    ///
    /// # Errors
    /// Any input that is missing, unreadable or does not fit.
    pub fn new(experiment: &'a Experiment) -> Result<Self, TrainError> {
        let runtime = Runtime::new(experiment.device, experiment.precision)?;
        Assembly::of(experiment, runtime).distillation()
    }
}

/// The networks of `specs` beside the teacher of `experiment`.
///
/// # Errors
/// An unreadable or unfitting weight file, or an adapter target that matches nothing.
pub fn networks(
    experiment: &Experiment,
    source: &dyn Source,
    specs: &[NetSpec],
    runtime: Runtime,
) -> Result<(Backbone, Nets), TrainError> {
    let backbone = source.backbone(experiment)?;
    let placing = Placing {
        runtime: Runtime {
            keeping: memory::base(experiment, runtime),
            ..runtime
        },
        recomputed: experiment.gradient_checkpointing.share(),
        seed: experiment.seed,
    };
    let guidance = Guidance {
        scale: experiment.teacher.guidance,
        null: source.null().clone(),
    };
    let nets = build_nets(specs, backbone.architecture(), placing, guidance)?;
    Ok((backbone, nets))
}
