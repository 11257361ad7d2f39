//! YOLOX's raw output: a box, an objectness and class scores for every cell of three grids.
//!
//! | | shape | numbers |
//! |---|---|---|
//! | input, any name | `[1, 3, H, W]` | f32, BGR, 0 to 255, 114 to the right of and below the picture |
//! | output, any name | `[1, N, 85]` | f32: centre x and y, width, height, objectness, COCO's 80 classes |
//!
//! `H` and `W` are multiples of 32. Where they are open, the picture is square: as large as `N` says, or 640, the size
//! that YOLOX-s to YOLOX-x are tested at. `N` is the
//! number of cells at the strides 8, 16 and 32: `HW / 64 + HW / 256 + HW / 1024`.
//!
//! Boxes are in cells or in pixels. `tools/export_onnx.py` gives cells: offsets from the cell's corner in strides, and
//! logarithms of the sides in strides; with `--decode_in_inference` it gives pixels of the input. Nothing in the file says
//! which, but a network's boxes lie about their cells: a blank picture is run, and that reading is taken by which they
//! do ([`Boxes::of`]). Only the shapes of other networks' outputs may be the same: YOLOv6 has no objectness (1
//! everywhere), YOLOv5 and v7 have three boxes a cell, and both want another input; they are refused.
//!
//! The rest is YOLOX's: a box has the class of its greatest score, times objectness; above 0.1, non-maximum suppression
//! at 0.45. Suppression is within a class, as in YOLOX's evaluation; its demo suppresses across classes. A model from
//! before version 0.1.1 (`legacy`) was trained on normalised RGB; nothing in such a file tells, and its scores are low.

use dmdr_image::Image;
use serde_json::{Value, json};

use crate::{
    DetectorError, Object,
    frame::{Frame, Pixels},
    model::{Model, expect, wrong},
    nms::suppress,
    port::{Numbers, Port},
};

/// Numbers of a row before its classes.
const BEFORE: usize = 5;
const CLASSES: usize = 80;
const ROW: usize = BEFORE + CLASSES;
const STRIDES: [usize; 3] = [8, 16, 32];
/// Where a model leaves its size open.
const SIDE: usize = 640;
const SCORE_THRESHOLD: f64 = 0.1;
const NMS_THRESHOLD: f64 = 0.45;
/// Cells that boxes may lie from their own, on average; a trained network's lie 1.3.
const MAX_DISTANCE: f32 = 4.0;

/// Such a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Yolox {
    input: String,
    output: String,
    /// Height and width of the input.
    size: [usize; 2],
    boxes: Boxes,
}

/// What the numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boxes {
    /// Offsets from the cell's corner, and logarithms of the sides, in strides.
    Cells,
    /// Centre and sides in pixels of the input.
    Pixels,
}

/// A place of a grid: column and row, and the pixels of a side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    x: f32,
    y: f32,
    stride: f32,
}

/// A box in pixels of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    label: usize,
    score: f32,
    /// `[left, top, right, bottom]`.
    bounds: [f32; 4],
}

impl Yolox {
    /// The output where there is only one and it has rows of YOLOX.
    pub(crate) fn output(outputs: &[Port]) -> Option<&Port> {
        match outputs {
            [output] if output.fits(&[1, -1, ROW as i64], &[Numbers::F32]) => Some(output),
            _ => None,
        }
    }

    /// That of a model with this input and output.
    ///
    /// # Errors
    /// Sizes that are not YOLOX's.
    pub(crate) fn new(input: &Port, output: &Port) -> Result<Self, String> {
        let square = match output.length(1) {
            Some(rows) => (32..=2048)
                .step_by(32)
                .find(|&side| cells([side; 2]).len() == rows),
            None => None,
        };
        let size = [2, 3].map(|axis| input.length(axis).or(square).unwrap_or(SIDE));
        if size.iter().any(|side| !side.is_multiple_of(32)) {
            return Err(format!(
                "expected YOLOX's input, whose height and width are multiples of 32, found {}",
                input.describe()
            ));
        }
        let cells = cells(size).len();
        if output.length(1).is_some_and(|rows| rows != cells) {
            return Err(format!(
                "expected [1, {cells}, {ROW}], one row a cell at YOLOX's strides 8, 16 and 32 of {} x {}, found {}; \
                 three rows a cell are YOLOv5's or v7's, which are not read",
                size[0],
                size[1],
                output.describe()
            ));
        }
        Ok(Self {
            input: input.name.clone(),
            output: output.name.clone(),
            size,
            boxes: Boxes::Cells,
        })
    }

