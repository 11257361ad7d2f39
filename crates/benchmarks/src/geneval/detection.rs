//! What an external detector found in the images, read from a file of JSON lines, one an image:
//!
//! ```json
//! {"image": "00000/samples/0000.png", "detections": [{"class": "bench", "box": [8, 16.5, 200, 180], "score": 0.97}]}
//! ```
//!
//! The official scorer runs Mask2Former (Swin-S, COCO instances) and, where a prompt names a colour, a CLIP ViT-L/14
//! on the crop of the object with everything outside its mask painted #999. A detection's mask is the optional
//! `"mask"`, CLIP's answer the optional `"color"`. This crate knows no networks: both come from elsewhere. All
//! detections belong in the file: thresholds are applied by the rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Color, Mask, classes};

/// One object. Numbers are f32 as in the official scorer, whose thresholds are compared at that precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// One of [`CLASSES`](super::CLASSES).
    pub class: String,
    /// `[left, top, right, bottom]` in pixels, y downwards.
    #[serde(rename = "box")]
    pub bounds: [f32; 4],
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// What the colour classifier says of the object; needed only where a prompt asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
    /// Its pixels, in the size of the image; a colour classifier looks at nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
}

/// Everything found, by the name of the image: its path below the folder of images, with `/`.
pub type Detections = BTreeMap<String, Vec<Detection>>;

impl Detection {
    pub(super) fn check(&self) -> Result<(), String> {
        classes::check(&self.class)?;
        // By its features, the parser refuses a number too large for f32 or makes it infinite.
        if self.bounds.iter().any(|edge| !edge.is_finite()) {
            return Err(format!("the box of a `{}` is not finite", self.class));
        }
        if !(0.0..=1.0).contains(&self.score) {
            return Err(format!(
                "the score {} of a `{}` is not in [0, 1]",
                self.score, self.class
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn wrong_lines_are_refused_with_their_number() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("detections.jsonl");
        let line = |image: &str, class: &str, edge: &str, score: &str| {
            format!(
                r#"{{"image":"{image}","detections":[{{"class":"{class}","box":[0,0,{edge},9.5],"score":{score}}}]}}"#
            )
        };
        let good = line("a.png", "cow", "8", "0.5");
        for (line, expected) in [
            (line("a.png", "cow", "8", "0.5"), "`a.png` was there before"),
            (line("b.png", "remote", "8", "0.5"), "`tv remote`"),
            (line("b.png", "cow", "1e39", "0.5"), ""),
            (line("b.png", "cow", "8", "97"), "not in [0, 1]"),
            (
                line(
                    "b.png",
                    "cow",
                    "8",
                    r#"0.5,"mask":{"size":[2,3],"counts":[5]}"#,
                ),
                "cover 5 pixels of 2 x 3",
            ),
            (line("b.png", "cow", "null", "0.5"), "invalid type: null"),
            ("{}".to_owned(), "missing field `image`"),
        ] {
            fs::write(&path, format!("{good}\n{line}\n")).expect("written");
            let error = Detection::read(&path).expect_err(expected).to_string();
            assert!(
                error.contains("line 2: ") && error.contains(expected),
                "{error}"
            );
        }
        fs::write(&path, &good).expect("written");
        let all = Detection::read(&path).expect("valid");
        assert_eq!(
            format!("{:?}", all["a.png"][0].bounds),
            "[0.0, 0.0, 8.0, 9.5]"
        );
    }
}
