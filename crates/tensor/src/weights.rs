//! Safetensors files in. A pickle is never read.

use std::{collections::BTreeMap, fs::File, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Kind, Tensor};

use crate::{TensorError, foreign::not_safetensors, header::Header};

/// Headers of tensors that were read from `file`.
pub(crate) fn headers(tensors: &BTreeMap<String, Tensor>, file: &Path) -> BTreeMap<String, Header> {
    let header = |(name, tensor): (&String, &Tensor)| {
        let header = Header {
            shape: tensor.size(),
            kind: tensor.kind(),
            file: file.to_owned(),
        };
        (name.clone(), header)
    };
    tensors.iter().map(header).collect()
}

/// Whether a file's name is that of a pickle.
pub(crate) fn is_pickle(path: &Path) -> bool {
    let pickle = ["bin", "pt", "pth", "ckpt"];
    path.extension()
        .is_some_and(|ext| pickle.iter().any(|p| ext.eq_ignore_ascii_case(p)))
}

fn with_file<T>(
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, TensorError> {
    let io = |source| TensorError::Read {
        path: path.to_owned(),
        source,
    };
    let format = |reason| TensorError::Format {
        path: path.to_owned(),
        reason,
    };
    if is_pickle(path) {
        return Err(TensorError::pickle(path));
    }
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(format("it is a folder; name the file in it".into()));
    }
    if metadata.len() == 0 {
        return Err(format(not_safetensors(&[]).expect("it is empty")));
    }
    #[expect(
        unsafe_code,
        reason = "read-only map; weight files are replaced by rename, never rewritten in place"
    )]
    // SAFETY: the map is read-only and dropped before this function returns.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    if let Some(reason) = not_safetensors(&map) {
        return Err(format(reason));
    }
    read(&map).map_err(format)
}

/// All tensors of a file, on the CPU, in the file's own precision.
///
/// # Errors
/// An unreadable, truncated or malformed file, a dtype that is not f32, f16 or bf16, or values that are not finite.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, TensorError> {
    read_tensors_where(path, |_| true)
}