    /// Runs a blank picture, and remembers how boxes are to be read.
    pub(crate) fn probe(&mut self, model: &mut Model) -> Result<(), DetectorError> {
        let picture = Image::filled(self.size[1], self.size[0], [114.0 / 255.0; 3]);
        let rows = self.rows(model, &Frame::letterbox(self.size, self.size), &picture)?;
        self.boxes = Boxes::of(&rows, &cells(self.size)).map_err(wrong)?;
        Ok(())
    }

    /// For the record beside findings.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "interface": "yolox",
            "input": self.size,
            "boxes": match self.boxes {
                Boxes::Cells => "cells",
                Boxes::Pixels => "pixels",
            },
            "score_threshold": SCORE_THRESHOLD,
            "nms_threshold": NMS_THRESHOLD,
        })
    }

    /// All objects, the most confident first.
    pub(crate) fn detect(
        &self,
        model: &mut Model,
        picture: &Image,
    ) -> Result<Vec<Object>, DetectorError> {
        let frame = Frame::letterbox([picture.height, picture.width], self.size);
        let rows = self.rows(model, &frame, picture)?;
        let found = self.boxes.candidates(&rows, &cells(self.size));
        Ok(objects(&found.map_err(wrong)?, &frame))
    }

    fn rows(
        &self,
        model: &mut Model,
        frame: &Frame,
        picture: &Image,
    ) -> Result<Vec<f32>, DetectorError> {
        let pixels = frame.pixels(picture, &Pixels::YOLOX);
        let answers = model.run(&self.input, self.size, pixels, None)?;
        let (shape, rows) = answers.floats(&self.output)?;
        expect(&self.output, shape, &[1, cells(self.size).len(), ROW])?;
        Ok(rows.to_vec())
    }
}

/// The cells of an input `[height, width]`, in the order of rows.
fn cells([height, width]: [usize; 2]) -> Vec<Cell> {
    let grid = |stride: usize| {
        (0..height / stride).flat_map(move |y| {
            (0..width / stride).map(move |x| Cell {
                x: x as f32,
                y: y as f32,
                stride: stride as f32,
            })
        })
    };
    STRIDES.into_iter().flat_map(grid).collect()
}

impl Boxes {
    /// How the boxes of a blank picture are to be read: by that reading they lie nearer to their cells, on average.
    ///
    /// Distances are those of the centres along both axes, in cells. In an input of 416 x 416 they are 1.3 by the right
    /// reading of YOLOX-nano and 45 by the wrong one.
    fn of(rows: &[f32], cells: &[Cell]) -> Result<Self, String> {
        check(rows)?;
        if rows.chunks_exact(ROW).all(|row| row[4] >= 1.0) {
            return Err(
                "objectness is 1 in every row, as in YOLOv6, which wants another input than YOLOX"
                    .to_owned(),
            );
        }
        let distance = |boxes: Self| {
            let all = rows.chunks_exact(ROW).zip(cells).map(|(row, cell)| {
                let [x, y] = boxes.center(row, cell).map(|at| at / cell.stride);
                (x - cell.x - 0.5).abs() + (y - cell.y - 0.5).abs()
            });
            all.sum::<f32>() / cells.len() as f32
        };
        let [as_cells, as_pixels] = [Self::Cells, Self::Pixels].map(distance);
        let has_sides = |row: &[f32]| row[2] > 0.0 && row[3] > 0.0;
        if as_cells < as_pixels && as_cells <= MAX_DISTANCE {
            Ok(Self::Cells)
        } else if as_pixels <= MAX_DISTANCE && rows.chunks_exact(ROW).all(has_sides) {
            Ok(Self::Pixels)
        } else {
            Err(format!(
                "expected boxes about their cells, as YOLOX's are; they lie {as_cells:.1} cells away if \
                 read in cells, {as_pixels:.1} if read in pixels"
            ))
        }
    }

    /// A row's centre in pixels of the input.
    fn center(self, row: &[f32], cell: &Cell) -> [f32; 2] {
        match self {
            Self::Cells => [
                (row[0] + cell.x) * cell.stride,
                (row[1] + cell.y) * cell.stride,
            ],
            Self::Pixels => [row[0], row[1]],
        }
    }

