//! The pixels of an object as COCO writes them: `{"size": [height, width], "counts": ...}`, the lengths of runs down the
//! columns, the first of them outside the object.
//!
//! `counts` is the list of lengths, or the string that `pycocotools` makes of it (cocoapi, `common/maskApi.c`): each
//! length from the fourth on less the one two before it, in digits of five bits from the lowest, 32 added to all but a
//! number's last, 48 to each, as characters. The highest bit of the last digit is the sign.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which pixels of an image belong to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct Mask {
    height: usize,
    width: usize,
    /// Outside and inside in turns, down the columns; they add up to the area.
    runs: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Height, width.
    size: [u32; 2],
    counts: Value,
}

impl Mask {
    /// Of `[height, width]` pixels row by row, true inside.
    ///
    /// # Panics
    /// The pixels are not as many as the size says.
    pub fn new(height: usize, width: usize, pixels: &[bool]) -> Self {
        assert_eq!(pixels.len(), height * width, "a value for every pixel");
        let mut runs = vec![0];
        let mut inside = false;
        for column in 0..width {
            for row in 0..height {
                let pixel = pixels[row * width + column];
                if pixel != inside {
                    runs.push(0);
                    inside = pixel;
                }
                *runs.last_mut().expect("never empty") += 1;
            }
        }
        Self {
            height,
            width,
            runs,
        }
    }

    /// `[height, width]`.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// `[height, width]` pixels row by row, true inside.
    pub fn pixels(&self) -> Vec<bool> {
        let mut pixels = vec![false; self.height * self.width];
        let mut place = 0;
        for (&run, inside) in self.runs.iter().zip([false, true].into_iter().cycle()) {
            for place in place..place + run as usize {
                pixels[place % self.height * self.width + place / self.height] = inside;
            }
            place += run as usize;
        }
        pixels
    }
}

impl TryFrom<Record> for Mask {
    type Error = String;

    fn try_from(Record { size, counts }: Record) -> Result<Self, String> {
        let [height, width] = size;
        let runs = match counts {
            Value::String(text) => unpacked(&text)?,
            Value::Array(_) => serde_json::from_value(counts)
                .map_err(|error| format!("the mask's counts are no lengths of runs: {error}"))?,
            other => {
                return Err(format!(
                    "the mask's counts are COCO's string or a list of lengths, not `{other}`"
                ));
            }
        };
        let (total, area) = (
            runs.iter().map(|&run| u64::from(run)).sum::<u64>(),
            u64::from(height) * u64::from(width),
        );
        if area == 0 || total != area {
            return Err(format!(
                "the mask's counts cover {total} pixels of {height} x {width} (height x width)"
            ));
        }
        Ok(Self {
            height: height as usize,
            width: width as usize,
            runs,
        })
    }
}

impl From<Mask> for Record {
    fn from(mask: Mask) -> Self {
        Self {
            size: mask.size().map(|side| side as u32),
            counts: Value::String(packed(&mask.runs)),
        }
    }
}

/// The lengths in a string.
fn unpacked(text: &str) -> Result<Vec<u32>, String> {
    let wrong = |what: &str| format!("the mask's counts are not COCO's string: {what}");
    let mut runs: Vec<u32> = Vec::new();
    let (mut number, mut shift) = (0i64, 0);
    for byte in text.bytes() {
        let digit = i64::from(byte) - 48;
        if !(0..64).contains(&digit) {
            return Err(wrong(&format!("`{}` is no digit", byte.escape_ascii())));
        }
        if shift > 35 {
            return Err(wrong("a number is too large"));
        }
        number |= (digit & 31) << shift;
        shift += 5;
        if digit & 32 != 0 {
            continue;
        }
        if digit & 16 != 0 {
            number -= 1 << shift;
        }
        if let [_, .., two_before, _] = runs[..] {
            number += i64::from(two_before);
        }
        runs.push(u32::try_from(number).map_err(|_| wrong("a length is below 0 or too large"))?);
        (number, shift) = (0, 0);
    }
    if shift != 0 {
        return Err(wrong("it ends within a number"));
    }
    Ok(runs)
}

/// The lengths as a string.
fn packed(runs: &[u32]) -> String {
    let mut text = String::new();
    for (place, &run) in runs.iter().enumerate() {
        let before = if place > 2 { runs[place - 2] } else { 0 };
        let mut rest = i64::from(run) - i64::from(before);
        loop {
            let digit = rest & 31;
            rest >>= 5;
            let is_last = rest == if digit & 16 == 0 { 0 } else { -1 };
            text.push(char::from(digit as u8 + if is_last { 48 } else { 80 }));
            if is_last {
                break;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Mask, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// True where `of(row, column)`.
    fn drawn(height: usize, width: usize, of: impl Fn(usize, usize) -> bool) -> Mask {
        let pixels: Vec<bool> = (0..height * width)
            .map(|place| of(place / width, place % width))
            .collect();
        let mask = Mask::new(height, width, &pixels);
        assert_eq!(mask.pixels(), pixels);
        mask
    }

    #[test]
    fn strings_are_those_of_pycocotools() {
        // pycocotools 2.0.11, mask.encode.
        let small = drawn(5, 7, |y, x| {
            (1..4).contains(&y) && (2..6).contains(&x) || (y, x) == (0, 3) || (y, x) == (4, 6)
        });
        let large = drawn(40, 60, |y, x| {
            (10..39).contains(&y) && (5..50).contains(&x) || (y, x) == (0, 0)
        });
        let zeros = "0".repeat(87);
        for (mask, counts) in [
            (small, ";3111O003N".to_owned()),
            (large, format!("01a6l0jI{zeros}V<")),
        ] {
            let [height, width] = mask.size();
            let json = format!(r#"{{"size":[{height},{width}],"counts":"{counts}"}}"#);
            assert_eq!(read(&json).expect(&counts), mask);
            assert_eq!(serde_json::to_string(&mask).expect("renders"), json);
        }
    }

    #[test]
    fn lists_go_down_the_columns_from_outside() {
        let mask = read(r#"{"size":[2,3],"counts":[1,2,3]}"#).expect("valid");
        assert_eq!(mask, drawn(2, 3, |y, x| [(1, 0), (0, 1)].contains(&(y, x))));
        let full = read(r#"{"size":[2,3],"counts":[0,6]}"#).expect("valid");
        assert_eq!(full, drawn(2, 3, |_, _| true));
        let none = read(r#"{"size":[2,3],"counts":"6"}"#).expect("valid");
        assert_eq!(none, drawn(2, 3, |_, _| false));
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for (json, expected) in [
            (
                r#"{"size":[2,3],"counts":[1,2]}"#,
                "cover 3 pixels of 2 x 3",
            ),
            (r#"{"size":[0,3],"counts":[]}"#, "cover 0 pixels of 0 x 3"),
            (r#"{"size":[2,3],"counts":[7,-1]}"#, "no lengths of runs"),
            (r#"{"size":[2,3],"counts":6}"#, "not `6`"),
            (r#"{"size":[2,3],"counts":"7O"}"#, "below 0"),
            (r#"{"size":[2,3],"counts":"6 "}"#, "` ` is no digit"),
            (r#"{"size":[2,3],"counts":"V"}"#, "ends within a number"),
            (
                r#"{"size":[2,3],"counts":"ooooooooo0"}"#,
                "a number is too large",
            ),
            (
                r#"{"size":[2,3,1],"counts":"6"}"#,
                "trailing characters|invalid length 3",
            ),
            (r#"{"size":[2,3]}"#, "missing field `counts`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(
                expected.split('|').any(|part| error.contains(part)),
                "{error}"
            );
        }
    }
}
