//! Named, weighted loss terms: the total is computed in one place, and every term is logged.

use std::collections::BTreeMap;

use dmdr_tensor::{Kind, Numbers, Tensor};

/// One term.
#[derive(Debug)]
pub struct Term {
    /// Name in configs and metrics.
    pub name: &'static str,
    /// Its weight in the total.
    pub weight: f64,
    /// Unweighted scalar.
    pub value: Tensor,
}

/// The terms of one minimisation, what was observed beside them, and the batch they came from.
#[derive(Debug, Default)]
pub struct Losses {
    /// Terms, in the order they were added.
    pub terms: Vec<Term>,
    /// Numbers worth logging that are no loss.
    pub numbers: Numbers,
    /// What the terms were computed from, kept for a post-mortem.
    pub batch: BTreeMap<String, Tensor>,
}

impl Losses {
    /// Adds a term; weight 0 leaves it out.
    pub fn add(&mut self, name: &'static str, weight: f64, value: Tensor) {
        if weight != 0.0 {
            self.terms.push(Term {
                name,
                weight,
                value,
            });
        }
    }

    /// Keeps a tensor of the batch.
    pub fn keep(&mut self, name: &str, tensor: &Tensor) {
        self.batch.insert(name.to_owned(), tensor.detach());
    }

    /// Adds the terms of `others` behind its own, and all that belongs to them.
    pub fn extend(&mut self, others: Self) {
        self.terms.extend(others.terms);
        self.numbers.extend(others.numbers);
        self.batch.extend(others.batch);
    }

    /// The same without graphs.
    #[must_use]
    pub(crate) fn detach(mut self) -> Self {
        for term in &mut self.terms {
            term.value = term.value.detach();
        }
        self
    }

    /// The unweighted values, `[n]`.
    pub(crate) fn values(&self) -> Tensor {
        let values = self
            .terms
            .iter()
            .map(|term| term.value.to_kind(Kind::Float));
        Tensor::stack(&values.collect::<Vec<_>>(), 0)
    }

    /// Replaces them.
    pub(crate) fn set_values(&mut self, values: &Tensor) {
        for (index, term) in self.terms.iter_mut().enumerate() {
            term.value = values.get(index as i64);
        }
    }

    /// Of the whole batch, from those of its equal parts, which have the same terms.
    ///
    /// # Panics
    /// Without any part.
    #[must_use]
    pub(crate) fn of_parts(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let count = parts.len() as f64;
        let mut numbers = Vec::new();
        let mut batches: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
        let mut terms: Vec<Term> = Vec::new();
        for part in parts {
            numbers.push(part.numbers);
            for (name, tensor) in part.batch {
                batches.entry(name).or_default().push(tensor);
            }
            if terms.is_empty() {
                terms = part.terms;
            } else {
                for (sum, term) in terms.iter_mut().zip(part.terms) {
                    sum.value = &sum.value + term.value;
                }
            }
        }
        for term in &mut terms {
            term.value = &term.value / count;
        }
        let batches = batches.into_iter();
        Self {
            terms,
            numbers: Numbers::of_parts(numbers),
            batch: batches
                .map(|(name, parts)| (name, Tensor::cat(&parts, 0)))
                .collect(),
        }
    }

    /// `sum of weight * value`.
    ///
    /// # Panics
    /// Without any term.
    pub fn total(&self) -> Tensor {
        self.terms
            .iter()
            .map(|term| term.value.to_kind(Kind::Float) * term.weight)
            .reduce(|a, b| a + b)
            .expect("an update has at least one loss term")
    }
}
