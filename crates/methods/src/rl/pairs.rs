//! The best and the worst sample of each group.

use dmdr_tensor::{Kind, Tensor};

/// Rows of the best and the worst sample of each group in the batch, `[P]` (i64) each, and whether they differ at all.
#[derive(Debug)]
pub struct Pairs {
    /// Highest advantage.
    pub better: Tensor,
    /// Lowest advantage.
    pub worse: Tensor,
    /// 1 where the group has a best and a worst, 0 where all are equal or fewer than two have rewards (`[P]`, f32): these
    /// teach nothing.
    pub valid: Tensor,
}

/// The extremes of `advantages [P, G]`, of those that are 1 in `present [P, G]` where that is given.
pub fn pairs(advantages: &Tensor, present: Option<&Tensor>) -> Pairs {
    let (p, g) = advantages.size2().expect("[P, G]");
    let first = Tensor::arange(p, (Kind::Int64, advantages.device())) * g;
    let or = |other: f64| match present {
        None => advantages.shallow_clone(),
        Some(present) => advantages.masked_fill(&present.eq(0.0), other),
    };
    let (high, better) = or(f64::NEG_INFINITY).max_dim(1, false);
    let (low, worse) = or(f64::INFINITY).min_dim(1, false);
    Pairs {
        better: better + &first,
        worse: worse + first,
        valid: high.gt_tensor(&low).to_kind(Kind::Float),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_each_group_and_ties_are_dropped() {
        let advantages = Tensor::from_slice(&[0.1f32, 0.7, -0.8, 0.5, 0.5, 0.5]).reshape([2, 3]);
        let pairs = pairs(&advantages, None);
        let rows = |t: &Tensor| Vec::<i64>::try_from(t).expect("i64");
        assert_eq!((rows(&pairs.better)[0], rows(&pairs.worse)[0]), (1, 2));
        assert!(
            (3..6).contains(&rows(&pairs.better)[1]),
            "rows of the second group"
        );
        assert_eq!(Vec::<f32>::try_from(&pairs.valid).expect("f32"), [1.0, 0.0]);
        let moved = super::pairs(&(&advantages + 3.0), None);
        assert_eq!(
            rows(&moved.better),
            rows(&pairs.better),
            "a constant changes nothing"
        );
    }

    #[test]
    fn a_missing_sample_is_neither_the_best_nor_the_worst() {
        // 9 is missing from the first group, all but one from the second, all from the third.
        let advantages = [9.0f32, 0.7, -0.8, 0.5, 0.1, 0.2, 3.0, 2.0, 1.0];
        let present = [0.0f32, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let [advantages, present] =
            [advantages, present].map(|values| Tensor::from_slice(&values).reshape([3, 3]));
        let pairs = super::pairs(&advantages, Some(&present));
        let rows = |t: &Tensor| Vec::<i64>::try_from(t).expect("i64");
        assert_eq!((rows(&pairs.better)[0], rows(&pairs.worse)[0]), (1, 2));
        assert_eq!(
            Vec::<f32>::try_from(&pairs.valid).expect("f32"),
            [1.0, 0.0, 0.0]
        );
    }
}
