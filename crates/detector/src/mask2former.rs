//! Mask2Former's raw queries, as its export from transformers gives them, to instances.
//!
//! | | name | shape | numbers |
//! |---|---|---|---|
//! | input | `pixel_values` | `[1, 3, H, W]` | f32, as [`Processor`] prepares it |
//! | input, optional | `pixel_mask` | `[1, H, W]` | i64, 1 everywhere |
//! | output | `class_queries_logits` | `[1, Q, 81]` | f32, COCO's 80 classes and none |
//! | output | `masks_queries_logits` | `[1, Q, h, w]` | f32, above 0 on the object |
//!
//! Queries become instances as in `Mask2FormerImageProcessor.post_process_instance_segmentation` (transformers 5.23):
//! softmax over the classes; the Q greatest of all queries' classes, without the class of none; mask logits at 384 x 384,
//! bilinear; the mask where they are above 0; score = class times mean probability on the mask; the mask at the picture's
//! size by its nearest pixel. Instances without a pixel there are left out. Nothing else is: thresholds are GenEval's.
//!
//! mmdetection, which GenEval's official detector runs in, differs in two points (`instance_postprocess` of
//! maskformer_fusion_head.py): mask logits go to the picture's size before they are cut at 0, and mean probabilities
//! are taken there; its pictures keep their aspect and are padded. Both take a box from its mask: first to last column and
//! row, `mask2bbox`.

use std::path::Path;

use dmdr_image::Image;
use serde_json::{Value, json};

use crate::{
    DetectorError, Object,
    frame::Frame,
    model::{Model, expect, wrong},
    port::{Numbers, Port, find, list},
    processor::Processor,
    resize::{interpolate, nearest},
};

const PICTURE: &str = "pixel_values";
const PICTURE_MASK: &str = "pixel_mask";
const CLASSES: &str = "class_queries_logits";
const MASKS: &str = "masks_queries_logits";
/// COCO's classes and none.
const NUM_LOGITS: usize = 81;
/// Height and width of the masks that are cut at 0, whatever the picture's.
const SIDE: usize = 384;

/// Such a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mask2Former {
    /// Height and width of the input, `None` where the model leaves it open.
    size: [Option<usize>; 2],
    /// Whether it is told which pixels are of the picture.
    has_picture_mask: bool,
    processor: Processor,
}

impl Mask2Former {
    /// That of a model with these inputs and outputs.
    ///
    /// # Errors
    /// What is expected and what was found.
    pub(crate) fn new(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let picture = find(inputs, PICTURE, &[1, 3, -1, -1], &[Numbers::F32])?;
        let known = [PICTURE, PICTURE_MASK];
        if inputs
            .iter()
            .any(|port| !known.contains(&port.name.as_str()))
        {
            return Err(format!(
                "expected the inputs `{PICTURE}` and perhaps `{PICTURE_MASK}`, found {}",
                list(inputs)
            ));
        }
        let has_picture_mask = inputs.len() == 2;
        if has_picture_mask {
            find(inputs, PICTURE_MASK, &[1, -1, -1], &[Numbers::I64])?;
        }
        let classes = [1, -1, NUM_LOGITS as i64];
        find(outputs, CLASSES, &classes, &[Numbers::F32]).map_err(|message| {
            format!("{message}; expected are COCO's 80 classes and none, a model for instances")
        })?;
        find(outputs, MASKS, &[1, -1, -1, -1], &[Numbers::F32])?;
        let size = [2, 3].map(|axis| picture.length(axis));
        Ok(Self {
            size,
            has_picture_mask,
            processor: Processor::default(),
        })
    }

    /// Reads how pictures are prepared, from the folder of `file`, and runs a blank one.
    pub(crate) fn probe(&mut self, file: &Path, model: &mut Model) -> Result<(), DetectorError> {
        self.processor =
            Processor::beside(file, self.size).map_err(|message| DetectorError::Preprocessor {
                path: file.to_owned(),
                message,
            })?;
        self.detect(model, &Image::filled(64, 64, [0.5; 3]))?;
        Ok(())
    }

