//! Safetensors files out.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use safetensors::{Dtype, tensor::TensorView};
use tch::{Kind, Tensor};

use crate::TensorError;

/// Writes `tensors` as `kind` to `path`, atomically.
///
/// # Errors
/// As for [`check_finite`], or if the file cannot be written.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    kind: Kind,
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    check_finite(path, tensors, kind)?;
    let file = safetensors_bytes(tensors, kind, metadata);
    Ok(dmdr_events::atomic_write(path, &file)?)
}

/// Whether all `tensors` are finite once they are `kind`, for the file `path`: [`crate::read_tensors`] would refuse them otherwise.
///
/// # Errors
/// The first tensor that is not.
pub fn check_finite(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    kind: Kind,
) -> Result<(), TensorError> {
    let is_finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) != 0;
    for (name, tensor) in tensors {
        if is_finite(&tensor.to_kind(kind_in_file(tensor, kind))) {
            continue;
        }
        return Err(if is_finite(tensor) {
            TensorError::Overflow {
                path: path.to_owned(),
                name: name.clone(),
                largest: tensor.abs().max().double_value(&[]),
                kind: match kind {
                    Kind::Half => "f16",
                    Kind::BFloat16 => "bf16",
                    _ => "f32",
                },
            }
        } else {
            TensorError::NotFinite {
                path: path.to_owned(),
                name: name.clone(),
            }
        });
    }
    Ok(())
}

/// The kind of `tensor` in a file of `kind`. Single numbers, such as an alpha, stay f32: bf16 has eight bits for one.
fn kind_in_file(tensor: &Tensor, kind: Kind) -> Kind {
    match kind {
        Kind::Half | Kind::BFloat16 if tensor.dim() > 0 => kind,
        _ => Kind::Float,
    }
}

/// What [`write_tensors`] writes, without a look at the values.
pub fn safetensors_bytes(
    tensors: &BTreeMap<String, Tensor>,
    kind: Kind,
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let bytes: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let kind = kind_in_file(tensor, kind);
            let dtype = match kind {
                Kind::Half => Dtype::F16,
                Kind::BFloat16 => Dtype::BF16,
                _ => Dtype::F32,
            };
            let tensor = tensor
                .detach()
                .to_device(tch::Device::Cpu)
                .to_kind(kind)
                .contiguous();
            let mut data = vec![0u8; tensor.numel() * kind.elt_size_in_bytes()];
            tensor.copy_data_u8(&mut data, tensor.numel());
            let shape = tensor.size().iter().map(|&dim| dim as usize).collect();
            (name, dtype, shape, data)
        })
        .collect();
    let views = bytes.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data)
            .expect("the buffer was sized from shape and dtype");
        (name.as_str(), view)
    });
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let metadata = (!metadata.is_empty()).then_some(metadata);
    safetensors::serialize(views, metadata).expect("names are strings, buffers fit their shapes")
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::read_tensors;

    #[test]
    fn what_is_not_finite_is_not_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        let tensors = |value: f64| {
            let large = Tensor::full([2], value, (Kind::Float, Device::Cpu));
            BTreeMap::from([("a".to_owned(), large.ones_like()), ("b".to_owned(), large)])
        };
        let write = |value, kind| write_tensors(&path, &tensors(value), kind, &BTreeMap::new());
        let error = write(1e5, Kind::Half).expect_err("65504 is the largest");
        let error = error.to_string();
        assert!(error.contains("`b`") && error.contains("100000"), "{error}");
        let error = write(f64::NAN, Kind::Float).expect_err("NaN").to_string();
        assert!(error.contains("`b`") && error.contains("NaN"), "{error}");
        assert!(!path.exists(), "nothing is left behind");
        write(1e5, Kind::BFloat16).expect("as far as f32");
    }

    #[test]
    fn single_numbers_keep_their_digits() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        let alpha = BTreeMap::from([("alpha".to_owned(), Tensor::from(257.0f32))]);
        write_tensors(&path, &alpha, Kind::BFloat16, &BTreeMap::new()).expect("writable");
        let read = read_tensors(&path).expect("readable");
        assert_eq!(read["alpha"].double_value(&[]).to_bits(), 257f64.to_bits());
    }
}
