//! The verbs of an update. Each keeps what a run promises: draws by seed and place, gradients of one network's group alone,
//! and no change once a number is not finite.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use dmdr_batches::Prompts;
use dmdr_config::NetId;
use dmdr_models::View;
use dmdr_tensor::{
    Accumulation, Generators, Kind, Numbers, Ranks, Tensor, TensorError, phase, read_scalars,
    reseed,
};

use crate::{
    Batch, Division, Feed, Losses, MethodError, Nets, Share, division::unless_out_of_memory,
};

/// Where training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The run's seed, for draws that are a pure function of it and of the place.
    pub seed: u64,
    /// Updates of the student done: every curve is read here.
    pub update: u64,
    /// Iterations of this update done.
    pub iteration: u64,
}

/// One update of the student, as its method drives it.
pub struct Update<'a> {
    place: Place,
    /// Iterations that every update has.
    iterations: u64,
    begun: u64,
    nets: &'a mut Nets,
    feed: &'a dyn Feed,
    factors: &'a BTreeMap<String, f64>,
    ranks: Ranks,
    /// In how many parts a batch of this process is computed.
    division: Cell<Division>,
    /// 1 once something was not finite.
    skip: Option<Tensor>,
    numbers: Numbers,
    checks: Vec<Check>,
    batches: Vec<BTreeMap<String, Tensor>>,
}

/// A scalar that has to be finite, and where its batch lies.
struct Check {
    net: NetId,
    what: String,
    value: Tensor,
    batch: usize,
}

/// A number that is not finite. From there on nothing was updated.
#[derive(Debug)]
pub struct NotFinite {
    /// Whose loss or gradient it is.
    pub net: NetId,
    /// The metric.
    pub what: String,
    /// Its value.
    pub value: f64,
    /// What it was computed from.
    pub batch: BTreeMap<String, Tensor>,
}

/// Why an update came to no end.
#[derive(Debug)]
pub enum NotFinished {
    /// The first number that was not finite.
    Number(Box<NotFinite>),
    /// A process that is gone or hangs.
    Ranks(TensorError),
}

impl From<TensorError> for NotFinished {
    fn from(error: TensorError) -> Self {
        Self::Ranks(error)
    }
}

/// 1 if `before` is, or if one of the scalars `checked` is not finite; else 0: an f32 scalar on their device.
fn skip_unless_finite(before: Option<Tensor>, checked: &[(String, Tensor)]) -> Tensor {
    let values = checked.iter().map(|(_, value)| value.to_kind(Kind::Float));
    let is_finite = Tensor::stack(&values.collect::<Vec<_>>(), 0)
        .isfinite()
        .all();
    let skip = is_finite.logical_not().to_kind(Kind::Float);
    match before {
        None => skip,
        Some(before) => skip.maximum(&before),
    }
}

