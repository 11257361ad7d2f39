//! mmdeploy's end-to-end exports of mmdetection's detectors: a prepared picture to finished objects.
//!
//! | | name | shape | numbers |
//! |---|---|---|---|
//! | input | `input` | `[1, 3, H, W]` | f32, RGB, less 123.675, 116.28, 103.53, over 58.395, 57.12, 57.375 |
//! | output | `dets` | `[1, N, 5]` | f32, left, top, right, bottom in pixels of the input, confidence in `[0, 1]` |
//! | output | `labels` | `[1, N]` | i64 or i32, classes from 0; below 0 is no object |
//! | output, optional | `masks` | `[1, N, H, W]` | bool, u8, or f32 whose objects are at least 0.5 |

use dmdr_image::Image;
use serde_json::{Value, json};

use crate::{
    DetectorError, Object,
    frame::{Frame, Pixels},
    model::{Model, expect, wrong},
    port::{Numbers, Port, find, list},
};

/// What may differ between such models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndToEnd {
    /// Height and width of the input, `None` where the model leaves it open.
    size: [Option<usize>; 2],
    /// Numbers of `labels`.
    labels: Numbers,
    /// Numbers of `masks`, if there are any.
    masks: Option<Numbers>,
}

impl EndToEnd {
    /// That of a model with these inputs and outputs.
    ///
    /// # Errors
    /// What is expected and what was found.
    pub(crate) fn new(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let [input] = inputs else {
            return Err(format!(
                "expected one input, `input` [1, 3, H, W] of f32, found {}",
                list(inputs)
            ));
        };
        let input = find(
            std::slice::from_ref(input),
            "input",
            &[1, 3, -1, -1],
            &[Numbers::F32],
        )?;
        find(outputs, "dets", &[1, -1, 5], &[Numbers::F32])?;
        let labels = find(outputs, "labels", &[1, -1], &[Numbers::I64, Numbers::I32])?;
        let masks = if outputs.iter().any(|port| port.name == "masks") {
            let numbers = [Numbers::Bool, Numbers::U8, Numbers::F32];
            let masks = find(outputs, "masks", &[1, -1, -1, -1], &numbers)?;
            // The other side may be left open.
            for axis in [2, 3] {
                let (side, of_input) = (masks.shape[axis], input.shape[axis]);
                if side > 0 && of_input > 0 && side != of_input {
                    return Err(format!(
                        "expected `masks` as large as the input, {}, found {}; mmdeploy pastes them with `export_postprocess_mask = True`",
                        input.describe(),
                        masks.describe()
                    ));
                }
            }
            Some(masks.numbers.clone())
        } else {
            None
        };
        let size = [2, 3].map(|axis| input.length(axis));
        Ok(Self {
            size,
            labels: labels.numbers.clone(),
            masks,
        })
    }

    /// For the record beside findings.
    pub(crate) fn settings(&self) -> Value {
        json!({ "interface": "mmdeploy", "masks": self.masks.is_some() })
    }

    /// All objects above confidence 0, in the model's order.
    pub(crate) fn detect(
        &self,
        model: &mut Model,
        picture: &Image,
    ) -> Result<Vec<Object>, DetectorError> {
        let frame = Frame::new([picture.height, picture.width], self.size);
        let [height, width] = frame.input();
        let pixels = frame.pixels(picture, &Pixels::MMDETECTION);
        let answers = model.run("input", [height, width], pixels, None)?;
        let (shape, dets) = answers.floats("dets")?;
        let count = dets.len() / 5;
        expect("dets", shape, &[1, count, 5])?;
        let labels = answers.integers("labels", &self.labels, &[1, count])?;
        let masks = match &self.masks {
            Some(numbers) => Some(answers.masks("masks", numbers, &[1, count, height, width])?),
            None => None,
        };
        let mut objects = Vec::new();
        for (place, (&label, row)) in labels.iter().zip(dets.chunks_exact(5)).enumerate() {
            let &[left, top, right, bottom, score] = row else {
                unreachable!("chunks of five")
            };
            if row.iter().any(|value| !value.is_finite()) || score > 1.0 {
                return Err(wrong(format!("row {place} of `dets` is {row:?}")));
            }
            // Models that always give as many rows fill them up.
            let Ok(label) = usize::try_from(label) else {
                continue;
            };
            if score <= 0.0 {
                continue;
            }
            let Some(bounds) = frame.cut(frame.in_picture([left, top, right, bottom])) else {
                continue;
            };
            let area = height * width;
            let mask = masks.as_ref();
            objects.push(Object {
                label,
                bounds,
                score,
                mask: mask.map(|all| frame.mask(&all[place * area..(place + 1) * area])),
            });
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::port;

    fn input(shape: &[i64]) -> [Port; 1] {
        [port("input", Numbers::F32, shape)]
    }

    fn outputs() -> Vec<Port> {
        vec![
            port("dets", Numbers::F32, &[1, -1, 5]),
            port("labels", Numbers::I64, &[1, 100]),
        ]
    }

    #[test]
    fn open_and_fixed_sizes_with_and_without_masks() {
        let open = EndToEnd::new(&input(&[-1, 3, -1, -1]), &outputs()).expect("fits");
        assert_eq!((open.size, open.masks), ([None, None], None));
        let mut with_masks = outputs();
        with_masks.push(port("masks", Numbers::Bool, &[1, -1, 320, -1]));
        let fixed = EndToEnd::new(&input(&[1, 3, 320, 640]), &with_masks).expect("fits");
        assert_eq!(fixed.size, [Some(320), Some(640)]);
        assert_eq!(fixed.masks, Some(Numbers::Bool));
    }

    #[test]
    fn another_interface_is_told_with_both_sides() {
        let good = input(&[1, 3, -1, -1]);
        let with = |change: &dyn Fn(&mut Vec<Port>)| {
            let mut outputs = outputs();
            change(&mut outputs);
            outputs
        };
        for (inputs, outputs, expected) in [
            (
                Vec::new(),
                outputs(),
                "expected one input, `input` [1, 3, H, W] of f32, found none",
            ),
            (
                input(&[2, 3, -1, -1]).to_vec(),
                outputs(),
                "expected `input` [1, 3, ?, ?] of f32, found `input` [2, 3, ?, ?] of f32",
            ),
            (
                good.to_vec(),
                with(&|all| all[0].name = "boxes".to_owned()),
                "expected `dets` [1, ?, 5] of f32, found `boxes` [1, ?, 5] of f32, `labels` [1, 100] of i64",
            ),
            (
                good.to_vec(),
                with(&|all| all[1].numbers = Numbers::F32),
                "expected `labels` [1, ?] of i64 or i32",
            ),
            (
                input(&[1, 3, 320, 320]).to_vec(),
                with(&|all| all.push(port("masks", Numbers::F32, &[1, 100, 28, 28]))),
                "export_postprocess_mask",
            ),
        ] {
            let error = EndToEnd::new(&inputs, &outputs).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
