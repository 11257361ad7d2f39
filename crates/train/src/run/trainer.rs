//! A method with everything that changes while it trains.

use std::{collections::BTreeMap, path::Path};

use dmdr_events::atomic_write;
use dmdr_methods::{Division, Feed, Method, MethodError, Nets, NotFinished, NotFinite, Update};
use dmdr_tensor::{Kind, Ranks, safetensors_bytes, unless_lost};

use crate::{Part, TrainError};

/// A method, its networks and the state of their optimisers.
pub struct Trainer<M: Method + ?Sized = dyn Method> {
    method: Box<M>,
    nets: Nets,
    seed: u64,
    iterations: u64,
    division: Division,
    ranks: Ranks,
    factors: BTreeMap<String, f64>,
}

impl<M: Method + ?Sized> std::fmt::Debug for Trainer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("nets", &self.nets)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl<M: Method + ?Sized> Trainer<M> {
    /// `method` on `nets`, with so many `iterations` an update. All randomness follows from `seed`.
    pub fn new(method: Box<M>, nets: Nets, iterations: u64, seed: u64) -> Self {
        Self {
            method,
            nets,
            seed,
            iterations,
            division: Division::NONE,
            ranks: Ranks::ALONE,
            factors: BTreeMap::new(),
        }
    }

    /// The same with batches computed in parts.
    #[must_use]
    pub fn divided(self, division: Division) -> Self {
        Self { division, ..self }
    }

    /// The same as one of several processes.
    #[must_use]
    pub fn among(self, ranks: Ranks) -> Self {
        Self { ranks, ..self }
    }

    /// The processes that train together.
    pub fn ranks(&self) -> Ranks {
        self.ranks
    }

    /// Computes batches in `parts` at least from here on.
    pub fn divide_into(&mut self, parts: usize) {
        self.division = self.division.at_least(parts);
    }

    /// In how many parts batches are computed: more than at first, if memory ran out.
    pub fn division(&self) -> Division {
        self.division
    }

    /// The method.
    pub fn method(&self) -> &M {
        &self.method
    }

    /// The networks.
    pub fn nets(&self) -> &Nets {
        &self.nets
    }

    /// Multiplies the weight of a loss term in all updates to come.
    pub fn lower(&mut self, term: &str, factor: f64) {
        self.factors.insert(term.to_owned(), factor);
    }

    /// One update with data from `feed`; gives what is to be logged. A batch that makes a number that is not finite is kept in
    /// the folder `run`.
    ///
    /// # Errors
    /// Prompts or rewards that fail, or a number that is not finite; from there on nothing was updated.
    pub fn update(
        &mut self,
        index: u64,
        feed: &dyn Feed,
        run: &Path,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let Self {
            method,
            nets,
            seed,
            iterations,
            division,
            ranks,
            factors,
        } = self;
        let update = Update::new(*seed, index, *iterations, nets, feed, factors);
        let mut update = update.divided(*division).among(*ranks);
        unless_lost(|| method.update(&mut update))?.map_err(of_method)?;
        *division = update.division();
        update.finish().map_err(|error| match error {
            NotFinished::Number(found) => post_mortem(*found, index, run, *ranks),
            NotFinished::Ranks(error) => error.into(),
        })
    }

    /// What a checkpoint holds: networks under their names, optimisers under `optim.` and these.
    pub fn parts(&mut self) -> Vec<(String, Part<'_>)> {
        let mut parts = Vec::new();
        for (id, store, optimizer) in self.nets.state() {
            parts.push((id.to_string(), Part::Params(store)));
            let optimizer = optimizer.map(Part::Optimizer);
            parts.extend(optimizer.map(|part| (format!("optim.{id}"), part)));
        }
        parts
    }
}

/// A source's own error, if that is what a method failed with.
fn of_method(error: MethodError) -> TrainError {
    match error {
        MethodError::Feed(error) => match error.downcast::<TrainError>() {
            Ok(error) => *error,
            Err(error) => MethodError::Feed(error).into(),
        },
        other => other.into(),
    }
}

