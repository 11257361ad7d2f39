//! Pictures that a judge elsewhere gives no score: what becomes of them, and of a judge that gives none at all.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dmdr_remote::JudgeError;

use crate::RewardError;

/// What the user is to be told, in the order in which it happened.
pub type Complaints = Rc<RefCell<Vec<String>>>;

/// A judge that leaves every picture of so many batches out is none.
const MOST_EMPTY_BATCHES: u32 = 3;

/// How one reward deals with pictures without a score.
#[derive(Debug)]
pub(crate) struct Gaps {
    name: String,
    /// Where a picture that is left out is told of; none if the first one is an error.
    complaints: Option<Complaints>,
    /// Batches without any score, one after the other, up to now.
    num_empty: Cell<u32>,
}

impl Gaps {
    /// For the reward `name`: pictures are left out and told of in `complaints`, or are errors if there are none. A
    /// training goes on without a picture; a measurement must not.
    pub(crate) fn new(name: &str, complaints: Option<&Complaints>) -> Self {
        Self {
            name: name.to_owned(),
            complaints: complaints.cloned(),
            num_empty: Cell::new(0),
        }
    }

    /// Whether pictures may be left out.
    pub(crate) fn are_allowed(&self) -> bool {
        self.complaints.is_some()
    }

    /// The scores of a batch, with NaN in the place of each that is an error.
    ///
    /// # Errors
    /// A judge that is gone; the first gap where none is allowed; one batch too many without any score.
    pub(crate) fn fill(
        &self,
        scores: Vec<Result<f32, JudgeError>>,
    ) -> Result<Vec<f32>, RewardError> {
        let (mut filled, mut reason) = (Vec::with_capacity(scores.len()), None);
        let mut num_missing = 0;
        for score in scores {
            match score {
                Ok(score) => filled.push(score),
                Err(error) if error.is_of_one_answer() && self.are_allowed() => {
                    reason.get_or_insert(error);
                    num_missing += 1;
                    filled.push(f32::NAN);
                }
                Err(error) => return Err(self.failed(&error.to_string())),
            }
        }
        let (Some(reason), Some(complaints)) = (reason, &self.complaints) else {
            self.num_empty.set(0);
            return Ok(filled);
        };
        let is_empty = num_missing == filled.len();
        let num_empty = if is_empty {
            self.num_empty.get() + 1
        } else {
            0
        };
        self.num_empty.set(num_empty);
        if num_empty >= MOST_EMPTY_BATCHES {
            let problem = format!("no score for all pictures of {num_empty} batches: {reason}");
            return Err(self.failed(&problem));
        }
        complaints.borrow_mut().push(format!(
            "reward `{}` gave no score for {num_missing} of {} pictures, which are left out: {reason}",
            self.name,
            filled.len()
        ));
        Ok(filled)
    }

    /// What went wrong with the judge.
    pub(crate) fn failed(&self, reason: &str) -> RewardError {
        RewardError::Remote {
            name: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscored() -> Result<f32, JudgeError> {
        Err(JudgeError::Unscored)
    }

    fn gone() -> Result<f32, JudgeError> {
        Err(JudgeError::NoAnswer {
            url: "http://there".to_owned(),
            attempts: 5,
            problem: "refused".to_owned(),
        })
    }

    #[test]
    fn a_gap_is_told_of_and_a_judge_without_scores_ends_the_run() {
        let complaints = Complaints::default();
        let gaps = Gaps::new("oracle", Some(&complaints));
        let fill = |scores| gaps.fill(scores);
        assert_eq!(fill(vec![Ok(1.0), Ok(2.0)]).expect("all there"), [1.0, 2.0]);
        assert!(complaints.borrow().is_empty());
        let filled = fill(vec![Ok(1.0), unscored(), unscored()]).expect("one is there");
        assert!((filled[0] - 1.0).abs() < f32::EPSILON && filled[1].is_nan() && filled[2].is_nan());
        let told = complaints.take();
        let expected = "reward `oracle` gave no score for 2 of 3 pictures, which are left out: ";
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");

        // Two empty batches may be; a score begins the count anew; the third in a row is one too many.
        for scores in [
            vec![unscored()],
            vec![unscored()],
            vec![Ok(0.0), unscored()],
            vec![unscored()],
        ] {
            fill(scores).expect("not yet");
        }
        fill(vec![unscored()]).expect("not yet");
        let error = fill(vec![unscored()]).expect_err("the third").to_string();
        assert!(
            error.contains("`oracle`") && error.contains("of 3 batches"),
            "{error}"
        );
        let error = fill(vec![Ok(1.0), gone()]).expect_err("gone").to_string();
        assert!(error.contains("no answer from http://there"), "{error}");
    }

    #[test]
    fn a_measurement_has_no_gaps() {
        let gaps = Gaps::new("oracle", None);
        assert!(!gaps.are_allowed());
        let error = gaps.fill(vec![Ok(1.0), unscored()]).expect_err("a gap");
        assert!(error.to_string().contains("`null`"), "{error}");
    }
}