/// [`read_tensors`] of those whose name is `wanted`; the rest of the file is not touched.
///
/// # Errors
/// As for [`read_tensors`].
pub fn read_tensors_where(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Tensor>, TensorError> {
    let mut tensors = BTreeMap::new();
    let rename = |name: &str| wanted(name).then(|| name.to_owned());
    for_each_tensor(path, &rename, |name, tensor| {
        tensors.insert(name.to_owned(), tensor);
    })?;
    Ok(tensors)
}

/// [`read_tensors`] of a file that may also hold f64 and integers, each in its own kind: adapters keep an alpha so.
///
/// # Errors
/// As for [`read_tensors`], but for the kinds.
pub fn read_numbers(path: &Path) -> Result<BTreeMap<String, Tensor>, TensorError> {
    with_file(path, |bytes| {
        let file = parse(bytes)?;
        let number = |(name, view): (&str, TensorView<'_>)| {
            let kind = match view.dtype() {
                Dtype::F64 => Kind::Double,
                Dtype::I64 => Kind::Int64,
                Dtype::I32 => Kind::Int,
                Dtype::I16 => Kind::Int16,
                Dtype::I8 => Kind::Int8,
                Dtype::U8 => Kind::Uint8,
                _ => kind_of(name, &view)?,
            };
            Ok((name.to_owned(), tensor_as(kind, name, &view)?))
        };
        file.iter().map(number).collect()
    })
}

/// Every tensor under the name it has in the file.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a `rename`, which may pass tensors over"
)]
pub(crate) fn as_stored(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Calls `take` with each tensor of a file in turn, by the name that `rename` gives it, if any.
pub(crate) fn for_each_tensor(
    path: &Path,
    rename: &dyn Fn(&str) -> Option<String>,
    mut take: impl FnMut(&str, Tensor),
) -> Result<(), TensorError> {
    with_file(path, |bytes| {
        let file = parse(bytes)?;
        for (stored, view) in file.iter() {
            if let Some(name) = rename(stored) {
                take(&name, tensor_of(stored, &view)?);
            }
        }
        Ok(())
    })
}

/// Shapes and kinds of all tensors of a file that `rename` gives a name; the file may be much larger than memory.
pub(crate) fn read_headers(
    path: &Path,
    rename: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Header>, TensorError> {
    with_file(path, |bytes| {
        let file = parse(bytes)?;
        let header = |(stored, view): (&str, TensorView<'_>)| {
            let name = rename(stored)?;
            let header = kind_of(stored, &view).map(|kind| Header {
                shape: shape_of(&view),
                kind,
                file: path.to_owned(),
            });
            Some(header.map(|header| (name, header)))
        };
        file.iter().filter_map(header).collect()
    })
}

/// The string metadata of a file.
///
/// # Errors
/// As for [`read_tensors`].
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, TensorError> {
    with_file(path, |bytes| {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        Ok(metadata
            .metadata()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect())
    })
}

/// The tensors of a file; of one that is cut short, the error names the first that is not whole.
fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    SafeTensors::deserialize(bytes).map_err(|error| match first_cut(bytes) {
        Some(name) => {
            format!(
                "it is cut short within tensor `{name}` ({error}): download it again, or make it again with `--resume`"
            )
        }
        None => format!("{error}: the file is damaged; download it again, or remove it and make it again with `--resume`"),
    })
}

/// The tensor that ends first beyond `bytes`, if the header can be read.
fn first_cut(bytes: &[u8]) -> Option<String> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let (header, data) = bytes[8..].split_at_checked(usize::try_from(length).ok()?)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header.iter().filter_map(|(name, tensor)| {
        let end = tensor.get("data_offsets")?.get(1)?.as_u64()?;
        (end > data.len() as u64).then_some((end, name))
    });
    ends.min().map(|(_, name)| name.clone())
}

fn kind_of(name: &str, view: &TensorView<'_>) -> Result<Kind, String> {
    match view.dtype() {
        Dtype::F32 => Ok(Kind::Float),
        Dtype::F16 => Ok(Kind::Half),
        Dtype::BF16 => Ok(Kind::BFloat16),
        other if other.bitsize() <= 8 && other != Dtype::BOOL => Err(format!(
            "tensor `{name}` is {other:?}; expected F32, F16 or BF16: the weights are quantised, \
             use the files of the same model that are not"
        )),
        other => Err(format!(
            "tensor `{name}` is {other:?}; expected F32, F16 or BF16"
        )),
    }
}

fn shape_of(view: &TensorView<'_>) -> Vec<i64> {
    view.shape().iter().map(|&dim| dim as i64).collect()
}

fn tensor_of(name: &str, view: &TensorView<'_>) -> Result<Tensor, String> {
    tensor_as(kind_of(name, view)?, name, view)
}

