//! How transformers prepares pictures for Mask2Former, from the `preprocessor_config.json` beside the model.
//!
//! Read are `size` (`height` and `width`, or `shortest_edge` and `longest_edge`; a number with `max_size` in old files),
//! `size_divisor`, `resample`, `rescale_factor`, `image_mean`, `image_std`, and the `do_` of each. What changes the input
//! and is not built (another `resample`, `pad_size`) is refused. Without the file `Mask2FormerImageProcessor`'s own values
//! hold (transformers 5.23), or the model's size if that is fixed. The published models' files say 384 x 384.

use std::{fmt, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::Pixels;

const FILE: &str = "preprocessor_config.json";
/// PIL's number of the bilinear filter.
const BILINEAR: i64 = 2;

/// What happens to a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Processor {
    size: Size,
    /// Sides are multiples of it.
    divisor: usize,
    /// Of red, green and blue, in `[0, 255]`.
    mean: [f32; 3],
    deviation: [f32; 3],
}

/// Its size before it becomes a multiple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Size {
    /// The picture's own.
    Kept,
    /// Height and width.
    Fixed([usize; 2]),
    /// The shorter side, where the longer one allows it, with the picture's aspect.
    Edges { shortest: usize, longest: usize },
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("the picture's own"),
            Self::Fixed([height, width]) => write!(f, "{height} x {width}"),
            Self::Edges { shortest, longest } => {
                write!(
                    f,
                    "a shorter side of {shortest} and a longer one of at most {longest}"
                )
            }
        }
    }
}

/// What is read of the file.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: bool,
    size: Value,
    max_size: Option<usize>,
    #[serde(alias = "size_divisibility")]
    size_divisor: usize,
    resample: i64,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: Channels,
    image_std: Channels,
    pad_size: Option<Value>,
}

/// One number for all channels, or one each.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Channels {
    One(f64),
    Each([f64; 3]),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image_processor_type: None,
            feature_extractor_type: None,
            do_resize: true,
            size: Value::Null,
            max_size: None,
            size_divisor: 32,
            resample: BILINEAR,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: Channels::Each([0.485, 0.456, 0.406]),
            image_std: Channels::Each([0.229, 0.224, 0.225]),
            pad_size: None,
        }
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self::new(&Config::default()).expect("transformers' own values")
    }
}

