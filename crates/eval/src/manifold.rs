//! How much of one set of features lies within another: improved precision and recall (arXiv 1904.06991, eq. 1 and 2).

use dmdr_tensor::{Kind, Tensor};

/// Neighbours that span a ball, as in the paper.
const NEIGHBOURS: i64 = 3;
/// Least number of images of a set: a ball of precision and recall reaches to the third neighbour.
pub const LEAST_IMAGES: usize = 4;
/// Features whose distances to all others are held at a time: 82 MB of them to 10,000.
const CHUNK: i64 = 1024;

/// The union of balls around features, each as large as the distance to its third nearest neighbour.
#[derive(Debug)]
pub struct Manifold {
    centres: Tensor,
    radii: Tensor,
}

impl Manifold {
    /// Of `features [N, E]`.
    ///
    /// # Panics
    /// With fewer than four features.
    pub fn new(features: &Tensor) -> Self {
        assert!(features.size()[0] > NEIGHBOURS, "a ball needs neighbours");
        let centres = features.to_kind(Kind::Double);
        let radii = chunked(&centres, |features| {
            // The nearest is the feature itself.
            let distances = Tensor::cdist(features, &centres, 2.0, None::<i64>);
            distances.kthvalue(NEIGHBOURS + 1, -1, false).0
        });
        Self { centres, radii }
    }

    /// Share of `features [M, E]` that lie in it: precision, if the manifold is the truth's, or recall, if it is the
    /// generator's.
    pub fn share_of(&self, features: &Tensor) -> f64 {
        let is_within = chunked(&features.to_kind(Kind::Double), |features| {
            let distances = Tensor::cdist(features, &self.centres, 2.0, None::<i64>);
            distances.le_tensor(&self.radii).any_dim(-1, false)
        });
        is_within
            .to_kind(Kind::Double)
            .mean(Kind::Double)
            .double_value(&[])
    }
}

/// What `of` gives for each row of `features [N, E]`, a chunk at a time, `[N]`.
fn chunked(features: &Tensor, of: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let parts: Vec<Tensor> = features.split(CHUNK, 0).iter().map(of).collect();
    Tensor::cat(&parts, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_within_the_third_neighbours_distance_belong() {
        // On a line: the balls of 0, 1, 2, 3, 10 have radii 3, 2, 2, 3, 9.
        let line = |points: &[f32]| Tensor::from_slice(points).reshape([-1, 1]);
        let manifold = Manifold::new(&line(&[0.0, 1.0, 2.0, 3.0, 10.0]));
        let radii = Vec::<f64>::try_from(&manifold.radii).expect("f64");
        let expected = [3.0, 2.0, 2.0, 3.0, 9.0];
        let error = radii
            .iter()
            .zip(expected)
            .map(|(a, b): (&f64, f64)| (a - b).abs());
        assert!(error.fold(0.0, f64::max) < 1e-12, "{radii:?}");
        let share = manifold.share_of(&line(&[-2.9, -3.1, 18.9, 19.1]));
        assert!((share - 0.5).abs() < 1e-12, "{share}");
    }

    #[test]
    fn a_set_lies_in_its_own_manifold_and_not_in_a_distant_one() {
        let count = Tensor::arange(60, (Kind::Double, dmdr_tensor::Device::Cpu));
        let features = (count.square() * 0.7).sin().reshape([20, 3]);
        let own = Manifold::new(&features);
        assert!((own.share_of(&features) - 1.0).abs() < 1e-12);
        assert!(own.share_of(&(&features + 50.0)).abs() < 1e-12);
    }

    #[test]
    fn chunks_change_nothing() {
        // A line of 2,500 points, three chunks.
        let count = Tensor::arange(2500, (Kind::Double, dmdr_tensor::Device::Cpu));
        let line = count.reshape([-1, 1]);
        let manifold = Manifold::new(&line);
        let radii = Vec::<f64>::try_from(&manifold.radii).expect("f64");
        assert_eq!(radii.len(), 2500);
        let ends = [radii[0], radii[2499], radii[1024], radii[1500]];
        for (found, expected) in ends.into_iter().zip([3.0, 3.0, 2.0, 2.0]) {
            assert!((found - expected).abs() < 1e-3, "{ends:?}");
        }
        let share = manifold.share_of(&(line * 2.0));
        assert!((share - 0.5).abs() < 2e-3, "{share}");
    }
}
