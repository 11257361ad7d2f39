//! Sheets of samples: the teacher's and the student's, on the same prompts and noise.
//!
//! `samples/update-NNNNNN.png` are the student's sheets, `samples/teacher.png` is the teacher's. Next to
//! them, `samples/sheet.json` says how to take them apart:
//! `{"columns": 4, "captions": ["a red apple", ..], "margin": 2}`, one caption per image, row by row,
//! `margin` white pixels around each (2 if absent, as `dmdr_image::Image::grid` draws them). Without
//! that file, or for a sheet that does not fit it, sheets are shown whole.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dmdr_events::RunDir;
use image::{ImageFormat, ImageReader, RgbImage};
use maud::{Markup, html};
use serde::Deserialize;

use crate::error::ReportError;

/// Steps on the film strip, prompts on it, and prompts in the comparison.
const NUM_STEPS: usize = 8;
const NUM_FILM_PROMPTS: usize = 6;
const NUM_PAIRS: usize = 24;
/// Samples are embedded no wider than this.
const MAX_SIDE: u32 = 256;

/// How a sheet is laid out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    columns: u32,
    captions: Vec<String>,
    #[serde(default = "default_margin")]
    margin: u32,
}

fn default_margin() -> u32 {
    2
}

/// One sheet, in pieces if the layout fits.
#[derive(Debug)]
struct Sheet {
    whole: RgbImage,
    tiles: Vec<RgbImage>,
}

/// What is shown of the samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Sheets {
    captions: Vec<String>,
    teacher: Option<Sheet>,
    updates: Vec<(u64, Sheet)>,
}

impl Sheets {
    pub(crate) fn read(run: &RunDir) -> Result<Self, ReportError> {
        let folder = run.path().join("samples");
        let layout = read_layout(&folder.join("sheet.json"))?;
        let all = run.list_samples()?;
        let updates = chosen(&all, NUM_STEPS)
            .map(|(update, path)| Ok((*update, Sheet::read(path, layout.as_ref())?)))
            .collect::<Result<_, ReportError>>()?;
        let teacher = folder.join("teacher.png");
        let teacher = if teacher.is_file() {
            Some(Sheet::read(&teacher, layout.as_ref())?)
        } else {
            None
        };
        Ok(Self {
            captions: layout.map(|layout| layout.captions).unwrap_or_default(),
            teacher,
            updates,
        })
    }

    pub(crate) fn markup(&self) -> Markup {
        let last = self.updates.last();
        let is_cut = self
            .updates
            .iter()
            .map(|(_, sheet)| sheet)
            .chain(&self.teacher)
            .all(|sheet| !sheet.tiles.is_empty());
        html! {
            @if let Some((update, student)) = last {
                section {
                    h2 { "Samples" }
                    @if let Some(teacher) = &self.teacher {
                        p.lead { "Teacher (left) and student after update " (update) " (right), on the same prompts and noise." }
                        @if is_cut { (self.pairs(teacher, student)) } @else {
                            div.sheets { (sheet("teacher", teacher)) (sheet("student", student)) }
                        }
                    }
                    @if self.updates.len() > 1 {
                        h3 { "The student over training" }
                        @if is_cut { (self.film()) } @else {
                            div.sheets { @for (update, picture) in &self.updates { (sheet(&format!("update {update}"), picture)) } }
                        }
                    } @else if self.teacher.is_none() {
                        div.sheets { (sheet(&format!("update {update}"), student)) }
                    }
                }
            }
        }
    }

    fn pairs(&self, teacher: &Sheet, student: &Sheet) -> Markup {
        let both = teacher.tiles.iter().zip(&student.tiles);
        html! {
            div.pairs {
                @for ((teacher, student), caption) in both.zip(&self.captions).take(NUM_PAIRS) {
                    figure {
                        div { (picture(teacher, &format!("teacher: {caption}"))) (picture(student, &format!("student: {caption}"))) }
                        figcaption { (caption) }
                    }
                }
            }
        }
    }

    /// One row per prompt, one column per update, the teacher at the end.
    fn film(&self) -> Markup {
        let rows = self.captions.len().min(NUM_FILM_PROMPTS);
        html! {
            table.film {
                thead {
                    tr {
                        @for (update, _) in &self.updates { th { (update) } }
                        @if self.teacher.is_some() { th.gap {} th { "teacher" } }
                        th {}
                    }
                }
                tbody {
                    @for row in 0..rows {
                        @let caption = &self.captions[row];
                        tr {
                            @for (update, sheet) in &self.updates {
                                td { (picture(&sheet.tiles[row], &format!("update {update}: {caption}"))) }
                            }
                            @if let Some(teacher) = &self.teacher {
                                td.gap {} td { (picture(&teacher.tiles[row], &format!("teacher: {caption}"))) }
                            }
                            td.caption { (caption) }
                        }
                    }
                }
            }
        }
    }
}

