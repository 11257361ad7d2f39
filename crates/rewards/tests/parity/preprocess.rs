//! Preprocessing against torchvision's transforms and transformers' image processor.

use dmdr_rewards::preprocess::{Fit, Preprocess};
use dmdr_tensor::{Device, Kind, Tensor};

use crate::fixture::{Fixture, chirp};

const SIZE: i64 = 224;

/// Rows and columns that the fixture keeps.
fn grid(values: &Tensor) -> Tensor {
    let points = 24;
    let at = |side: i64| {
        let index = Tensor::arange(points, (Kind::Int64, Device::Cpu)) * (side - 1);
        index.floor_divide_scalar(points - 1)
    };
    let (_, _, height, width) = values.size4().expect("images");
    values
        .index_select(2, &at(height))
        .index_select(3, &at(width))
}

#[test]
fn every_fit_of_every_shape() {
    let fixture = Fixture::read("preprocess");
    let fits = [
        ("squash", Fit::Squash),
        ("crop", Fit::Crop),
        ("crop_down", Fit::CropDown),
        ("pad", Fit::Pad),
    ];
    for (name, fit) in fits {
        for shape in [[1024, 1024], [427, 640], [1000, 333]] {
            let name = format!("{name}.{}x{}", shape[0], shape[1]);
            let image = chirp(shape).set_requires_grad(true);
            let output = Preprocess::clip(fit, SIZE).forward(&image);
            assert_eq!(output.size(), [1, 3, SIZE, SIZE]);
            fixture.agrees(&name, &grid(&output));
            let product = (output * chirp([SIZE, SIZE])).sum(Kind::Float);
            let gradient = Tensor::run_backward(&[product], &[&image], false, false);
            fixture.agrees(&format!("grad.{name}"), &grid(&gradient[0]));
        }
    }
}
