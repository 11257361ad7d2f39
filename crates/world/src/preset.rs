//! The two worlds as data: objects with their drawings, colours, canvas and sizes.
//!
//! Objects are the classes of GenEval (the 80 of COCO, in its spelling) that have an emoji; colours are GenEval's ten.
//! Art: Twemoji, CC-BY 4.0.

use dmdr_config::WorldPreset;
use twemoji_assets::svg::{SvgTwemojiAsset, codes};

/// Name and drawing of an object.
#[derive(Debug)]
pub(crate) struct ObjectEntry {
    pub(crate) name: &'static str,
    pub(crate) drawing: &'static SvgTwemojiAsset,
}

/// Name of a colour and the middle of its ramp.
#[derive(Debug)]
pub(crate) struct ColorEntry {
    pub(crate) name: &'static str,
    pub(crate) rgb: [f32; 3],
}

/// A range of background colours: a grey between two levels, each channel moved by at most `spread`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackgroundRange {
    pub(crate) darkest: f32,
    pub(crate) lightest: f32,
    pub(crate) spread: f32,
}

/// Everything that distinguishes one preset from another.
#[derive(Debug)]
pub(crate) struct PresetTable {
    /// Side of the square image of dense scenes in pixels.
    pub(crate) dense_canvas: usize,
    /// Names into [`OBJECTS`].
    pub(crate) objects: &'static [&'static str],
    /// Names into [`COLORS`].
    pub(crate) colors: &'static [&'static str],
    /// Smallest and largest longest side of a sprite in pixels, by the number of sprites of the scene (1, 2, 3, 4 or more).
    pub(crate) sizes: [(usize, usize); 4],
    pub(crate) background: BackgroundRange,
}

impl PresetTable {
    /// Smallest and largest sprite of a scene with `items` sprites.
    pub(crate) fn sizes_for(&self, items: usize) -> (usize, usize) {
        self.sizes[items.clamp(1, self.sizes.len()) - 1]
    }

    /// Smallest and largest sprite of any scene.
    pub(crate) fn size_limits(&self) -> (usize, usize) {
        let smallest = self.sizes.iter().map(|range| range.0).min().unwrap_or(1);
        let largest = self.sizes.iter().map(|range| range.1).max().unwrap_or(1);
        (smallest, largest)
    }
}

/// What `preset` is made of.
pub(crate) fn table(preset: WorldPreset) -> &'static PresetTable {
    match preset {
        WorldPreset::Mini => &MINI,
        WorldPreset::Geneval => &GENEVAL,
    }
}

static MINI: PresetTable = PresetTable {
    dense_canvas: 48,
    objects: &[
        "airplane", "apple", "banana", "bird", "boat", "car", "cat", "chair", "clock", "elephant",
        "pizza", "umbrella",
    ],
    colors: &["red", "orange", "yellow", "green", "blue", "purple"],
    sizes: [(12, 14), (12, 14), (12, 13), (12, 12)],
    background: BackgroundRange {
        darkest: 0.10,
        lightest: 0.24,
        spread: 0.05,
    },
};

static GENEVAL: PresetTable = PresetTable {
    dense_canvas: 96,
    objects: &[
        "person",
        "bicycle",
        "car",
        "motorcycle",
        "airplane",
        "bus",
        "train",
        "truck",
        "boat",
        "traffic light",
        "stop sign",
        "bird",
        "cat",
        "dog",
        "horse",
        "sheep",
        "cow",
        "elephant",
        "bear",
        "zebra",
        "giraffe",
        "backpack",
        "umbrella",
        "handbag",
        "tie",
        "suitcase",
        "frisbee",
        "skis",
        "sports ball",
        "kite",
        "skateboard",
        "bottle",
        "wine glass",
        "cup",
        "knife",
        "spoon",
        "bowl",
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
        "chair",
        "couch",
        "potted plant",
        "bed",
        "toilet",
        "tv",
        "laptop",
        "computer mouse",
        "computer keyboard",
        "cell phone",
        "book",
        "clock",
        "vase",
        "scissors",
        "teddy bear",
        "toothbrush",
    ],
    colors: &[
        "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
    ],
    sizes: [(22, 28), (22, 28), (22, 26), (22, 26)],
    background: BackgroundRange {
        darkest: 0.31,
        lightest: 0.35,
        spread: 0.02,
    },
};