    /// For the record beside findings.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "interface": "mask2former",
            "score_threshold": 0.0,
            "mask_threshold": 0.5,
            "preprocessor": self.processor.settings(),
        })
    }

    /// All objects, the most confident first.
    pub(crate) fn detect(
        &self,
        model: &mut Model,
        picture: &Image,
    ) -> Result<Vec<Object>, DetectorError> {
        let target = [picture.height, picture.width];
        let frame = Frame::stretched(target, self.processor.input(target));
        let [height, width] = frame.input();
        let pixels = frame.pixels(picture, &self.processor.pixels());
        let mask = self
            .has_picture_mask
            .then(|| (PICTURE_MASK, vec![1; height * width]));
        let answers = model.run(PICTURE, [height, width], pixels, mask)?;
        let (shape, classes) = answers.floats(CLASSES)?;
        let count = classes.len() / NUM_LOGITS;
        expect(CLASSES, shape, &[1, count, NUM_LOGITS])?;
        let (shape, masks) = answers.floats(MASKS)?;
        let size = [2, 3].map(|axis| shape.get(axis).map_or(0, |&length| length as usize));
        expect(MASKS, shape, &[1, count, size[0].max(1), size[1].max(1)])?;
        let queries = Queries {
            classes,
            masks,
            count,
            size,
        };
        queries.instances(target).map_err(wrong)
    }
}

/// What a model says of one picture.
struct Queries<'a> {
    /// `[count, classes + 1]`.
    classes: &'a [f32],
    /// `[count, height, width]`.
    masks: &'a [f32],
    count: usize,
    /// Height and width.
    size: [usize; 2],
}

impl Queries<'_> {
    /// The objects in a picture of `[height, width]`.
    ///
    /// # Errors
    /// A logit that is no number.
    fn instances(&self, target: [usize; 2]) -> Result<Vec<Object>, String> {
        for (name, logits) in [(CLASSES, self.classes), (MASKS, self.masks)] {
            if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
                return Err(format!("`{name}` has the number {logit}"));
            }
        }
        let mut shapes: Vec<Option<Shape>> = (0..self.count).map(|_| None).collect();
        let mut objects = Vec::new();
        for (query, label, probability) in self.best() {
            let shape = shapes[query].get_or_insert_with(|| self.shape(query, target));
            let score = probability * shape.probability;
            if let Some(bounds) = shape.bounds
                && score > 0.0
            {
                objects.push(Object {
                    label,
                    bounds,
                    score: score.min(1.0),
                    mask: Some(shape.mask.clone()),
                });
            }
        }
        objects.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(objects)
    }

    /// The `count` greatest probabilities of a class, with query and class.
    fn best(&self) -> Vec<(usize, usize, f32)> {
        let mut all = Vec::with_capacity(self.classes.len());
        if self.count == 0 {
            return all;
        }
        let rows = self.classes.chunks_exact(self.classes.len() / self.count);
        for (query, row) in rows.enumerate() {
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = row.iter().map(|logit| (logit - highest).exp()).sum();
            let objects = row[..row.len() - 1].iter().enumerate();
            all.extend(
                objects.map(|(label, logit)| (query, label, (logit - highest).exp() / total)),
            );
        }
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.truncate(self.count);
        all
    }

    fn shape(&self, query: usize, target: [usize; 2]) -> Shape {
        let area = self.size[0] * self.size[1];
        let logits = &self.masks[query * area..(query + 1) * area];
        let logits = interpolate(logits, self.size, [SIDE, SIDE]);
        let (mut total, mut pixels) = (0.0, 0.0);
        for &logit in logits.iter().filter(|&&logit| logit > 0.0) {
            total += 1.0 / (1.0 + f64::from(-logit).exp());
            pixels += 1.0;
        }
        let columns: Vec<usize> = (0..target[1])
            .map(|at| nearest(at, SIDE, target[1]))
            .collect();
        let mut mask = Vec::with_capacity(target[0] * target[1]);
        for at in 0..target[0] {
            let row = &logits[nearest(at, SIDE, target[0]) * SIDE..][..SIDE];
            mask.extend(columns.iter().map(|&column| row[column] > 0.0));
        }
        Shape {
            probability: (total / (pixels + 1e-6)) as f32,
            bounds: bounds(&mask, target[1]),
            mask,
        }
    }
}

/// A query's mask in a picture.
struct Shape {
    /// The mean on its pixels.
    probability: f32,
    bounds: Option<[f32; 4]>,
    mask: Vec<bool>,
}