    /// A row's box `[left, top, right, bottom]` in pixels of the input.
    fn bounds(self, row: &[f32], cell: &Cell) -> [f32; 4] {
        let [x, y] = self.center(row, cell);
        let [width, height] = match self {
            Self::Cells => [row[2].exp() * cell.stride, row[3].exp() * cell.stride],
            Self::Pixels => [row[2], row[3]],
        };
        [
            x - width / 2.0,
            y - height / 2.0,
            x + width / 2.0,
            y + height / 2.0,
        ]
    }

    /// Boxes above the threshold, each with the class of its greatest score.
    fn candidates(self, rows: &[f32], cells: &[Cell]) -> Result<Vec<Candidate>, String> {
        check(rows)?;
        let mut found = Vec::new();
        for (row, cell) in rows.chunks_exact(ROW).zip(cells) {
            let scores = row[BEFORE..].iter().map(|class| row[4] * class);
            // The first of equal ones, as `argmax` takes it.
            let best = scores.enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1));
            let (label, score) = best.expect("a row has classes");
            if score <= SCORE_THRESHOLD as f32 {
                continue;
            }
            let bounds = self.bounds(row, cell);
            if bounds.iter().any(|edge| !edge.is_finite()) {
                return Err(format!(
                    "a box is {bounds:?}, from the row {:?}",
                    &row[..BEFORE]
                ));
            }
            found.push(Candidate {
                label,
                score,
                bounds,
            });
        }
        Ok(found)
    }
}

/// Boxes must be numbers, scores in `[0, 1]`.
fn check(rows: &[f32]) -> Result<(), String> {
    for (place, row) in rows.chunks_exact(ROW).enumerate() {
        let is_score = |score: &f32| (0.0..=1.0).contains(score);
        if let Some(number) = row[..4].iter().find(|number| !number.is_finite()) {
            return Err(format!("the box of row {place} has the number {number}"));
        }
        if let Some(score) = row[4..].iter().find(|score| !is_score(score)) {
            return Err(format!(
                "expected objectness and class scores in [0, 1], behind YOLOX's sigmoid, found {score} in row {place}"
            ));
        }
    }
    Ok(())
}

