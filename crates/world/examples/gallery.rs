//! Writes three pictures, enlarged: every object in its own colours and every tint, scenes of every kind, dense scenes
//! (their captions go to standard output).
//!
//! `cargo run --release -p dmdr-world --example gallery -- OUT_DIR [mini|geneval]`

use std::path::PathBuf;

use dmdr_config::WorldPreset;
use dmdr_image::Image;
use dmdr_world::{ColorId, Item, ObjectId, Scene, Split, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));
    let (preset, size, factor) = match arguments.next().as_deref() {
        Some("geneval") => (WorldPreset::Geneval, 26, 3),
        _ => (WorldPreset::Mini, 13, 8),
    };
    let world = World::new(preset)?;
    sheet(&world, size)
        .enlarge(factor)
        .to_png(&folder.join("objects.png"))?;
    scenes(&world)
        .enlarge(factor.div_ceil(2))
        .to_png(&folder.join("scenes.png"))?;
    dense(&world)
        .enlarge(factor.div_ceil(2))
        .to_png(&folder.join("dense.png"))?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the captions belong to the picture")]
fn dense(world: &World) -> Image {
    let cell = |index| {
        let prompt = world.dense_prompt(Split::Train, 1, index);
        println!("{index}: {}", prompt.caption);
        world.render(&world.dense_scene(&prompt, index))
    };
    Image::grid(&(0..12).map(cell).collect::<Vec<_>>(), 4)
}

/// One row per object: natural, then every tint.
fn sheet(world: &World, size: usize) -> Image {
    let mut cells = Vec::new();
    let prompt = world.prompt(Split::Train, 0, 0);
    for object in 0..world.objects().len() {
        for color in
            std::iter::once(None).chain((0..world.colors().len()).map(|color| Some(ColorId(color))))
        {
            let background = world.scene(&prompt, cells.len() as u64).background;
            let items = vec![Item {
                object: ObjectId(object),
                color,
                x: 1,
                y: 1,
                size,
            }];
            cells.push(world.render(&Scene {
                canvas: size + 2,
                background,
                items,
            }));
        }
    }
    Image::grid(&cells, world.colors().len() + 1)
}

/// Eight rows of six scenes, one column per kind.
fn scenes(world: &World) -> Image {
    let cells: Vec<Image> = (0..48)
        .map(|index| world.render(&world.scene(&world.prompt(Split::Train, 1, index), index)))
        .collect();
    Image::grid(&cells, 6)
}
