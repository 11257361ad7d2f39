//! A world: its drawings, colours, words and splits, made once.

use dmdr_config::WorldPreset;

use crate::{
    Tokenizer, WorldError,
    palette::Ramp,
    preset::{self, PresetTable, color_entry, object_entry},
    prompt::{ColorId, ObjectId},
    split::Splits,
    sprite::SpriteSet,
};

/// Pixels by which the judge looks for sprites that are smaller or larger than any of the world's scenes.
pub(crate) const SIZE_MARGIN: usize = 2;

/// An emoji world. Cheap to share: nothing changes after it is made.
#[derive(Debug, Clone)]
pub struct World {
    preset: WorldPreset,
    sprites: Vec<SpriteSet>,
    ramps: Vec<Ramp>,
    splits: Splits,
    tokenizer: Tokenizer,
}

impl World {
    /// Rasterises every object of the preset at every size that its scenes use.
    ///
    /// # Errors
    /// When a drawing is broken.
    pub fn new(preset: WorldPreset) -> Result<Self, WorldError> {
        let table = preset::table(preset);
        let (smallest, largest) = table.size_limits();
        let sizes = smallest - SIZE_MARGIN..=largest + SIZE_MARGIN;
        let draw = |name: &&str| SpriteSet::draw(object_entry(name), sizes.clone());
        Ok(Self {
            preset,
            sprites: table.objects.iter().map(draw).collect::<Result<_, _>>()?,
            ramps: table
                .colors
                .iter()
                .map(|name| Ramp::around(color_entry(name).rgb))
                .collect(),
            splits: Splits::new(table.objects, table.colors),
            tokenizer: Tokenizer::new(table.objects, table.colors),
        })
    }

    /// Which world this is.
    pub fn preset(&self) -> WorldPreset {
        self.preset
    }

    /// Side of the square images in pixels.
    pub fn canvas(&self) -> usize {
        self.preset.canvas()
    }

    /// Names of the objects; an [`ObjectId`] is a place in this list.
    pub fn objects(&self) -> &'static [&'static str] {
        self.table().objects
    }

    /// Names of the colours; a [`ColorId`] is a place in this list.
    pub fn colors(&self) -> &'static [&'static str] {
        self.table().colors
    }

    /// The words of this world.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(crate) fn table(&self) -> &'static PresetTable {
        preset::table(self.preset)
    }

    pub(crate) fn splits(&self) -> &Splits {
        &self.splits
    }

    pub(crate) fn sprites(&self, object: ObjectId) -> &SpriteSet {
        &self.sprites[object.0]
    }

    pub(crate) fn ramp(&self, color: ColorId) -> &Ramp {
        &self.ramps[color.0]
    }
}