impl<'a> Update<'a> {
    /// Update `update` of a run of `seed`, which has so many `iterations` in each. `factors` are what a guard leaves of the
    /// weights of terms, by their names.
    pub fn new(
        seed: u64,
        update: u64,
        iterations: u64,
        nets: &'a mut Nets,
        feed: &'a dyn Feed,
        factors: &'a BTreeMap<String, f64>,
    ) -> Self {
        let place = Place {
            seed,
            update,
            iteration: 0,
        };
        Self {
            place,
            iterations,
            begun: 0,
            nets,
            feed,
            factors,
            ranks: Ranks::ALONE,
            division: Cell::new(Division::NONE),
            skip: None,
            numbers: Numbers::default(),
            checks: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// The same update with batches computed in equal parts. The result is that of one part but for rounding.
    #[must_use]
    pub fn divided(self, division: Division) -> Self {
        Self {
            division: Cell::new(division),
            ..self
        }
    }

    /// The same update by one of several processes, of which each has a share of every batch.
    #[must_use]
    pub fn among(self, ranks: Ranks) -> Self {
        Self { ranks, ..self }
    }

    /// The processes.
    pub fn ranks(&self) -> Ranks {
        self.ranks
    }

    /// What this process has of each batch.
    pub fn share(&self) -> Share {
        Share::of_process(self.ranks)
    }

    /// In how many parts batches are computed: more than at first, if memory ran out.
    pub fn division(&self) -> Division {
        self.division.get()
    }

    /// Where training is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Updates of the student done.
    pub fn index(&self) -> u64 {
        self.place.update
    }

    /// The iteration's index over the whole run.
    fn iteration(&self) -> u64 {
        self.place.update * self.iterations + self.place.iteration
    }

    /// Begins the next iteration: all that is drawn from here on follows from the run's seed and the iteration's index, which
    /// counts over the whole run and is returned.
    ///
    /// # Panics
    /// If the update has no iteration left.
    pub fn begin(&mut self) -> u64 {
        assert!(
            self.begun < self.iterations,
            "the recipe plans {} iterations an update",
            self.iterations
        );
        self.place.iteration = self.begun;
        self.begun += 1;
        let iteration = self.iteration();
        reseed(&[self.place.seed, iteration]);
        iteration
    }

    /// Begins the next iteration with its prompts.
    ///
    /// # Errors
    /// Prompts that cannot be read or encoded.
    ///
    /// # Panics
    /// As for [`Self::begin`].
    pub fn batch(&mut self) -> Result<Batch, MethodError> {
        let iteration = self.begin();
        phase("prompts", || self.feed.batch(iteration)).map_err(MethodError::Feed)
    }

    /// True images of `prompts`, those of an iteration's batch: see [`Feed::true_images`].
    ///
    /// # Errors
    /// Images that cannot be read, or a world without any.
    pub fn true_images(&self, prompts: &Prompts) -> Result<Tensor, MethodError> {
        self.true_images_of(prompts, self.share())
    }

    /// The same of `prompts` that are part `share` of the batch.
    ///
    /// # Errors
    /// As there.
    pub fn true_images_of(&self, prompts: &Prompts, share: Share) -> Result<Tensor, MethodError> {
        let images = self.feed.true_images(prompts, share, self.iteration());
        let images = images.map_err(MethodError::Feed)?;
        images.ok_or(MethodError::NoTrueImages)
    }

    /// What `compute` makes of each part of a batch, one after the other: activations of one part are there at a time. Each
    /// begins with the same state of all generators, as draws are made for the whole batch; see [`Share::draw`].
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn in_parts<T>(
        &self,
        mut compute: impl FnMut(Share) -> Result<T, MethodError>,
    ) -> Result<Vec<T>, MethodError> {
        self.fold_parts(Vec::new, |mut all, part| {
            all.push(compute(part)?);
            Ok(all)
        })
    }

    /// As [`Self::in_parts`]: what `compute` makes of the parts one after the other, from what `start` gives. Where memory runs
    /// out, it begins again with smaller parts, as long as there are any.
    fn fold_parts<A>(
        &self,
        start: impl Fn() -> A,
        mut compute: impl FnMut(A, Share) -> Result<A, MethodError>,
    ) -> Result<A, MethodError> {
        let generators = Generators::of(self.nets.device())?;
        loop {
            let division = self.division.get();
            let mut parts = self.share().parts(division.parts());
            let mut all = || {
                parts.try_fold(start(), |done, part| {
                    generators.restore()?;
                    compute(done, part)
                })
            };
            let Some(finer) = division.finer() else {
                return all();
            };
            if let Some(done) = unless_out_of_memory(all)? {
                return Ok(done);
            }
            self.division.set(finer);
        }
    }

    /// What a guard leaves of the weight of a term, in `[0, 1]`.
    pub fn factor(&self, term: &str) -> f64 {
        self.factors.get(term).copied().unwrap_or(1.0)
    }

    /// The networks.
    pub fn nets(&self) -> &Nets {
        self.nets
    }

    /// See [`Nets::view`].
    ///
    /// # Panics
    /// As there.
    pub fn view(&self, id: NetId) -> View<'_> {
        self.nets.view(id)
    }

    /// Copies the parameters of one network into another of its form.
    ///
    /// # Panics
    /// If the method did not ask for one of them.
    pub fn copy(&self, from: NetId, to: NetId) {
        let from = self.nets.store(from);
        self.nets.store(to).copy_from(from);
    }

    /// Logs numbers of this update.
    pub fn observe(&mut self, numbers: Numbers) {
        self.numbers.extend(numbers);
    }

    /// One optimiser step of one network: gradients of its parameters alone, clipped. Nothing changes, here and in all that
    /// follows in this update, once a loss or a gradient is not finite; the end of the update says so.
    ///
    /// `losses` gives the means over a part of the batch; it is asked for each part.
    ///
    /// # Errors
    /// Those of `losses`, or if libtorch fails.
    ///
    /// # Panics
    /// If the network is not trained.
    pub fn minimise(
        &mut self,
        id: NetId,
        losses: impl FnMut(&Self, Share) -> Result<Losses, MethodError>,
    ) -> Result<(), MethodError> {
        self.minimise_together(&[id], losses)
    }

    /// As [`Self::minimise`], for several networks that the losses have in common: one pass backward, and for each its own
    /// clip and optimiser.
    ///
    /// # Errors
    /// As for [`Self::minimise`].
    ///
    /// # Panics
    /// If one of them is not trained.
    pub fn minimise_together(
        &mut self,
        ids: &[NetId],
        mut losses: impl FnMut(&Self, Share) -> Result<Losses, MethodError>,
    ) -> Result<(), MethodError> {
        let sum = Accumulation::new(&self.nets.trained_params(ids), self.ranks);
        let sum = RefCell::new(sum);
        let losses = self.fold_parts(
            || {
                sum.borrow_mut().restart();
                Vec::new()
            },
            |mut all, part| {
                let losses = losses(self, part)?;
                let (total, parts) = (losses.total(), part.num_parts());
                phase("backward", || {
                    sum.borrow_mut().add(&total, part.is_last(), parts)
                })?;
                all.push(losses.detach());
                Ok(all)
            },
        )?;
        let finish = || sum.into_inner().finish();
        let grads = if self.ranks == Ranks::ALONE {
            finish()?
        } else {
            phase("processes", finish)?
        };
        let mut losses = Losses::of_parts(losses);
        if self.ranks != Ranks::ALONE {
            // Of all processes together: so all see the same, and skip the same.
            let mut values = [losses.values()];
            phase("processes", || self.ranks.mean(&mut values))?;
            losses.set_values(&values[0]);
        }
        let mut grads = grads.into_iter();

        let update = self.place.update;
        let mut optimizers = self.nets.optimizers(ids);
        let grads: Vec<(Vec<Tensor>, Tensor)> = optimizers
            .iter()
            .map(|(_, optimizer)| {
                let mut own: Vec<Tensor> = grads
                    .by_ref()
                    .take(optimizer.group().tensors.len())
                    .collect();
                let norm = phase("optimiser", || optimizer.clip(&mut own));
                (own, norm)
            })
            .collect();

        let terms = losses.terms.into_iter();
        let terms = terms.map(|term| (format!("loss/{}", term.name), term.value));
        let norms = optimizers
            .iter()
            .zip(&grads)
            .map(|((id, _), (_, norm))| (format!("grad_norm/{id}"), norm.shallow_clone()));
        let checked: Vec<(String, Tensor)> = terms.chain(norms).collect();
        let skip = skip_unless_finite(self.skip.take(), &checked);
        for ((id, optimizer), (grads, _)) in optimizers.iter_mut().zip(&grads) {
            let lr = phase("optimiser", || optimizer.step(grads, update, &skip))?;
            self.numbers.know(format!("lr/{id}"), lr);
        }
        self.skip = Some(skip);

        self.numbers.extend(losses.numbers);
        let batch = self.batches.len();
        self.batches.push(losses.batch);
        for (what, value) in checked {
            self.numbers.keep(&what, &value);
            self.checks.push(Check {
                net: ids[0],
                what,
                value,
                batch,
            });
        }
        Ok(())
    }

    /// Ends the update: averages follow, and all numbers are read, which is the only time that anybody waits for the device.
    ///
    /// # Errors
    /// The first number that was not finite, or a lost process.
    pub fn finish(mut self) -> Result<BTreeMap<String, f64>, NotFinished> {
        const SKIPPED: &str = "skipped";
        if let Some(skip) = &self.skip {
            self.numbers.keep(SKIPPED, skip);
        }
        let mut numbers = self.numbers.read_over(self.ranks)?;
        let is_finite = numbers.remove(SKIPPED).is_none_or(|skipped| skipped == 0.0);
        if is_finite {
            phase("optimiser", || self.nets.follow(self.place.update));
            return Ok(numbers);
        }
        let scalars = self.checks.iter().map(|check| check.value.shallow_clone());
        let values = read_scalars(&scalars.collect::<Vec<_>>());
        let mut checks = self.checks.into_iter().zip(values);
        match checks.find(|(_, value)| !value.is_finite()) {
            // A device without memory reads every number as 1.
            None => Ok(numbers),
            Some((check, value)) => Err(NotFinished::Number(Box::new(NotFinite {
                net: check.net,
                what: check.what,
                value,
                batch: self.batches.swap_remove(check.batch),
            }))),
        }
    }
}