/// Keeps the batch of `found` in `run`.
fn post_mortem(found: NotFinite, update: u64, run: &Path, ranks: Ranks) -> TrainError {
    let NotFinite {
        net,
        what,
        value,
        batch,
    } = found;
    // Each process has its own part of the batch.
    let of = if ranks.is_first() {
        String::new()
    } else {
        format!("-process-{}", ranks.rank())
    };
    let post_mortem = run.join(format!("post-mortem-{net}-{update:06}{of}.safetensors"));
    // As it is: what is not finite is what somebody will look for.
    let batch = safetensors_bytes(&batch, Kind::Float, &BTreeMap::new());
    match atomic_write(&post_mortem, batch) {
        Ok(()) => TrainError::NotFinite {
            what,
            value,
            update,
            post_mortem,
        },
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use dmdr_config::{Curve, Motion, NetId, Optim, Optimizer};
    use dmdr_methods::{Batch, FeedError, Losses, Net, Network};
    use dmdr_tensor::{Device, Init, ParamStore, Scope, Tensor, read_tensors};

    use super::*;

    struct Nothing;

    impl Feed for Nothing {
        fn batch(&self, _: u64) -> Result<Batch, FeedError> {
            unreachable!("no prompts are asked for")
        }
    }

    /// Minimises `factor * sum w` of both its networks.
    struct Sum(f64);

    impl Method for Sum {
        fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
            update.begin();
            for (id, factor) in [(NetId::FAKE_SCORE, self.0), (NetId::STUDENT, 1.0)] {
                update.minimise(id, |update, _| {
                    let weight = &update.nets().store(id).group().tensors[0];
                    let mut losses = Losses::default();
                    losses.keep("x", &Tensor::from_slice(&[1.0f32, 2.0]));
                    losses.add("sum", 1.0, (weight * factor).sum(Kind::Float));
                    Ok(losses)
                })?;
            }
            Ok(())
        }
    }

    #[test]
    fn nothing_is_updated_once_a_number_is_not_finite() {
        let dir = tempfile::tempdir().expect("temp dir");
        let net = |id| {
            let store = ParamStore::trainable(Device::Cpu, 0);
            let _ = Scope::root(&store, &[]).param("w", &[3], Init::Ones);
            Net::new(id, store, Network::Held, Motion::Trained)
        };
        let optimizer = Optimizer {
            lr: Curve::Constant(0.1),
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
        };
        let ids = [NetId::FAKE_SCORE, NetId::STUDENT];
        let trainer = |factor| -> Trainer<Sum> {
            let mut nets = Nets::new(None, ids.map(net).into());
            nets.train_by(&Optim::new(ids.map(|id| (id, optimizer.clone()))));
            Trainer::new(Box::new(Sum(factor)), nets, 1, 0)
        };
        let weights = |trainer: &Trainer<Sum>| {
            let weights = |id| {
                let weight = &trainer.nets().store(id).group().tensors[0];
                Vec::<f32>::try_from(weight.detach()).expect("f32")
            };
            ids.map(weights)
        };
        let mut sound = trainer(1.0);
        let numbers = sound.update(7, &Nothing, dir.path()).expect("finite");
        assert!((numbers["grad_norm/student"] - 3f64.sqrt()).abs() < 1e-6);
        assert!(weights(&sound).iter().flatten().all(|weight| *weight < 1.0));

        let mut broken = trainer(f64::NAN);
        let error = broken.update(7, &Nothing, dir.path()).expect_err("NaN");
        assert!(
            error.to_string().contains("`loss/sum` is NaN in update 7"),
            "{error}"
        );
        assert_eq!(weights(&broken), [vec![1.0; 3], vec![1.0; 3]]);
        let TrainError::NotFinite { post_mortem, .. } = error else {
            panic!("{error}")
        };
        assert!(post_mortem.ends_with("post-mortem-fake_score-000007.safetensors"));
        assert_eq!(read_tensors(&post_mortem).expect("kept")["x"].size(), [2]);
    }
}
