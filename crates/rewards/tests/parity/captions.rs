//! Captions as open_clip cleans them: all of the 200 prompts that it changes, and awkward ones.

use std::path::Path;

use dmdr_rewards::open_clip_text;

#[test]
fn captions_are_cleaned_as_by_open_clip() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/open_clip_text.json");
    let text = std::fs::read_to_string(path).expect("committed");
    let pairs: Vec<[String; 2]> = serde_json::from_str(&text).expect("pairs");
    assert!(pairs.len() > 10);
    for [text, expected] in &pairs {
        assert_eq!(&open_clip_text(text), expected, "{text:?}");
    }
}

#[test]
fn plain_captions_stay() {
    for text in ["a photo of a cat", "zwei Hunde, groß", "кот на столе", "猫"] {
        assert_eq!(open_clip_text(text), text);
    }
}
