//! Distance, precision and recall against torch-fidelity (`tools/peer/fidelity.py`).

use std::{fs, path::Path};

use dmdr_eval::{EvalError, Features, Reference, pictures};
use dmdr_image::Image;
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
    fs::create_dir_all(dir.path().join(".thumbnails")).expect("writable");
    fs::create_dir(&deep).expect("writable");
    let png = Image::filled(2, 2, [0.5; 3]).png(&[]);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).expect("writable");
    };
    for name in ["b.JPG", "deep/a.png", "c"] {
        write(name, &png); // whatever the name
    }
    for name in ["notes.txt", "Thumbs.db", ".DS_Store", "._b.jpg"] {
        write(name, b"no picture");
    }
    write(".thumbnails/b.png", &png);
    let error = pictures(dir.path()).expect_err("three are too few");
    assert!(
        matches!(error, EvalError::FewPictures { found: 3, .. }),
        "{error}"
    );
    write("deep/d.png", &png);
    let found = pictures(dir.path()).expect("four");
    assert_eq!((found.len(), &found[3]), (4, &deep.join("d.png")));

    // What would be missed, or is none.
    for (name, bytes, reason) in [
        ("e.webp", &b"RIFF\x7a\0\0\0WEBPVP8 "[..], "is WebP"),
        ("e", b"GIF89a\x01\0\x01\0", "is GIF"),
        ("e.heic", b"\0\0\0\x18ftypheic", "is neither PNG nor JPEG"),
        (
            "e.jpg",
            b"<html>not found</html>",
            "is neither PNG nor JPEG",
        ),
    ] {
        write(name, bytes);
        let error = pictures(dir.path()).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
        fs::remove_file(dir.path().join(name)).expect("there");
    }
}
