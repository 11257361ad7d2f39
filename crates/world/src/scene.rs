//! Scenes: what is where, and how they are drawn.

use dmdr_image::Image;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    World,
    geometry::Bounds,
    layout::{Constraint, place},
    preset::BackgroundRange,
    prompt::{Clause, ColorId, ObjectId, Prompt},
    random::{Stream, generator, text_hash},
};

/// Draws of sizes and places before giving up. Far beyond what any prompt needs: a prompt of four takes about ten.
const MAX_ATTEMPTS: usize = 100_000;

/// One sprite of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What is drawn.
    pub object: ObjectId,
    /// In which tint; `None` is the drawing's own colours.
    pub color: Option<ColorId>,
    /// Left edge in pixels.
    pub x: usize,
    /// Top edge in pixels.
    pub y: usize,
    /// Longest side in pixels.
    pub size: usize,
}

/// Sprites on a plain background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// Side of the square image in pixels.
    pub canvas: usize,
    /// Colour of the background, sRGB in `[0, 1]`.
    pub background: [f32; 3],
    /// Sprites in the order of the prompt's clauses. Their boxes do not touch.
    pub items: Vec<Item>,
}

impl World {
    /// A random scene that the prompt describes: a pure function of its arguments.
    ///
    /// # Panics
    /// When the prompt asks for more than the canvas can hold; no prompt of the same world does.
    pub fn scene(&self, prompt: &Prompt, seed: u64) -> Scene {
        let mut rng = generator(
            Stream::Scene,
            [text_hash(Stream::Scene, &prompt.caption), seed],
        );
        let constraints: Vec<Constraint> = prompt
            .relation
            .iter()
            .map(|&relation| Constraint {
                first: 0,
                relation,
                second: 1,
            })
            .collect();
        let num_items = prompt.include.iter().map(|clause| clause.count).sum();
        let sizes = self.table().sizes_for(num_items);
        self.compose(
            self.canvas(),
            sizes,
            &prompt.include,
            &constraints,
            &mut rng,
        )
        .expect("every prompt of a world fits its canvas")
    }

    /// A random scene of these clauses with sprites between the smallest and the largest size; `None` when no room is
    /// found.
    pub(crate) fn compose(
        &self,
        canvas: usize,
        (smallest, largest): (usize, usize),
        include: &[Clause],
        constraints: &[Constraint],
        rng: &mut ChaCha8Rng,
    ) -> Option<Scene> {
        let background = draw_background(self.table().background, rng);
        let clauses: Vec<&Clause> = include
            .iter()
            .flat_map(|clause| std::iter::repeat_n(clause, clause.count))
            .collect();
        for _ in 0..MAX_ATTEMPTS {
            let sizes: Vec<usize> = clauses
                .iter()
                .map(|_| rng.random_range(smallest..=largest))
                .collect();
            let side = |(clause, &size): (&&Clause, &usize)| {
                let sprite = self.sprites(clause.object).of_size(size);
                (sprite.width, sprite.height)
            };
            let sides: Vec<(usize, usize)> = clauses.iter().zip(&sizes).map(side).collect();
            if let Some(places) = place(canvas, &sides, constraints, rng) {
                let item = |((clause, size), (x, y)): ((&&Clause, usize), (usize, usize))| Item {
                    object: clause.object,
                    color: clause.color,
                    x,
                    y,
                    size,
                };
                let items = clauses.iter().zip(sizes).zip(places).map(item).collect();
                return Some(Scene {
                    canvas,
                    background,
                    items,
                });
            }
        }
        None
    }

    /// The box of an item: as long as its size, as wide and high as the drawing.
    ///
    /// # Panics
    /// When the world has no sprite of this size.
    pub fn bounds(&self, item: &Item) -> Bounds {
        let sprite = self.sprites(item.object).of_size(item.size);
        Bounds {
            x: item.x as f32,
            y: item.y as f32,
            width: sprite.width as f32,
            height: sprite.height as f32,
        }
    }

