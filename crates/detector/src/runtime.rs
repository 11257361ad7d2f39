//! ONNX Runtime, from a library that is named when the program runs.

use std::{
    env,
    path::{Path, PathBuf},
};

use dmdr_world::Image;
use ort::{
    session::{Session, SessionInputValue, SessionOutputs},
    value::{Outlet, Tensor, TensorElementType, ValueType},
};
use serde_json::Value;

use crate::{
    DetectorError, Object,
    interface::{Interface, Numbers, Port},
};

/// The environment variable that names the library where nothing else does.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// A loaded model, and what it takes and gives.
#[derive(Debug)]
pub struct Detector {
    model: Model,
    interface: Interface,
}

impl Detector {
    /// The ONNX file `model` in the runtime at `library`, or, without one, where the environment says. YOLOX and
    /// Mask2Former see a blank picture.
    ///
    /// # Errors
    /// No library or one that cannot be loaded; a model that cannot, has another interface, or fails on the picture.
    pub fn open(model: &Path, library: Option<&Path>) -> Result<Self, DetectorError> {
        load(library)?;
        let path = model;
        let wrong = |error: ort::Error| DetectorError::Model {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let mut builder = Session::builder().map_err(wrong)?;
        let session = builder.commit_from_file(path).map_err(wrong)?;
        let [inputs, outputs] = [session.inputs(), session.outputs()]
            .map(|outlets| outlets.iter().map(port).collect::<Vec<Port>>());
        let other = |message: String| DetectorError::Interface {
            path: path.to_owned(),
            message,
        };
        let mut interface = Interface::new(&inputs, &outputs).map_err(other)?;
        let mut model = Model(session);
        match &mut interface {
            Interface::EndToEnd(_) => Ok(()),
            Interface::Yolox(yolox) => yolox.probe(&mut model),
            Interface::Mask2Former(queries) => queries.probe(path, &mut model),
        }
        .map_err(|error| match error {
            DetectorError::Run { message } => other(format!("on a blank picture, {message}")),
            error => error,
        })?;
        Ok(Self { model, interface })
    }

    /// How answers are read: the interface by name, thresholds, and what a picture becomes, with the same keys and numbers
    /// for the same model and files beside it.
    pub fn settings(&self) -> Value {
        match &self.interface {
            Interface::EndToEnd(detector) => detector.settings(),
            Interface::Yolox(yolox) => yolox.settings(),
            Interface::Mask2Former(queries) => queries.settings(),
        }
    }

    /// What is in `picture`: all objects above confidence 0, of YOLOX above 0.1; in an end-to-end model's order, else the
    /// most confident first.
    ///
    /// # Errors
    /// A model that fails, or gives other shapes than it says or numbers that are none.
    pub fn detect(&mut self, picture: &Image) -> Result<Vec<Object>, DetectorError> {
        let model = &mut self.model;
        match &self.interface {
            Interface::EndToEnd(detector) => detector.detect(model, picture),
            Interface::Yolox(yolox) => yolox.detect(model, picture),
            Interface::Mask2Former(queries) => queries.detect(model, picture),
        }
    }
}

/// A model in the runtime.
#[derive(Debug)]
pub(crate) struct Model(Session);

impl Model {
    /// Runs `pixels [3, height, width]` of `size` as the input `name`, and perhaps `[height, width]` whole numbers.
    pub(crate) fn run(
        &mut self,
        name: &str,
        size: [usize; 2],
        pixels: Vec<f32>,
        more: Option<(&'static str, Vec<i64>)>,
    ) -> Result<Answers<'_>, DetectorError> {
        let [height, width] = size;
        let pixels = Tensor::from_array(([1, 3, height, width], pixels))?;
        let mut inputs: Vec<(&str, SessionInputValue)> = vec![(name, pixels.into())];
        if let Some((name, values)) = more {
            let values = Tensor::from_array(([1, height, width], values))?;
            inputs.push((name, values.into()));
        }
        Ok(Answers(self.0.run(inputs)?))
    }
}

/// What a model gives for one picture.
pub(crate) struct Answers<'a>(SessionOutputs<'a>);

impl Answers<'_> {
    /// Shape and numbers of an output in f32.
    pub(crate) fn floats(&self, name: &str) -> Result<(&[i64], &[f32]), DetectorError> {
        let (shape, numbers) = self.0[name].try_extract_tensor::<f32>()?;
        Ok((shape, numbers))
    }

    /// Whole numbers of an output of that shape.
    pub(crate) fn integers(
        &self,
        name: &str,
        numbers: &Numbers,
        expected: &[usize],
    ) -> Result<Vec<i64>, DetectorError> {
        let output = &self.0[name];
        let (shape, integers) = if *numbers == Numbers::I64 {
            let (shape, integers) = output.try_extract_tensor::<i64>()?;
            (shape, integers.to_vec())
        } else {
            let (shape, integers) = output.try_extract_tensor::<i32>()?;
            (shape, integers.iter().copied().map(i64::from).collect())
        };
        expect(name, shape, expected)?;
        Ok(integers)
    }

    /// All masks of an output one after another, in `[0, 1]`.
    pub(crate) fn masks(
        &self,
        name: &str,
        numbers: &Numbers,
        expected: &[usize],
    ) -> Result<Vec<f32>, DetectorError> {
        let output = &self.0[name];
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
        expect(name, shape, expected)?;
        Ok(masks)
    }
}

/// The shape of the output `name` must be the expected one.
pub(crate) fn expect(name: &str, found: &[i64], expected: &[usize]) -> Result<(), DetectorError> {
    if found
        .iter()
        .map(|&length| length as usize)
        .eq(expected.iter().copied())
    {
        return Ok(());
    }
    Err(wrong(format!(
        "expected `{name}` {expected:?}, found {found:?}"
    )))
}

/// A model that fails.
pub(crate) fn wrong(message: String) -> DetectorError {
    DetectorError::Run { message }
}

/// Loads the library, which stays for the life of the process.
fn load(library: Option<&Path>) -> Result<(), DetectorError> {
    let named = env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty());
    let Some(path) = library.map(Path::to_owned).or(named.map(PathBuf::from)) else {
        return Err(DetectorError::NoLibrary);
    };
    let unusable = |message: String| DetectorError::Library {
        path: path.clone(),
        message,
    };
    // The full path: what is only a name would be looked for beside the program.
    let full = path
        .canonicalize()
        .map_err(|error| unusable(error.to_string()))?;
    let runtime = ort::init_from(full).map_err(|error| unusable(error.to_string()))?;
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

impl From<ort::Error> for DetectorError {
    fn from(error: ort::Error) -> Self {
        wrong(error.to_string())
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
