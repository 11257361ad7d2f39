//! Scenes drawn and rendered on the fly: pretraining never runs out of data.

use dmdr_image::Image;
use dmdr_tensor::{Device, Kind, Tensor, mix};
use dmdr_world::World;

use crate::Prompts;

/// Rendered scenes with their prompts.
#[derive(Debug)]
pub struct SceneBatch {
    /// `[B, 3, H, W]` in `[0, 1]`.
    pub images: Tensor,
    /// One prompt an image.
    pub prompts: Prompts,
}

impl SceneBatch {
    /// A scene for each prompt, `[B, 3, H, W]` in `[0, 1]`, on the CPU. The prompts are `rows` of the batch of `iteration`.
    pub fn render(
        world: &World,
        prompts: &Prompts,
        rows: impl IntoIterator<Item = u64>,
        seed: u64,
        iteration: u64,
    ) -> Tensor {
        let prompts = &prompts.scenes().prompts;
        let images: Vec<Image> = prompts
            .iter()
            .zip(rows)
            .map(|(prompt, row)| {
                let seed = mix(&[seed, iteration, row]) as u64;
                world.render(&world.scene(prompt, seed))
            })
            .collect();
        images_to_tensor(&images, Device::Cpu)
    }
}

/// `[B, 3, H, W]` in `[0, 1]` of images of one size.
pub fn images_to_tensor(images: &[Image], device: Device) -> Tensor {
    let (width, height) = (images[0].width, images[0].height);
    let flat: Vec<f32> = images
        .iter()
        .flat_map(|image| image.data.iter().copied())
        .collect();
    Tensor::from_slice(&flat)
        .reshape([images.len() as i64, 3, height as i64, width as i64])
        .to_device(device)
}

/// Images of `[B, 3, H, W]`, clamped to `[0, 1]`.
pub fn images_from_tensor(images: &Tensor) -> Vec<Image> {
    let (b, _, h, w) = images.size4().expect("images are [B, 3, H, W]");
    let images = images
        .detach()
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .clamp(0.0, 1.0);
    (0..b)
        .map(|index| {
            let data = Vec::<f32>::try_from(images.get(index).flatten(0, -1).contiguous())
                .expect("f32 on the CPU");
            Image::from_chw(w as usize, h as usize, data).expect("sized from the tensor")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use dmdr_config::WorldPreset;

    use super::*;
    use crate::PromptStream;

    #[test]
    fn tensors_and_images_agree() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let stream = PromptStream::training(&world, 1);
        let batch = stream.scenes(4, 3, 16, Device::Cpu).expect("fits");
        let images = images_from_tensor(&batch.images);
        assert_eq!(images_to_tensor(&images, Device::Cpu), batch.images);
    }
}