impl Processor {
    /// That of the ONNX file `model`, whose input has the height and width `input`, `None` where they are open.
    ///
    /// # Errors
    /// The file, its key, what was expected and found.
    pub(crate) fn beside(model: &Path, input: [Option<usize>; 2]) -> Result<Self, String> {
        let path = model.with_file_name(FILE);
        let in_file = |message: String| format!("`{}`: {message}", path.display());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::without_file(input);
            }
            Err(error) => return Err(in_file(error.to_string())),
        };
        let processor = Config::parse(&text).and_then(|config| Self::new(&config));
        let processor = processor.map_err(in_file)?;
        processor.check(input).map_err(in_file)?;
        Ok(processor)
    }

    fn without_file(input: [Option<usize>; 2]) -> Result<Self, String> {
        let processor = Self::default();
        if let [Some(height), Some(width)] = input {
            return Ok(Self {
                size: Size::Fixed([height, width]),
                divisor: 1,
                ..processor
            });
        }
        processor
            .check(input)
            .map_err(|message| format!("{message}; put `{FILE}` beside the model"))?;
        Ok(processor)
    }

    fn new(config: &Config) -> Result<Self, String> {
        let types = [&config.image_processor_type, &config.feature_extractor_type];
        for name in types.into_iter().flatten() {
            if !["Mask2Former", "MaskFormer"]
                .iter()
                .any(|known| name.starts_with(known))
            {
                return Err(format!(
                    "expected `Mask2FormerImageProcessor`, found `{name}`"
                ));
            }
        }
        if config.do_resize && config.resample != BILINEAR {
            return Err(format!(
                "`resample`: expected {BILINEAR} (bilinear), found {}",
                config.resample
            ));
        }
        if let Some(size) = &config.pad_size {
            return Err(format!("`pad_size`: expected none, found {size}"));
        }
        let unit = if config.do_rescale {
            config.rescale_factor
        } else {
            1.0
        };
        let [mean, deviation] = if config.do_normalize {
            [config.image_mean, config.image_std].map(Channels::each)
        } else {
            [[0.0; 3], [1.0; 3]]
        };
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if !positive(&unit) || !deviation.iter().all(positive) {
            return Err(format!(
                "`rescale_factor` and `image_std`: expected numbers above 0, found {unit} and {deviation:?}"
            ));
        }
        Ok(Self {
            size: if config.do_resize {
                config.size()?
            } else {
                Size::Kept
            },
            divisor: if config.do_resize {
                config.size_divisor.max(1)
            } else {
                1
            },
            mean: mean.map(|value| (value / unit) as f32),
            deviation: deviation.map(|value| (value / unit) as f32),
        })
    }

    /// A fixed input must be what all pictures become.
    fn check(&self, input: [Option<usize>; 2]) -> Result<(), String> {
        let fixed = match self.size {
            Size::Fixed(size) => Some(self.multiple(size)),
            _ => None,
        };
        let fits = |axis: usize| {
            input[axis].is_none_or(|side| fixed.is_some_and(|size| size[axis] == side))
        };
        if fits(0) && fits(1) {
            return Ok(());
        }
        let [height, width] =
            input.map(|side| side.map_or("?".to_owned(), |side| side.to_string()));
        Err(format!(
            "`size`: expected `height` {height} and `width` {width}, the model's input, found {} in multiples of {}; export \
             the model for that size, or write its size there",
            self.size, self.divisor
        ))
    }

    fn multiple(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|side| side.max(1).next_multiple_of(self.divisor))
    }

    /// `[height, width]` of the input for a picture `[height, width]`.
    pub(crate) fn input(&self, picture: [usize; 2]) -> [usize; 2] {
        self.multiple(match self.size {
            Size::Kept => picture,
            Size::Fixed(size) => size,
            Size::Edges { shortest, longest } => with_aspect(picture, shortest, longest),
        })
    }

    /// For the record beside findings.
    pub(crate) fn settings(&self) -> Value {
        // Through text, where 123.675 stays what it is in f32.
        let text = serde_json::to_string(self).expect("numbers and names");
        serde_json::from_str(&text).expect("just written")
    }

    /// Its numbers.
    pub(crate) fn pixels(&self) -> Pixels {
        Pixels {
            is_filtered: true,
            channels: [0, 1, 2],
            mean: self.mean,
            deviation: self.deviation,
            padding: 0.0,
        }
    }
}

impl Config {
    fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| error.to_string())?;
        // A list would be read as the keys' values in order.
        if !value.is_object() {
            return Err("expected an object of keys and values".to_owned());
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn size(&self) -> Result<Size, String> {
        if self.size.is_null() {
            return Ok(Size::Edges {
                shortest: 800,
                longest: 1333,
            });
        }
        let side = |key: &str| {
            self.size
                .get(key)
                .and_then(Value::as_u64)
                .filter(|&it| it > 0)
        };
        let known = match (
            side("height"),
            side("width"),
            side("shortest_edge"),
            side("longest_edge"),
        ) {
            (Some(height), Some(width), None, None) => {
                Some(Size::Fixed([height as usize, width as usize]))
            }
            (None, None, Some(shortest), Some(longest)) => Some(Size::Edges {
                shortest: shortest as usize,
                longest: longest as usize,
            }),
            _ => match (self.size.as_u64(), self.max_size) {
                (Some(shortest @ 1..), Some(longest @ 1..)) => Some(Size::Edges {
                    shortest: shortest as usize,
                    longest,
                }),
                _ => None,
            },
        };
        known.ok_or_else(|| {
            format!(
                "`size`: expected `height` and `width`, or `shortest_edge` and `longest_edge`, found {}",
                self.size
            )
        })
    }
}

