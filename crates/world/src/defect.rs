//! Ways to make an image in which no object is an object any more.

use dmdr_image::Image;
use rand::Rng;

use crate::{
    Disturbance, ObjectId, Scene, World,
    random::{Stream, generator},
};

/// A way to spoil an image so that its objects are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Gaussian blur with a standard deviation of a sixth of the smallest sprite's side.
    Blur,
    /// Only the left part of every object is there.
    Half,
    /// The left half is one object, the right half another.
    Chimera,
    /// The mean of one object and another at the same place.
    Mixture,
    /// The pixels of blocks of a fifth of the smallest sprite's side exchanged with their neighbours.
    Shuffle,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Blur,
        Self::Half,
        Self::Chimera,
        Self::Mixture,
        Self::Shuffle,
    ];

    /// A spoilt image of a scene with one object.
    pub(crate) fn spoil(self, world: &World, scene: &Scene, seed: u64) -> Image {
        let rng = &mut generator(Stream::Audit, [seed, 1]);
        let good = world.render(scene);
        let empty = world.render(&Scene {
            items: Vec::new(),
            ..scene.clone()
        });
        let mut other = scene.clone();
        for item in &mut other.items {
            item.object = ObjectId(
                (item.object.0 + rng.random_range(1..world.objects().len()))
                    % world.objects().len(),
            );
        }
        let other = world.render(&other);
        let smallest = world.table().size_limits().0;
        let middle = world.bounds(&scene.items[0]).centre().0 as usize;
        let select = |source: &dyn Fn(usize, usize) -> [f32; 3]| {
            let mut image = good.clone();
            for at in 0..image.width * image.height {
                let (x, y) = (at % image.width, at / image.width);
                image.set_pixel(x, y, source(x, y));
            }
            image
        };
        match self {
            Self::Blur => Disturbance::Blur(smallest as f32 / 6.0).apply(&good, 0),
            Self::Half => select(&|x, y| {
                if x < middle {
                    good.pixel(x, y)
                } else {
                    empty.pixel(x, y)
                }
            }),
            Self::Chimera => select(&|x, y| {
                if x < middle {
                    good.pixel(x, y)
                } else {
                    other.pixel(x, y)
                }
            }),
            Self::Mixture => select(&|x, y| {
                let (a, b) = (good.pixel(x, y), other.pixel(x, y));
                std::array::from_fn(|c| f32::midpoint(a[c], b[c]))
            }),
            Self::Shuffle => {
                let block = smallest / 5;
                let swap = |v: usize, side: usize| {
                    if (v ^ block) < side / block * block {
                        v ^ block
                    } else {
                        v
                    }
                };
                select(&|x, y| good.pixel(swap(x, good.width), swap(y, good.height)))
            }
        }
    }
}