/// What stays of `candidates`, class by class, in the picture of `frame`.
fn objects(candidates: &[Candidate], frame: &Frame) -> Vec<Object> {
    let mut found = Vec::new();
    for label in 0..CLASSES {
        let ours = candidates.iter().filter(|one| one.label == label);
        let (boxes, scores): (Vec<[f32; 4]>, Vec<f32>) = ours
            .map(|one| (frame.in_picture(one.bounds), one.score))
            .unzip();
        for place in suppress(&boxes, &scores, NMS_THRESHOLD as f32) {
            if let Some(bounds) = frame.cut(boxes[place]) {
                found.push(Object {
                    label,
                    bounds,
                    score: scores[place],
                    mask: None,
                });
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::tests::port;

    const SIZE: [usize; 2] = [64, 96];

    /// Boxes in their own cells, one stride large, that are nothing.
    fn blank(boxes: Boxes) -> Vec<f32> {
        let row = |cell: Cell| {
            let mut row = vec![0.0; ROW];
            row[..2].copy_from_slice(&[0.5, 0.5]);
            if boxes == Boxes::Pixels {
                let center = [cell.x, cell.y].map(|at| (at + 0.5) * cell.stride);
                row[..4].copy_from_slice(&[center[0], center[1], cell.stride, cell.stride]);
            }
            row
        };
        cells(SIZE).into_iter().flat_map(row).collect()
    }

    #[test]
    fn cells_come_by_stride_and_row() {
        let all = cells(SIZE);
        assert_eq!(all.len(), 8 * 12 + 4 * 6 + 2 * 3);
        let at = |place: usize| [all[place].x, all[place].y, all[place].stride];
        assert_eq!([at(0), at(13)], [[0.0, 0.0, 8.0], [1.0, 1.0, 8.0]]);
        assert_eq!([at(96), at(125)], [[0.0, 0.0, 16.0], [2.0, 1.0, 32.0]]);
        assert_eq!(cells([416, 416]).len(), 3549);
        assert_eq!(cells([640, 640]).len(), 8400);
    }

    #[test]
    fn both_kinds_of_boxes_are_told_and_read_alike() {
        for boxes in [Boxes::Cells, Boxes::Pixels] {
            let mut rows = blank(boxes);
            assert_eq!(Boxes::of(&rows, &cells(SIZE)), Ok(boxes));
            let row = &mut rows[13 * ROW..14 * ROW];
            row[..2].copy_from_slice(&match boxes {
                Boxes::Cells => [0.25, -0.5],
                Boxes::Pixels => [10.0, 4.0],
            });
            row[2] += match boxes {
                Boxes::Cells => 2.0_f32.ln(),
                Boxes::Pixels => 8.0,
            };
            row[4] = 0.5;
            row[BEFORE + 7] = 0.75;
            row[BEFORE + 9] = 0.75;
            let found = boxes.candidates(&rows, &cells(SIZE)).expect("numbers");
            let [one] = found[..] else {
                panic!("{found:?}")
            };
            assert_eq!((one.label, one.score), (7, 0.375));
            for (edge, expected) in one.bounds.into_iter().zip([2.0, 0.0, 18.0, 8.0]) {
                assert!((edge - expected).abs() < 1e-5, "{:?}", one.bounds);
            }
        }
    }

    #[test]
    fn what_is_not_yolox_is_refused() {
        let blank = blank(Boxes::Cells);
        for (place, value, expected) in [
            (0, f32::NAN, "the box of row 0 has the number NaN"),
            (
                ROW + 3,
                f32::INFINITY,
                "the box of row 1 has the number inf",
            ),
            (4, -3.5, "found -3.5 in row 0"),
            (ROW + BEFORE, f32::NAN, "found NaN in row 1"),
        ] {
            let mut rows = blank.clone();
            rows[place] = value;
            let error = Boxes::of(&rows, &cells(SIZE)).expect_err(expected);
            assert!(error.contains(expected), "{error}");
            assert!(Boxes::Cells.candidates(&rows, &cells(SIZE)).is_err());
        }
        let mut rows = blank.clone();
        for row in rows.chunks_exact_mut(ROW) {
            row[4] = 1.0;
        }
        let error = Boxes::of(&rows, &cells(SIZE)).expect_err("no objectness");
        assert!(error.contains("YOLOv6"), "{error}");
        // Corners where centres belong, of a picture-wide box everywhere.
        let mut rows = blank.clone();
        for row in rows.chunks_exact_mut(ROW) {
            row[..4].copy_from_slice(&[90.0, 60.0, 5.0, 5.0]);
        }
        let error = Boxes::of(&rows, &cells(SIZE)).expect_err("far away");
        assert!(error.contains("cells away"), "{error}");
    }

    #[test]
    fn sizes_must_be_those_of_the_strides() {
        let new = |input: &[i64], output: &[i64]| {
            Yolox::new(
                &port("images", Numbers::F32, input),
                &port("output", Numbers::F32, output),
            )
        };
        assert_eq!(
            new(&[1, 3, -1, -1], &[1, -1, 85]).map(|it| it.size),
            Ok([640, 640])
        );
        assert_eq!(
            new(&[1, 3, -1, -1], &[1, 3549, 85]).map(|it| it.size),
            Ok([416, 416])
        );
        assert_eq!(
            new(&[1, 3, 64, 96], &[1, 126, 85]).map(|it| it.size),
            Ok(SIZE)
        );
        let error = new(&[1, 3, 640, 640], &[1, 25_200, 85]).expect_err("three a cell");
        assert!(
            error.contains("expected [1, 8400, 85]") && error.contains("YOLOv5"),
            "{error}"
        );
        let error = new(&[1, 3, 100, 96], &[1, 126, 85]).expect_err("100");
        assert!(error.contains("multiples of 32"), "{error}");
    }

    #[test]
    fn suppression_is_within_a_class_and_in_the_picture() {
        let frame = Frame::letterbox([128, 192], SIZE);
        let one = |label, score, left: f32| Candidate {
            label,
            score,
            bounds: [left, 10.0, left + 20.0, 30.0],
        };
        let found = objects(
            &[
                one(3, 0.5, 10.0),
                one(3, 0.75, 12.0),
                one(4, 0.625, 10.0),
                one(3, 0.25, 85.0),
                one(3, 0.25, 200.0),
            ],
            &frame,
        );
        let all: Vec<_> = found
            .iter()
            .map(|one| (one.label, one.score, one.bounds))
            .collect();
        assert_eq!(
            all,
            [
                (3, 0.75, [24.0, 20.0, 64.0, 60.0]),
                (4, 0.625, [20.0, 20.0, 60.0, 60.0]),
                (3, 0.25, [170.0, 20.0, 192.0, 60.0]),
            ]
        );
    }
}