fn tensor_as(kind: Kind, name: &str, view: &TensorView<'_>) -> Result<Tensor, String> {
    let tensor = Tensor::f_from_data_size(view.data(), &shape_of(view), kind).map_err(|error| {
        format!(
            "tensor `{name}`: {}",
            error.to_string().lines().next().unwrap_or("")
        )
    })?;
    // All that can be seen of a flipped bit among the values.
    if tensor.isfinite().all().int64_value(&[]) == 0 {
        return Err(format!("tensor `{name}` has values that are not finite"));
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{Init, ParamStore, Scope};

    fn store(names: &[&str]) -> ParamStore {
        let store = ParamStore::trainable(Device::Cpu, 1);
        for name in names {
            let _ = Scope::root(&store, &[]).param(name, &[2, 3], Init::Normal(1.0));
        }
        store
    }

    #[test]
    fn round_trip_and_strictness() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        let saved = store(&["a", "b"]);
        saved
            .save(&path, Kind::Float, &BTreeMap::new())
            .expect("writable");
        let same = store(&["a", "b"]);
        assert!(same.load(&path).expect("same names").cast.is_empty());
        assert_eq!(same.group().tensors[1], saved.group().tensors[1]);

        let error = store(&["a", "c"])
            .load(&path)
            .expect_err("other names")
            .to_string();
        assert!(
            error.contains("1 missing (c ..)") && error.contains("1 unexpected (b ..)"),
            "{error}"
        );
        let other = ParamStore::trainable(Device::Cpu, 1);
        let _ = Scope::root(&other, &[]).param("a", &[3, 2], Init::Zeros);
        let _ = Scope::root(&other, &[]).param("b", &[2, 3], Init::Zeros);
        let error = other.load(&path).expect_err("other shape").to_string();
        assert!(
            error.contains("`a`: expected [3, 2], found [2, 3]"),
            "{error}"
        );
    }

    #[test]
    fn half_precision_is_widened_and_reported() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        let saved = store(&["a"]);
        saved
            .save(&path, Kind::Half, &BTreeMap::new())
            .expect("writable");
        let loaded = store(&["a"]);
        assert_eq!(loaded.load(&path).expect("fits").cast, ["a"]);
        assert_eq!(loaded.group().tensors[0].kind(), Kind::Float);
    }

    #[test]
    fn numbers_of_every_kind_are_read_where_they_are_asked_for() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        let (wide, byte) = (8i64.to_le_bytes(), [8u8]);
        let view = |dtype, bytes| TensorView::new(dtype, Vec::new(), bytes).expect("one number");
        let double = 8f64.to_le_bytes();
        let views = [
            ("f64", view(Dtype::F64, &double[..])),
            ("i64", view(Dtype::I64, &wide[..])),
            ("i32", view(Dtype::I32, &wide[..4])),
            ("i16", view(Dtype::I16, &wide[..2])),
            ("i8", view(Dtype::I8, &byte)),
            ("u8", view(Dtype::U8, &byte)),
        ];
        let file = safetensors::serialize(views, None).expect("fits");
        std::fs::write(&path, file).expect("writable");
        let numbers = read_numbers(&path).expect("readable");
        assert_eq!(numbers.len(), 6);
        for (name, number) in numbers {
            assert!((number.double_value(&[]) - 8.0).abs() < 1e-12, "{name}");
        }
        let error = read_tensors(&path).expect_err("no weights").to_string();
        assert!(error.contains("expected F32, F16 or BF16"), "{error}");
        let error = read_tensors(dir.path()).expect_err("a folder").to_string();
        assert!(error.contains("it is a folder"), "{error}");
    }

    #[test]
    fn broken_files_give_one_clear_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("w.safetensors");
        store(&["a"])
            .save(&path, Kind::Float, &BTreeMap::new())
            .expect("writable");
        let good = std::fs::read(&path).expect("readable");
        let cases: [(&str, Vec<u8>); 4] = [
            ("empty", Vec::new()),
            ("truncated", good[..good.len() - 4].to_vec()),
            (
                "huge header",
                [&u64::MAX.to_le_bytes()[..], &good[8..]].concat(),
            ),
            ("text", b"not a tensor file at all".to_vec()),
        ];
        for (name, bytes) in cases {
            std::fs::write(&path, bytes).expect("writable");
            let error = store(&["a"]).load(&path).expect_err(name).to_string();
            assert!(
                error.contains("w.safetensors") && error.lines().count() == 1,
                "{name}: {error}"
            );
        }
        let error = read_tensors(&dir.path().join("none.safetensors")).expect_err("no file");
        assert!(error.to_string().contains("cannot read weights"), "{error}");
        let error = read_tensors(&dir.path().join("model.ckpt"))
            .expect_err("pickle")
            .to_string();
        assert!(error.contains("pickle"), "{error}");
    }
}
