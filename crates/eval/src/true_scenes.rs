//! True scenes as a sampler: the ceiling of every metric, limits of judge and towers included.

use dmdr_batches::{Prompts, images_to_tensor};
use dmdr_image::Image;
use dmdr_tensor::{Device, Kind, Tensor};
use dmdr_world::World;

use crate::{EvalError, Sampler};

/// Renders a scene that each prompt describes. The noise picks which, so different seeds show different scenes.
#[derive(Debug, Clone)]
pub struct TrueScenes {
    world: World,
}

impl TrueScenes {
    /// Scenes of this world.
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

impl Sampler for TrueScenes {
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError> {
        let first = noise.flatten(1, -1).select(1, 0);
        let first = first.to_device(Device::Cpu).to_kind(Kind::Float);
        let images: Vec<Image> = prompts
            .scenes()
            .prompts
            .iter()
            .enumerate()
            .map(|(index, prompt)| {
                let seed = first.double_value(&[index as i64]).to_bits();
                self.world.render(&self.world.scene(prompt, seed))
            })
            .collect();
        Ok(images_to_tensor(&images, noise.device()))
    }

    fn num_evaluations(&self) -> usize {
        0
    }

    fn guidance(&self) -> f64 {
        1.0
    }

    fn name(&self) -> &'static str {
        "true scenes"
    }
}
