//! How deep each sample of a batch goes: the step of the student that it is trained at.

use dmdr_tensor::mix;

use crate::Place;

/// Draws of the permutations have a stream of their own.
const STREAM: u64 = 0x57E9;

/// How many samples of a batch are trained at each step or a deeper one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depths {
    /// One more than there are steps; the first is the whole batch, the last 0.
    going: Vec<i64>,
}

impl Depths {
    /// `batch` samples over `num_steps` steps.
    ///
    /// A batch that is large enough has every step, as evenly as it can. A smaller one draws its steps: over `num_steps`
    /// updates every step is trained `batch` times. That holds for each iteration of an update by itself, so the student, which
    /// is trained on the last one alone, misses none. Draws are a pure function of the run's seed, the update and the iteration.
    pub fn of(batch: usize, num_steps: usize, place: &Place) -> Self {
        if batch >= num_steps {
            let going = (0..=num_steps).map(|index| batch * (num_steps - index) / num_steps);
            return Self {
                going: going.map(|count| count as i64).collect(),
            };
        }
        let first = place.update * batch as u64;
        let drawn: Vec<usize> = (first..first + batch as u64)
            .map(|index| drawn_step(index, num_steps, place))
            .collect();
        let deeper = |index: &usize| drawn.iter().filter(|step| *step >= index).count() as i64;
        Self {
            going: (0..=num_steps).map(|index| deeper(&index)).collect(),
        }
    }

    /// Samples that are trained at `step` or deeper.
    pub(crate) fn going(&self, step: usize) -> i64 {
        self.going[step]
    }
}

/// The step at `index` of the sequence of an iteration: one permutation of the steps after the other.
fn drawn_step(index: u64, num_steps: usize, place: &Place) -> usize {
    let cycle = index / num_steps as u64;
    let mut steps: Vec<usize> = (0..num_steps).collect();
    for last in (1..num_steps).rev() {
        // Fisher and Yates; so few steps that the modulo's bias is below 1e-17.
        let draw = mix(&[place.seed, STREAM, place.iteration, cycle, last as u64]) as u64;
        steps.swap(last, (draw % (last as u64 + 1)) as usize);
    }
    steps[(index % num_steps as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seed: u64, update: u64, iteration: u64) -> Place {
        Place {
            seed,
            update,
            iteration,
        }
    }

    /// How many samples are trained at each step.
    fn counts(depths: &Depths) -> Vec<i64> {
        depths
            .going
            .windows(2)
            .map(|pair| pair[0] - pair[1])
            .collect()
    }

    #[test]
    fn a_large_batch_has_every_step_in_blocks() {
        for (batch, expected) in [
            (4, [1, 1, 1, 1]),
            (6, [2, 1, 2, 1]),
            (7, [2, 2, 2, 1]),
            (16, [4, 4, 4, 4]),
        ] {
            let depths = Depths::of(batch, 4, &at(3, 9, 1));
            assert_eq!(counts(&depths), expected, "{batch}");
            assert_eq!(
                depths,
                Depths::of(batch, 4, &at(8, 2, 0)),
                "nothing is drawn"
            );
        }
    }

    #[test]
    fn a_small_batch_trains_every_step_equally_often() {
        for (num_steps, batch) in [(4, 1), (4, 2), (4, 3), (8, 3), (8, 5), (2, 1)] {
            for (seed, iteration) in [(0, 0), (0, 4), (17, 2)] {
                for cycle in 0..20 {
                    let mut total = vec![0; num_steps];
                    for update in 0..num_steps as u64 {
                        let step = at(seed, cycle * num_steps as u64 + update, iteration);
                        let drawn = counts(&Depths::of(batch, num_steps, &step));
                        assert_eq!(drawn.iter().sum::<i64>(), batch as i64);
                        for (sum, count) in total.iter_mut().zip(drawn) {
                            *sum += count;
                        }
                    }
                    assert_eq!(total, vec![batch as i64; num_steps], "cycle {cycle}");
                }
            }
        }
    }

    #[test]
    fn draws_hang_on_seed_update_and_iteration_alone() {
        let sequence = |seed, iteration| -> Vec<Vec<i64>> {
            (0..40)
                .map(|update| counts(&Depths::of(1, 4, &at(seed, update, iteration))))
                .collect()
        };
        assert_eq!(sequence(5, 1), sequence(5, 1));
        assert_ne!(sequence(5, 1), sequence(6, 1));
        assert_ne!(sequence(5, 1), sequence(5, 2));
        // Not always in one order.
        let all = sequence(5, 1);
        let orders: std::collections::BTreeSet<_> = all.chunks(4).collect();
        assert!(orders.len() > 3, "{orders:?}");
    }

    #[test]
    fn first_steps_of_cycles_are_uniform() {
        let mut counted = [0_i64; 4];
        for cycle in 0..4000 {
            counted[drawn_step(cycle * 4, 4, &at(1, 0, 0))] += 1;
        }
        // 1000 each; the deviation is 27.
        assert!(
            counted.iter().all(|count| (count - 1000).abs() < 140),
            "{counted:?}"
        );
    }
}
