//! A reward on the plane: a sum of bumps.

use dmdr_batches::Prompts;
use dmdr_rewards::{RewardError, RewardModel};
use dmdr_tensor::{Kind, Tensor};

use super::to_tensor;
use crate::plane::mixture::Point;

/// `height exp(-|x - center|^2 / (2 width^2))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bump {
    /// Where.
    pub center: Point,
    /// How much there; negative repels.
    pub height: f64,
    /// Standard deviation.
    pub width: f64,
}

/// The sum of some bumps.
#[derive(Debug, Clone, PartialEq)]
pub struct PointReward(pub Vec<Bump>);

impl PointReward {
    /// The reward at `x [B, 2, 1, 1]`: `[B]`.
    pub fn at(&self, x: &Tensor) -> Tensor {
        let mut total = Tensor::zeros([x.size()[0]], (Kind::Float, x.device()));
        for bump in &self.0 {
            let center = to_tensor(&[bump.center]).to_device(x.device());
            let dims: &[i64] = &[1, 2, 3];
            let squared = (x - center)
                .square()
                .sum_dim_intlist(dims, false, Kind::Float);
            total += (squared / (-2.0 * bump.width * bump.width)).exp() * bump.height;
        }
        total
    }
}

impl RewardModel for PointReward {
    fn name(&self) -> &'static str {
        "bumps"
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    /// `images [B, 2, 1, 1]`: points moved from `[-1, 1]` to `[0, 1]` like any picture.
    fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
        Ok(self.at(&(images * 2.0 - 1.0)))
    }
}
