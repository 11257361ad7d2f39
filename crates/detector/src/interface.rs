//! Which of the three interfaces a model has, told by names, shapes and numbers of its inputs and outputs.

use crate::{
    end_to_end::EndToEnd,
    mask2former::Mask2Former,
    port::{Numbers, Port, list, way_out},
    yolox::Yolox,
};

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Interface {
    /// Finished objects, as mmdeploy's end-to-end exports give them.
    EndToEnd(EndToEnd),
    /// Boxes of all cells of YOLOX's three grids.
    Yolox(Yolox),
    /// Mask2Former's queries, as transformers gives them.
    Mask2Former(Mask2Former),
}

impl Interface {
    /// The interface of a model with these inputs and outputs; outputs that are not read do not matter.
    ///
    /// # Errors
    /// What is expected and what was found.
    pub(crate) fn new(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let has = |name: &str| outputs.iter().any(|port| port.name == name);
        if has("dets") || has("labels") {
            EndToEnd::new(inputs, outputs).map(Self::EndToEnd)
        } else if has("class_queries_logits") || has("masks_queries_logits") {
            Mask2Former::new(inputs, outputs).map(Self::Mask2Former)
        } else if let (Some(input), Some(output)) = (only_input(inputs), Yolox::output(outputs)) {
            Yolox::new(input, output).map(Self::Yolox)
        } else {
            Err(unknown(inputs, outputs))
        }
    }
}

/// What the three expect, and what was found.
fn unknown(inputs: &[Port], outputs: &[Port]) -> String {
    format!(
        "expected one of three. \
         mmdeploy, end to end: `input` [1, 3, H, W] of f32; `dets` [1, N, 5] of f32, `labels` [1, N] of i64 or i32. \
         YOLOX: one input [1, 3, H, W] of f32; one output [1, N, 85] of f32 (box, objectness, COCO's 80 classes). \
         Mask2Former: `pixel_values` [1, 3, H, W] of f32; `class_queries_logits` [1, Q, 81] of f32, \
         `masks_queries_logits` [1, Q, H/4, W/4] of f32. \
         Found the inputs {}; the outputs {}{}",
        list(inputs),
        list(outputs),
        way_out(inputs.iter().chain(outputs))
    )
}

/// The input where there is only one and it takes a picture.
fn only_input(inputs: &[Port]) -> Option<&Port> {
    match inputs {
        [input] if input.fits(&[1, 3, -1, -1], &[Numbers::F32]) => Some(input),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::port;

    fn f32s(name: &str, shape: &[i64]) -> Port {
        port(name, Numbers::F32, shape)
    }

    #[test]
    fn names_and_shapes_tell() {
        let picture = |name| [f32s(name, &[1, 3, 64, 64])];
        let found = Interface::new(
            &picture("input"),
            &[
                f32s("dets", &[1, -1, 5]),
                port("labels", Numbers::I64, &[1, -1]),
            ],
        );
        assert!(matches!(found, Ok(Interface::EndToEnd(_))));
        for shape in [[1, 84, 85], [-1, -1, 85], [1, -1, -1]] {
            let found = Interface::new(&picture("images"), &[f32s("output", &shape)]);
            assert!(matches!(found, Ok(Interface::Yolox(_))), "{shape:?}");
        }
        let queries = [
            f32s("class_queries_logits", &[-1, 100, 81]),
            f32s("masks_queries_logits", &[-1, 100, 16, 16]),
            f32s("attentions", &[1, 1]),
        ];
        let found = Interface::new(&picture("pixel_values"), &queries);
        assert!(matches!(found, Ok(Interface::Mask2Former(_))));
    }

    #[test]
    fn another_model_is_told_what_all_three_expect() {
        let picture = [f32s("images", &[1, 3, 64, 64])];
        for (inputs, outputs, found) in [
            // Three classes, YOLOv8, DETR, a model of two inputs, half precision.
            (
                picture.to_vec(),
                vec![f32s("output", &[1, 84, 8])],
                "`output` [1, 84, 8] of f32",
            ),
            (
                picture.to_vec(),
                vec![f32s("output0", &[1, 84, 8400])],
                "`output0` [1, 84, 8400]",
            ),
            (
                picture.to_vec(),
                vec![
                    f32s("logits", &[1, 100, 92]),
                    f32s("pred_boxes", &[1, 100, 4]),
                ],
                "`logits` [1, 100, 92] of f32, `pred_boxes` [1, 100, 4] of f32",
            ),
            (
                vec![picture[0].clone(), f32s("scale", &[1, 2])],
                vec![f32s("output", &[1, 84, 85])],
                "the inputs `images` [1, 3, 64, 64] of f32, `scale` [1, 2] of f32; the outputs",
            ),
            (
                picture.to_vec(),
                vec![port(
                    "output",
                    Numbers::Other("f16".to_owned()),
                    &[1, 84, 85],
                )],
                "[1, 84, 85] of f16; convert a model to f16 with `keep_io_types=True`",
            ),
            (picture.to_vec(), Vec::new(), "the outputs none"),
        ] {
            let error = Interface::new(&inputs, &outputs).expect_err(found);
            assert!(error.contains(found), "{error}");
            for expected in [
                "`dets` [1, N, 5]",
                "[1, N, 85]",
                "`class_queries_logits` [1, Q, 81]",
            ] {
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}