/// GenEval's ten colours.
pub(crate) static COLORS: &[ColorEntry] = &[
    ColorEntry {
        name: "red",
        rgb: [0.90, 0.13, 0.16],
    },
    ColorEntry {
        name: "orange",
        rgb: [0.98, 0.52, 0.06],
    },
    ColorEntry {
        name: "yellow",
        rgb: [0.98, 0.85, 0.15],
    },
    ColorEntry {
        name: "green",
        rgb: [0.18, 0.70, 0.24],
    },
    ColorEntry {
        name: "blue",
        rgb: [0.16, 0.45, 0.95],
    },
    ColorEntry {
        name: "purple",
        rgb: [0.62, 0.24, 0.85],
    },
    ColorEntry {
        name: "pink",
        rgb: [1.00, 0.52, 0.76],
    },
    ColorEntry {
        name: "brown",
        rgb: [0.48, 0.27, 0.13],
    },
    ColorEntry {
        name: "black",
        rgb: [0.10, 0.10, 0.11],
    },
    ColorEntry {
        name: "white",
        rgb: [0.94, 0.94, 0.95],
    },
];

macro_rules! objects {
    ($($name:literal $code:ident),* $(,)?) => {
        /// GenEval's classes that have an emoji.
        pub(crate) static OBJECTS: &[ObjectEntry] =
            &[$(ObjectEntry { name: $name, drawing: &codes::$code }),*];
    };
}

objects! {
    "person" U_1F9CD, "bicycle" U_1F6B2, "car" U_1F697, "motorcycle" U_1F3CD, "airplane" U_2708, "bus" U_1F68C,
    "train" U_1F686, "truck" U_1F69A, "boat" U_26F5, "traffic light" U_1F6A6, "stop sign" U_1F6D1, "bird" U_1F426,
    "cat" U_1F408, "dog" U_1F415, "horse" U_1F40E, "sheep" U_1F411, "cow" U_1F404, "elephant" U_1F418, "bear" U_1F43B,
    "zebra" U_1F993, "giraffe" U_1F992, "backpack" U_1F392, "umbrella" U_2602, "handbag" U_1F45C, "tie" U_1F454,
    "suitcase" U_1F9F3, "frisbee" U_1F94F, "skis" U_1F3BF, "sports ball" U_26BD, "kite" U_1FA81,
    "skateboard" U_1F6F9, "bottle" U_1F37E, "wine glass" U_1F377, "cup" U_2615, "knife" U_1F52A, "spoon" U_1F944,
    "bowl" U_1F963, "banana" U_1F34C, "apple" U_1F34E, "sandwich" U_1F96A, "orange" U_1F34A, "broccoli" U_1F966,
    "carrot" U_1F955, "hot dog" U_1F32D, "pizza" U_1F355, "donut" U_1F369, "cake" U_1F370, "chair" U_1FA91,
    "couch" U_1F6CB, "potted plant" U_1FAB4, "bed" U_1F6CF, "toilet" U_1F6BD, "tv" U_1F4FA, "laptop" U_1F4BB,
    "computer mouse" U_1F5B1, "computer keyboard" U_2328, "cell phone" U_1F4F1, "book" U_1F4D5, "clock" U_23F0,
    "vase" U_1F3FA, "scissors" U_2702, "teddy bear" U_1F9F8, "toothbrush" U_1FAA5,
}

/// The table entry of a name.
///
/// # Panics
/// When a preset lists a name that no table has.
pub(crate) fn object_entry(name: &str) -> &'static ObjectEntry {
    OBJECTS
        .iter()
        .find(|entry| entry.name == name)
        .expect("presets list known objects")
}

/// The table entry of a colour.
///
/// # Panics
/// When a preset lists a colour that no table has.
pub(crate) fn color_entry(name: &str) -> &'static ColorEntry {
    COLORS
        .iter()
        .find(|entry| entry.name == name)
        .expect("presets list known colours")
}
