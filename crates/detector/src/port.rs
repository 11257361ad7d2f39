//! [`Port`]: a named tensor that a model takes or gives.

/// A named tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// What numbers it has; a type that is no tensor in its own words.
    pub(crate) numbers: Numbers,
    /// -1 where a length is left open.
    pub(crate) shape: Vec<i64>,
}

/// Types of numbers that a detector's tensors may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    I64,
    I32,
    U8,
    Bool,
    Other(String),
}

impl Port {
    /// Whether its lengths are those of `shape` where both are known, and its numbers one of `numbers`.
    pub(crate) fn fits(&self, shape: &[i64], numbers: &[Numbers]) -> bool {
        numbers.contains(&self.numbers)
            && self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(&found, &expected)| {
                found < 0 || (found > 0 && expected < 0) || found == expected
            })
    }

    /// The length of `axis`, if the model tells it.
    pub(crate) fn length(&self, axis: usize) -> Option<usize> {
        usize::try_from(self.shape[axis]).ok()
    }

    /// Its name, lengths and numbers.
    pub(crate) fn describe(&self) -> String {
        format!(
            "`{}` {} of {}",
            self.name,
            lengths(&self.shape),
            self.numbers.name()
        )
    }
}

/// The port called `name`, whose lengths must be those of `shape` where both are known.
pub(crate) fn find<'a>(
    ports: &'a [Port],
    name: &str,
    shape: &[i64],
    numbers: &[Numbers],
) -> Result<&'a Port, String> {
    let fits = |port: &&Port| port.name == name && port.fits(shape, numbers);
    ports.iter().find(fits).ok_or_else(|| {
        let numbers: Vec<&str> = numbers.iter().map(Numbers::name).collect();
        format!(
            "expected `{name}` {} of {}, found {}{}",
            lengths(shape),
            numbers.join(" or "),
            list(ports),
            way_out(ports.iter().filter(|port| port.name == name))
        )
    })
}

/// What to do about numbers of half precision.
pub(crate) fn way_out<'a>(ports: impl IntoIterator<Item = &'a Port>) -> &'static str {
    let is_half = |port: &Port| matches!(&port.numbers, Numbers::Other(name) if name == "f16");
    if ports.into_iter().any(is_half) {
        "; convert a model to f16 with `keep_io_types=True`, so that its inputs and outputs stay f32"
    } else {
        ""
    }
}

impl Numbers {
    fn name(&self) -> &str {
        match self {
            Self::F32 => "f32",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Other(name) => name,
        }
    }
}

pub(crate) fn list(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let all: Vec<String> = ports.iter().map(Port::describe).collect();
    all.join(", ")
}

fn lengths(shape: &[i64]) -> String {
    let all: Vec<String> = shape
        .iter()
        .map(|&length| {
            if length < 0 {
                "?".to_owned()
            } else {
                length.to_string()
            }
        })
        .collect();
    format!("[{}]", all.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn port(name: &str, numbers: Numbers, shape: &[i64]) -> Port {
        Port {
            name: name.to_owned(),
            numbers,
            shape: shape.to_owned(),
        }
    }
}