    /// Draws a scene. Parts of items outside the canvas are cut off.
    ///
    /// # Panics
    /// When the world has no sprite of an item's size.
    pub fn render(&self, scene: &Scene) -> Image {
        let mut image = Image::filled(scene.canvas, scene.canvas, scene.background);
        for item in &scene.items {
            let sprite = self.sprites(item.object).of_size(item.size);
            let ramp = item.color.map(|color| self.ramp(color));
            for (at, &alpha) in sprite.alpha.iter().enumerate() {
                let (x, y) = (item.x + at % sprite.width, item.y + at / sprite.width);
                if x < scene.canvas && y < scene.canvas {
                    let (over, under) = (sprite.color(at, ramp), image.pixel(x, y));
                    image.set_pixel(
                        x,
                        y,
                        std::array::from_fn(|c| over[c] + (1.0 - alpha) * under[c]),
                    );
                }
            }
        }
        image
    }
}

fn draw_background(range: BackgroundRange, rng: &mut ChaCha8Rng) -> [f32; 3] {
    let grey = rng.random_range(range.darkest..=range.lightest);
    std::array::from_fn(|_| grey + rng.random_range(-range.spread..=range.spread))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        Kind, Split,
        layout::{BORDER, GAP},
    };
    use dmdr_config::WorldPreset;

    static WORLD: LazyLock<World> =
        LazyLock::new(|| World::new(WorldPreset::Mini).expect("the drawings are valid"));

    fn assert_sound(world: &World, scene: &Scene) {
        let boxes: Vec<Bounds> = scene.items.iter().map(|item| world.bounds(item)).collect();
        let (border, canvas) = (BORDER as f32, scene.canvas as f32);
        for (place, one) in boxes.iter().enumerate() {
            assert!(
                one.x >= border && one.x + one.width + border <= canvas,
                "{one:?}"
            );
            assert!(
                one.y >= border && one.y + one.height + border <= canvas,
                "{one:?}"
            );
            for other in &boxes[place + 1..] {
                assert!(
                    !one.is_nearer_than(other, GAP as f32),
                    "{one:?} touches {other:?}"
                );
            }
        }
        assert!(
            scene
                .background
                .iter()
                .all(|value| (0.0..=1.0).contains(value))
        );
    }

    proptest! {
        #[test]
        fn sprites_keep_their_distance_and_show_the_prompt(seed: u64, index in 0_u64..10_000) {
            let world = &*WORLD;
            let prompt = world.prompt(Split::Train, seed, index);
            let scene = world.scene(&prompt, seed);
            assert_sound(world, &scene);
            for clause in &prompt.include {
                let is_meant = |item: &&Item| (item.object, item.color) == (clause.object, clause.color);
                prop_assert_eq!(scene.items.iter().filter(is_meant).count(), clause.count);
            }
            if let Some(relation) = prompt.relation {
                let (first, second) = (world.bounds(&scene.items[0]), world.bounds(&scene.items[1]));
                prop_assert!(first.is_clearly(relation, &second));
                prop_assert!(!first.is(relation.inverse(), &second));
            }
            prop_assert_eq!(&scene, &world.scene(&prompt, seed));
            let image = world.render(&scene);
            prop_assert!(image.data.iter().all(|value| (0.0..=1.001).contains(value)));
            prop_assert_eq!(image, world.render(&scene));
        }

        #[test]
        fn dense_scenes_are_sound_too(seed: u64, index in 0_u64..10_000) {
            let world = &*WORLD;
            let prompt = world.dense_prompt(Split::Train, seed, index);
            assert_sound(world, &world.dense_scene(&prompt, seed));
        }
    }

    #[test]
    fn every_prompt_of_the_small_world_fits() {
        let world = &*WORLD;
        for kind in Kind::ALL
            .into_iter()
            .filter(|&kind| kind != Kind::ColorAttr)
        {
            for split in [Split::Train, Split::Validation, Split::Test] {
                for prompt in world.prompts(split, kind) {
                    assert_sound(world, &world.scene(&prompt, 0));
                }
            }
        }
    }

    #[test]
    fn the_large_world_fits() {
        let world = World::new(WorldPreset::Geneval).expect("the drawings are valid");
        for index in 0..600 {
            assert_sound(
                &world,
                &world.scene(&world.prompt(Split::Train, 0, index), index),
            );
        }
        for index in 0..60 {
            assert_sound(
                &world,
                &world.dense_scene(&world.dense_prompt(Split::Train, 0, index), index),
            );
        }
    }

    #[test]
    fn seeds_change_the_scene_but_not_the_prompt() {
        let world = &*WORLD;
        let prompt = world.prompt(Split::Train, 0, 3);
        assert_ne!(world.scene(&prompt, 0), world.scene(&prompt, 1));
    }
}