impl Channels {
    fn each(self) -> [f64; 3] {
        match self {
            Self::One(value) => [value; 3],
            Self::Each(values) => values,
        }
    }
}

/// transformers' `get_size_with_aspect_ratio`.
fn with_aspect(picture: [usize; 2], shortest: usize, longest: usize) -> [usize; 2] {
    let [height, width] = picture.map(|side| side as f64);
    let (short, long) = (height.min(width), height.max(width));
    let mut side = shortest as f64;
    let (mut wanted, longest) = (side, longest as f64);
    if long / short * side > longest {
        wanted = longest * short / long;
        side = wanted.round_ties_even();
    }
    let is_kept = picture[0].min(picture[1]) == side as usize;
    let other = if is_kept { long } else { wanted * long / short };
    if height <= width {
        [side as usize, other as usize]
    } else {
        [other as usize, side as usize]
    }
}

#[cfg(test)]
mod tests {
    use dmdr_image::Image;

    use super::*;
    use crate::frame::Frame;

    fn config(text: &str) -> Result<Processor, String> {
        Processor::new(&Config::parse(text)?)
    }

    #[test]
    fn published_and_old_files_are_read() {
        let published = config(
            r#"{"_max_size": 1333, "do_normalize": true, "do_rescale": true, "do_resize": true, "ignore_index": 255,
            "image_mean": [0.48500001430511475, 0.4560000002384186, 0.4059999883174896],
            "image_processor_type": "Mask2FormerImageProcessor", "num_labels": 80, "resample": 2,
            "image_std": [0.2290000021457672, 0.2239999920129776, 0.22499999403953552],
            "rescale_factor": 0.00392156862745098, "size": {"height": 384, "width": 384}, "size_divisor": 32}"#,
        );
        let published = published.expect("fits");
        assert_eq!(published.input([100, 333]), [384, 384]);
        assert!((published.mean[0] - 123.675).abs() < 1e-3);
        assert!((published.deviation[2] - 57.375).abs() < 1e-3);
        let old = config(
            r#"{"feature_extractor_type": "MaskFormerFeatureExtractor", "max_size": 1333, "size": 800, "size_divisibility": 32}"#,
        );
        assert_eq!(old, Ok(Processor::default()));
        let kept =
            config(r#"{"do_resize": false, "do_normalize": false, "resample": 3}"#).expect("fits");
        assert_eq!(kept.input([5, 7]), [5, 7]);
        assert!((kept.deviation[0] - 255.0).abs() < 1e-3);
        assert_eq!(config("\u{feff}{\"size\": null}"), Ok(Processor::default()));
        let one = config(r#"{"image_mean": 0.5, "image_std": 0.5}"#).expect("fits");
        assert_eq!((one.mean, one.deviation), ([127.5; 3], [127.5; 3]));
    }

    #[test]
    fn sizes_are_those_of_transformers() {
        // get_size_with_aspect_ratio((h, w), 800, 1333), then multiples of 32.
        for (picture, size, input) in [
            ([512, 512], [800, 800], [800, 800]),
            ([480, 640], [800, 1066], [800, 1088]),
            ([1000, 333], [1333, 444], [1344, 448]),
            ([333, 1000], [444, 1333], [448, 1344]),
            ([800, 1200], [800, 1200], [800, 1216]),
            ([427, 640], [800, 1199], [800, 1216]),
            ([1, 1], [800, 800], [800, 800]),
        ] {
            assert_eq!(with_aspect(picture, 800, 1333), size, "{picture:?}");
            assert_eq!(Processor::default().input(picture), input, "{picture:?}");
        }
        // Transformers has no pixel left of such a strip.
        assert_eq!(Processor::default().input([1, 4000]), [32, 1344]);
    }

    #[test]
    fn what_is_not_built_is_refused() {
        for (text, expected) in [
            (
                r#"{"resample": 3}"#,
                "`resample`: expected 2 (bilinear), found 3",
            ),
            (r#"{"pad_size": {"height": 9, "width": 9}}"#, "`pad_size`"),
            (
                r#"{"size": {"shortest_edge": 800}}"#,
                "found {\"shortest_edge\":800}",
            ),
            (
                r#"{"size": {"height": 0, "width": 384}}"#,
                "`size`: expected",
            ),
            (r#"{"rescale_factor": 0}"#, "above 0, found 0"),
            (
                r#"{"image_processor_type": "DetrImageProcessor"}"#,
                "found `DetrImageProcessor`",
            ),
        ] {
            let error = config(text).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_fixed_input_and_the_file_agree() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let model = folder.path().join("model.onnx");
        let fixed = [Some(384), Some(512)];
        let size = Processor::beside(&model, fixed).map(|it| it.input([9, 9]));
        assert_eq!(size, Ok([384, 512]), "the model's own");
        assert_eq!(
            Processor::beside(&model, [None; 2]),
            Ok(Processor::default())
        );
        let error = Processor::beside(&model, [Some(384), None]).expect_err("half");
        assert!(
            error.contains("put `preprocessor_config.json` beside"),
            "{error}"
        );
        let write = |text| fs::write(folder.path().join(FILE), text).expect("writable");
        write(r#"{"size": {"height": 384, "width": 500}}"#);
        assert!(Processor::beside(&model, fixed).is_ok(), "500 becomes 512");
        write(r#"{"size": {"height": 384, "width": 384}}"#);
        let error = Processor::beside(&model, fixed).expect_err("another size");
        assert!(
            error.contains(
                "preprocessor_config.json`: `size`: expected `height` 384 and `width` 512"
            ),
            "{error}"
        );
        write("{}");
        let error = Processor::beside(&model, fixed).expect_err("edges");
        assert!(error.contains("a shorter side of 800"), "{error}");
        write("no JSON");
        let error = Processor::beside(&model, fixed).expect_err("text");
        assert!(error.contains("line 1"), "{error}");
    }

    /// A picture and what `Mask2FormerImageProcessor` makes of it: `tools/peer/detector.py --fixtures` writes it.
    #[derive(Deserialize)]
    struct Fixture {
        /// Height and width.
        size: [usize; 2],
        /// `[height, width, 3]`.
        picture: Vec<u8>,
        inputs: Vec<Input>,
    }

    #[derive(Deserialize)]
    struct Input {
        config: Config,
        size: [usize; 2],
        /// `[3, height, width]`.
        pixels: Vec<f32>,
    }

    #[test]
    fn pixels_are_those_of_transformers() {
        let text = include_str!("../tests/fixtures/pixels.json");
        let fixture: Fixture = serde_json::from_str(text).expect("valid");
        let [height, width] = fixture.size;
        let picture = Image::from_rgb8(width, height, &fixture.picture).expect("fits");
        assert!(fixture.inputs.len() >= 3);
        for input in fixture.inputs {
            let processor = Processor::new(&input.config).expect("fits");
            assert_eq!(processor.input(fixture.size), input.size);
            let frame = Frame::stretched(fixture.size, input.size);
            let found = frame.pixels(&picture, &processor.pixels());
            let step = 1.0 / processor.deviation[0];
            let all = found.iter().zip(&input.pixels).map(|(a, b)| (a - b).abs());
            let apart = all.clone().filter(|&difference| difference > 2e-4).count();
            let widest = all.fold(0.0, f32::max);
            assert_eq!(found.len(), input.pixels.len());
            // torchvision's whole numbers round a few the other way than PIL's.
            assert!(
                widest < 1.1 * step && apart <= found.len() / 40,
                "{widest}, {apart} apart"
            );
        }
    }
}
