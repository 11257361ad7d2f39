//! GenEval's colour classifier against transformers' towers behind PIL.

use dmdr_image::Image;
use dmdr_rewards::{ColorClassifier, Cutout};
use dmdr_tensor::{Kind, Tensor};

use crate::fixture::Fixture;
use crate::rewards::towers;

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).expect("f32")
}

#[test]
fn logits_of_colours() {
    let fixture = Fixture::read("colors");
    let (pair, tokenizer) = towers();
    let mut classifier = ColorClassifier::new(pair, tokenizer, fixture.metadata("colors"));
    let picture = fixture.get("picture");
    let (_, height, width) = picture.size3().expect("[3, H, W]");
    let picture = Image::from_chw(width as usize, height as usize, floats(&(picture / 255.0)));
    let picture = picture.expect("sized");
    let objects: Vec<String> = fixture.metadata("objects");
    let mut rows = Vec::new();
    for (index, object) in (0..).zip(&objects) {
        let bounds = floats(&fixture.get("boxes").get(index));
        let mask = floats(&fixture.get("masks").get(index));
        let mask: Vec<bool> = mask.into_iter().map(|value| value > 0.5).collect();
        let cutout = Cutout {
            bounds: bounds.try_into().expect("four"),
            mask: (object != "traffic light").then_some(&mask),
        };
        let logits = classifier.logits(&picture, cutout, object).expect("fits");
        rows.push(Tensor::from_slice(&logits).to_kind(Kind::Float));
    }
    let logits = Tensor::stack(&rows, 0);
    fixture.agrees("logits", &logits);
    let best = |logits: &Tensor| Vec::<i64>::try_from(logits.argmax(1, false)).expect("i64");
    assert_eq!(best(&logits), best(fixture.get("logits")));
}
