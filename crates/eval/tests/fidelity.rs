//! Distance, precision and recall against torch-fidelity (`tools/peer/fidelity.py`).

use std::{fs, path::Path};

use dmdr_eval::{EvalError, Features, Reference, pictures};
use dmdr_tensor::{Device, Kind, Tensor, read_tensors};

/// The formula of `rewards.py`'s `whole`, f64.
fn whole(rows: i64, dims: i64, salt: i64) -> Tensor {
    let mut x = Tensor::arange(rows * dims, (Kind::Int64, Device::Cpu)) + 7919 * salt;
    for _ in 0..3 {
        x = (x * 48_271 + 11).remainder(2_147_483_647);
        x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(15));
    }
    let numbers = (x.to_kind(Kind::Double) / f64::from(1 << 30) - 1.0).to_kind(Kind::Float);
    numbers.to_kind(Kind::Double).reshape([rows, dims])
}

#[test]
fn distances_and_shares_are_the_references() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fidelity.safetensors");
    let fixture = read_tensors(&path).expect("tensors");
    for (dims, generated, truth) in [(24, 300, 200), (64, 40, 50)] {
        let scales = Tensor::linspace(0.6, 1.1, dims, (Kind::Double, Device::Cpu));
        let features = |pooled| Features {
            pooled,
            spatial: None,
        };
        let reference = Reference::new(features(whole(truth, dims, 5) * scales + 0.05));
        let found = reference.compare(&features(whole(generated, dims, 3)));
        assert_eq!(reference.num_images(), truth as usize);
        for (found, name) in found.into_iter().zip(["distance", "precision", "recall"]) {
            let expected = fixture[&format!("{name}.{dims}")].double_value(&[0]);
            let error = (found - expected).abs() / expected.max(1.0);
            assert!(error < 1e-5, "{name}.{dims}: {found}, {expected}");
        }
    }
}

#[test]
fn a_reference_needs_pictures() {
    let dir = tempfile::tempdir().expect("temp dir");
    let deep = dir.path().join("deep");
    fs::create_dir(&deep).expect("writable");
    for name in ["b.JPG", "deep/a.png", "c.jpeg", "notes.txt"] {
        fs::write(dir.path().join(name), "").expect("writable");
    }
    let error = pictures(dir.path()).expect_err("three are too few");
    assert!(
        matches!(error, EvalError::FewPictures { found: 3, .. }),
        "{error}"
    );
    fs::write(deep.join("d.png"), "").expect("writable");
    let found = pictures(dir.path()).expect("four");
    assert_eq!((found.len(), &found[3]), (4, &deep.join("d.png")));
}
