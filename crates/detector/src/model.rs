//! A model in the runtime: run on a picture, and what it answers.

use ort::{
    session::{Session, SessionInputValue, SessionOutputs},
    value::Tensor,
};

use crate::{DetectorError, port::Numbers};

/// A model in the runtime.
#[derive(Debug)]
pub(crate) struct Model(pub(crate) Session);

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

impl From<ort::Error> for DetectorError {
    fn from(error: ort::Error) -> Self {
        wrong(error.to_string())
    }
}
