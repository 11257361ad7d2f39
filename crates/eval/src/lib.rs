//! Metrics of image generators on the embedded world, on prompts and noise that everyone shares.
//!
//! An [`Evaluator`] draws the prompts of an [`EvalSet`], lets a [`Sampler`] make one image for each prompt and seed, and
//! scores it: [`Evaluation`]. Two of them on the same set are compared image by image with [`compare`]. [`TrueScenes`]
//! show what the metrics can reach at best. A [`DenseEvaluator`] does the same for dense prompts, with questions.
//!
//! Elsewhere, where no truth is known, [`Pictures`] are scored by the reward models of a [`Rater`], and a [`RatingTable`] puts
//! models side by side. Whatever measures is a [`Measure`], and gives [`Measured`].

mod compare;
mod dense;
mod diversity;
mod error;
mod evaluation;
mod evaluator;
mod fidelity;
mod frechet;
mod interval;
mod judging;
mod manifold;
mod measured;
mod metrics;
mod pictures;
mod pixel_metric;
mod rating;
mod sampler;
mod sampling;
mod scenes;
mod set;
mod texture;
mod true_scenes;

pub use compare::{Comparison, compare};
pub use dense::{DenseEvaluator, DenseScore};
pub use diversity::{Diversity, pairwise_lpips};
pub use error::EvalError;
pub use evaluation::Evaluation;
pub use evaluator::Evaluator;
pub use fidelity::{Encoder, Features, Reference, pictures};
pub use frechet::Gaussian;
pub use interval::Interval;
pub use manifold::{LEAST_IMAGES, Manifold};
pub use measured::{Measure, Measured};
pub use metrics::{ImageScore, metric_names};
pub use pictures::Pictures;
pub use pixel_metric::PixelMetric;
pub use rating::{Rater, RatingTable};
pub use sampler::Sampler;
pub use scenes::Scenes;
pub use set::{BATCH_SIZE, EvalSet, PROMPT_SEED};
pub use texture::{GRID_SIDE, grid, high_frequency, saturation};
pub use true_scenes::TrueScenes;