impl Sheet {
    fn read(path: &Path, layout: Option<&Layout>) -> Result<Self, ReportError> {
        let bad = |source| ReportError::Picture {
            path: path.to_owned(),
            source,
        };
        let mut reader = ImageReader::open(path).map_err(ReportError::io("read", path))?;
        reader.set_format(ImageFormat::Png);
        let whole = reader.decode().map_err(bad)?.into_rgb8();
        let tiles = layout
            .and_then(|layout| layout.cut(&whole))
            .unwrap_or_default();
        Ok(Self { whole, tiles })
    }
}

impl Layout {
    /// The images of a sheet, one per caption; None if the sheet is not laid out like this.
    fn cut(&self, sheet: &RgbImage) -> Option<Vec<RgbImage>> {
        let count = u32::try_from(self.captions.len()).ok()?;
        let rows = count.checked_div(self.columns)? + u32::from(count % self.columns > 0);
        let side = |length: u32, count: u32| {
            let cells = length.checked_sub(self.margin)?;
            (count > 0 && cells % count == 0)
                .then(|| cells / count)?
                .checked_sub(self.margin)
        };
        let (width, height) = (
            side(sheet.width(), self.columns)?,
            side(sheet.height(), rows)?,
        );
        let cut = |index: u32| {
            let left = self.margin + index % self.columns * (width + self.margin);
            let top = self.margin + index / self.columns * (height + self.margin);
            image::imageops::crop_imm(sheet, left, top, width, height).to_image()
        };
        (width > 0 && height > 0).then(|| (0..count).map(cut).collect())
    }
}

fn read_layout(path: &PathBuf) -> Result<Option<Layout>, ReportError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(ReportError::io("read", path))?;
    let layout = serde_json::from_str(&text).map_err(|source| ReportError::Layout {
        path: path.clone(),
        source,
    })?;
    Ok(Some(layout))
}

/// At most `count` of `all`, evenly spread, with the first and the last.
fn chosen<T>(all: &[T], count: usize) -> impl Iterator<Item = &T> {
    let count = count.min(all.len());
    (0..count).map(move |index| &all[index * (all.len() - 1) / (count - 1).max(1)])
}

fn sheet(name: &str, sheet: &Sheet) -> Markup {
    html! {
        figure { (picture_within(&sheet.whole, name, u32::MAX)) figcaption { (name) } }
    }
}

fn picture(image: &RgbImage, description: &str) -> Markup {
    picture_within(image, description, MAX_SIDE)
}

/// An image element that carries its PNG.
fn picture_within(image: &RgbImage, description: &str, max_side: u32) -> Markup {
    let mut bytes = Cursor::new(Vec::new());
    let longest = image.width().max(image.height());
    let written = if longest > max_side {
        let side = |length: u32| (length * max_side / longest).max(1);
        let filter = image::imageops::FilterType::Lanczos3;
        image::imageops::resize(image, side(image.width()), side(image.height()), filter)
            .write_to(&mut bytes, ImageFormat::Png)
    } else {
        image.write_to(&mut bytes, ImageFormat::Png)
    };
    html! {
        @match written {
            Ok(()) => {
                img.fine[longest >= 128] alt=(description) title=(description)
                    width=(image.width()) height=(image.height())
                    src={ "data:image/png;base64," (BASE64_STANDARD.encode(bytes.get_ref())) };
            }
            Err(error) => { span { (description) ": " (error) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_cut_where_the_layout_says() {
        let layout = Layout {
            columns: 2,
            captions: vec!["a".into(), "b".into(), "c".into()],
            margin: 2,
        };
        let mut sheet = RgbImage::new(2 * 6 + 2, 2 * 7 + 2);
        sheet.put_pixel(2, 9, image::Rgb([9, 9, 9]));
        let tiles = layout.cut(&sheet).expect("it fits");
        assert_eq!(tiles.len(), 3);
        assert_eq!(tiles[0].dimensions(), (4, 5));
        assert_eq!(tiles[2].get_pixel(0, 0).0, [9, 9, 9]);
        assert!(layout.cut(&RgbImage::new(15, 16)).is_none());
        assert!(layout.cut(&RgbImage::new(1, 1)).is_none());
    }

    #[test]
    fn the_first_and_last_are_chosen() {
        let all: Vec<u32> = (0..20).collect();
        let found: Vec<u32> = chosen(&all, 8).copied().collect();
        assert_eq!((found.len(), found[0], found[7]), (8, 0, 19));
        assert_eq!(chosen(&all[..1], 8).count(), 1);
        assert_eq!(chosen(&all[..0], 8).count(), 0);
    }
}