/// The box of a mask with rows of `width` pixels, if it has any pixel.
fn bounds(mask: &[bool], width: usize) -> Option<[f32; 4]> {
    let mut found: Option<[usize; 4]> = None;
    for (place, _) in mask.iter().enumerate().filter(|&(_, &inside)| inside) {
        let (x, y) = (place % width, place / width);
        let [left, top, right, bottom] = found.unwrap_or([x, y, x, y]);
        found = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }
    found.map(|[left, top, right, bottom]| [left, top, right + 1, bottom + 1].map(|at| at as f32))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::port::tests::port;

    /// What transformers makes of random queries: `tools/peer/detector.py --fixtures` writes it.
    #[derive(Deserialize)]
    struct Fixture {
        size: [usize; 2],
        classes: Vec<Vec<f32>>,
        masks: Vec<Vec<f32>>,
        pictures: Vec<Expected>,
    }

    #[derive(Deserialize)]
    struct Expected {
        size: [usize; 2],
        instances: Vec<Instance>,
    }

    #[derive(Deserialize)]
    struct Instance {
        label: usize,
        score: f32,
        #[serde(rename = "box")]
        bounds: [f32; 4],
        /// Lengths of runs, outside first, row by row.
        runs: Vec<usize>,
    }

    fn runs(mask: &[bool]) -> Vec<usize> {
        let (mut all, mut inside) = (vec![0], false);
        for &pixel in mask {
            if pixel != inside {
                all.push(0);
                inside = pixel;
            }
            *all.last_mut().expect("one at least") += 1;
        }
        all
    }

    #[test]
    fn instances_are_those_of_transformers() {
        let text = include_str!("../tests/fixtures/queries.json");
        let fixture: Fixture = serde_json::from_str(text).expect("valid");
        let [classes, masks] = [&fixture.classes, &fixture.masks].map(|rows| rows.concat());
        let queries = Queries {
            classes: &classes,
            masks: &masks,
            count: fixture.classes.len(),
            size: fixture.size,
        };
        assert!(fixture.pictures.len() >= 3);
        for picture in fixture.pictures {
            let found = queries.instances(picture.size).expect("numbers");
            assert_eq!(found.len(), picture.instances.len(), "{:?}", picture.size);
            for (one, expected) in found.iter().zip(&picture.instances) {
                assert_eq!(one.label, expected.label);
                assert!((one.score - expected.score).abs() < 2e-6, "{}", one.score);
                assert_eq!(one.bounds.to_vec(), expected.bounds);
                assert_eq!(runs(one.mask.as_ref().expect("a mask")), expected.runs);
            }
        }
    }

    #[test]
    fn nothing_and_no_numbers() {
        let empty = Queries {
            classes: &[],
            masks: &[],
            count: 0,
            size: [1, 1],
        };
        assert_eq!(empty.instances([4, 4]), Ok(Vec::new()));
        for (classes, masks, name) in [
            ([0.0, f32::NAN], [1.0; 4], CLASSES),
            ([0.0; 2], [1.0, f32::INFINITY, 1.0, 1.0], MASKS),
        ] {
            let broken = Queries {
                classes: &classes,
                masks: &masks,
                count: 1,
                size: [2, 2],
            };
            let error = broken.instances([4, 4]).expect_err(name);
            assert!(error.contains(name), "{error}");
        }
        // One query whose mask has no pixel.
        let unseen = Queries {
            classes: &[9.0, 0.0],
            masks: &[-1.0; 4],
            count: 1,
            size: [2, 2],
        };
        assert_eq!(unseen.instances([4, 4]), Ok(Vec::new()));
    }

    #[test]
    fn other_ports_are_refused_with_both_sides() {
        let picture = port(PICTURE, Numbers::F32, &[1, 3, 384, 384]);
        let outputs = |logits| {
            [
                port(CLASSES, Numbers::F32, &[1, 100, logits]),
                port(MASKS, Numbers::F32, &[1, 100, 96, 96]),
            ]
        };
        let new = |inputs: &[Port], logits| Mask2Former::new(inputs, &outputs(logits));
        let fits = new(std::slice::from_ref(&picture), 81).expect("fits");
        assert_eq!((fits.size, fits.has_picture_mask), ([Some(384); 2], false));
        let with = |name, numbers| [picture.clone(), port(name, numbers, &[1, 384, 384])];
        assert!(
            new(&with(PICTURE_MASK, Numbers::I64), 81)
                .expect("fits")
                .has_picture_mask
        );
        let error = new(std::slice::from_ref(&picture), 134).expect_err("panoptic");
        assert!(
            error.contains("[1, ?, 81]")
                && error.contains("[1, 100, 134]")
                && error.contains("instances"),
            "{error}"
        );
        let error = new(&with("task_inputs", Numbers::I64), 81).expect_err("OneFormer");
        assert!(
            error.contains("found `pixel_values` [1, 3, 384, 384] of f32, `task_inputs`"),
            "{error}"
        );
        let error = new(&with(PICTURE_MASK, Numbers::F32), 81).expect_err("f32");
        assert!(error.contains("`pixel_mask` [1, ?, ?] of i64"), "{error}");
    }
}
