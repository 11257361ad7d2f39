//! ONNX Runtime, from a library that is named when the program runs.

use std::{
    env,
    path::{Path, PathBuf},
};

use dmdr_world::Image;
use ort::{
    session::{Session, SessionOutputs},
    value::{Outlet, Tensor, TensorElementType, ValueType},
};

use crate::{
    DetectorError, Frame, Object,
    interface::{Interface, Numbers, Port},
};

/// The environment variable that names the library where nothing else does.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// A loaded model.
#[derive(Debug)]
pub struct Detector {
    session: Session,
    interface: Interface,
}

impl Detector {
    /// The ONNX file `model` in the runtime at `library`, or, without one, where the environment says.
    ///
    /// # Errors
    /// No library or one that cannot be loaded; a model that cannot, or has another interface.
    pub fn open(model: &Path, library: Option<&Path>) -> Result<Self, DetectorError> {
        load(library)?;
        let wrong = |error: ort::Error| DetectorError::Model {
            path: model.to_owned(),
            message: error.to_string(),
        };
        let mut builder = Session::builder().map_err(wrong)?;
        let session = builder.commit_from_file(model).map_err(wrong)?;
        let [inputs, outputs] = [session.inputs(), session.outputs()]
            .map(|outlets| outlets.iter().map(port).collect::<Vec<Port>>());
        let interface = Interface::new(&inputs, &outputs);
        let interface = interface.map_err(|message| DetectorError::Interface {
            path: model.to_owned(),
            message,
        })?;
        Ok(Self { session, interface })
    }

    /// What is in `picture`: all objects above confidence 0, in the model's order.
    ///
    /// # Errors
    /// A model that fails, or gives other shapes than it says or numbers that are none.
    pub fn detect(&mut self, picture: &Image) -> Result<Vec<Object>, DetectorError> {
        let frame = Frame::new([picture.height, picture.width], self.interface.size);
        let [height, width] = frame.input();
        let input = Tensor::from_array(([1, 3, height, width], frame.pixels(picture)))?;
        let outputs = self.session.run(ort::inputs!["input" => input])?;
        let (shape, dets) = outputs["dets"].try_extract_tensor::<f32>()?;
        let count = dets.len() / 5;
        expect("dets", shape, &[1, count, 5])?;
        let labels = labels(&outputs, &self.interface.labels, count)?;
        let masks = match &self.interface.masks {
            Some(numbers) => Some(masks(&outputs, numbers, &[1, count, height, width])?),
            None => None,
        };
        let mut objects = Vec::new();
        for (place, (&label, row)) in labels.iter().zip(dets.chunks_exact(5)).enumerate() {
            let &[left, top, right, bottom, score] = row else {
                unreachable!("chunks of five")
            };
            if row.iter().any(|value| !value.is_finite()) || score > 1.0 {
                return Err(run(format!("row {place} of `dets` is {row:?}")));
            }
            // Models that always give as many rows fill them up.
            let Ok(label) = usize::try_from(label) else {
                continue;
            };
            if score <= 0.0 {
                continue;
            }
            let bounds = frame.bounds([left, top, right, bottom]);
            let [left, top, right, bottom] = bounds.map(f32::round_ties_even);
            if right - left < 1.0 || bottom - top < 1.0 {
                continue; // nothing of the picture is in it
            }
            let area = height * width;
            let mask = masks.as_ref();
            objects.push(Object {
                label,
                bounds,
                score,
                mask: mask.map(|all| frame.mask(&all[place * area..(place + 1) * area])),
            });
        }
        Ok(objects)
    }
}

/// Loads the library, which stays for the life of the process.
fn load(library: Option<&Path>) -> Result<(), DetectorError> {
    let named = env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty());
    let Some(path) = library.map(Path::to_owned).or(named.map(PathBuf::from)) else {
        return Err(DetectorError::NoLibrary);
    };
    let wrong = |message: String| DetectorError::Library {
        path: path.clone(),
        message,
    };
    // The full path: what is only a name would be looked for beside the program.
    let full = path
        .canonicalize()
        .map_err(|error| wrong(error.to_string()))?;
    let runtime = ort::init_from(full).map_err(|error| wrong(error.to_string()))?;
    runtime.with_name("dmdr").commit();
    Ok(())
}

fn port(outlet: &Outlet) -> Port {
    let (numbers, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (
            match ty {
                TensorElementType::Float32 => Numbers::F32,
                TensorElementType::Int64 => Numbers::I64,
                TensorElementType::Int32 => Numbers::I32,
                TensorElementType::Uint8 => Numbers::U8,
                TensorElementType::Bool => Numbers::Bool,
                other => Numbers::Other(other.to_string()),
            },
            shape.to_vec(),
        ),
        other => (Numbers::Other(other.to_string()), Vec::new()),
    };
    Port {
        name: outlet.name().to_owned(),
        numbers,
        shape,
    }
}

/// Classes of the rows.
fn labels(
    outputs: &SessionOutputs,
    numbers: &Numbers,
    count: usize,
) -> Result<Vec<i64>, DetectorError> {
    let output = &outputs["labels"];
    let (shape, labels) = if *numbers == Numbers::I64 {
        let (shape, labels) = output.try_extract_tensor::<i64>()?;
        (shape, labels.to_vec())
    } else {
        let (shape, labels) = output.try_extract_tensor::<i32>()?;
        (
            shape,
            labels.iter().map(|&label| i64::from(label)).collect(),
        )
    };
    expect("labels", shape, &[1, count])?;
    Ok(labels)
}

/// All masks one after another, in `[0, 1]`.
fn masks(
    outputs: &SessionOutputs,
    numbers: &Numbers,
    expected: &[usize],
) -> Result<Vec<f32>, DetectorError> {
    let output = &outputs["masks"];
    let (shape, masks) = match numbers {
        Numbers::Bool => {
            let (shape, masks) = output.try_extract_tensor::<bool>()?;
            let values = masks.iter().map(|&inside| f32::from(u8::from(inside)));
            (shape, values.collect())
        }
        Numbers::U8 => {
            let (shape, masks) = output.try_extract_tensor::<u8>()?;
            let values = masks.iter().map(|&value| f32::from(value.min(1)));
            (shape, values.collect())
        }
        _ => {
            let (shape, masks) = output.try_extract_tensor::<f32>()?;
            (shape, masks.to_vec())
        }
    };
    expect("masks", shape, expected)?;
    Ok(masks)
}

fn expect(name: &str, found: &[i64], expected: &[usize]) -> Result<(), DetectorError> {
    if found
        .iter()
        .map(|&length| length as usize)
        .eq(expected.iter().copied())
    {
        return Ok(());
    }
    Err(run(format!(
        "expected `{name}` {expected:?}, found {found:?}"
    )))
}

fn run(message: String) -> DetectorError {
    DetectorError::Run { message }
}

impl From<ort::Error> for DetectorError {
    fn from(error: ort::Error) -> Self {
        run(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_none_is_told() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let text = folder.path().join("libonnxruntime.so");
        let error = load(Some(&text)).expect_err("not there").to_string();
        assert!(
            error.contains("libonnxruntime.so`: No such file"),
            "{error}"
        );
        std::fs::write(&text, "no library").expect("writable");
        let error = load(Some(&text)).expect_err("text").to_string();
        assert!(error.contains("cannot load ONNX Runtime from"), "{error}");
    }
}
