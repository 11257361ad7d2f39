//! ONNX Runtime, from a library that is named when the program runs.

use std::{
    env,
    path::{Path, PathBuf},
};

use dmdr_image::Image;
use ort::{
    session::Session,
    value::{Outlet, TensorElementType, ValueType},
};
use serde_json::Value;

use crate::{
    DetectorError, LIBRARY_VARIABLE, Object,
    interface::Interface,
    model::Model,
    port::{Numbers, Port},
};

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
