//! What goes into a model and comes out of it, checked before anything is run.

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

/// What may differ between detectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Height and width of the input, `None` where the model leaves it open.
    pub(crate) size: [Option<usize>; 2],
    /// Numbers of `labels`.
    pub(crate) labels: Numbers,
    /// Numbers of `masks`, if there are any.
    pub(crate) masks: Option<Numbers>,
}

impl Interface {
    /// The interface of a model with these inputs and outputs; outputs that are not read do not matter.
    ///
    /// # Errors
    /// What is expected and what was found.
    pub(crate) fn new(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let [input] = inputs else {
            return Err(format!(
                "expected one input, `input` [1, 3, H, W] of f32, found {}",
                list(inputs)
            ));
        };
        let input = find(
            std::slice::from_ref(input),
            "input",
            &[1, 3, -1, -1],
            &[Numbers::F32],
        )?;
        find(outputs, "dets", &[1, -1, 5], &[Numbers::F32])?;
        let labels = find(outputs, "labels", &[1, -1], &[Numbers::I64, Numbers::I32])?;
        let masks = if outputs.iter().any(|port| port.name == "masks") {
            let numbers = [Numbers::Bool, Numbers::U8, Numbers::F32];
            let masks = find(outputs, "masks", &[1, -1, -1, -1], &numbers)?;
            // The other side may be left open.
            for axis in [2, 3] {
                let (side, of_input) = (masks.shape[axis], input.shape[axis]);
                if side > 0 && of_input > 0 && side != of_input {
                    return Err(format!(
                        "expected `masks` as large as the input, {}, found {}; mmdeploy pastes them with `export_postprocess_mask = True`",
                        describe(input),
                        describe(masks)
                    ));
                }
            }
            Some(masks.numbers.clone())
        } else {
            None
        };
        let size = [2, 3].map(|axis| usize::try_from(input.shape[axis]).ok());
        Ok(Self {
            size,
            labels: labels.numbers.clone(),
            masks,
        })
    }
}

/// The port called `name`, whose lengths must be those of `shape` where both are known.
fn find<'a>(
    ports: &'a [Port],
    name: &str,
    shape: &[i64],
    numbers: &[Numbers],
) -> Result<&'a Port, String> {
    let fits = |port: &&Port| {
        port.name == name
            && numbers.contains(&port.numbers)
            && port.shape.len() == shape.len()
            && port.shape.iter().zip(shape).all(|(&found, &expected)| {
                found < 0 || (found > 0 && expected < 0) || found == expected
            })
    };
    ports.iter().find(fits).ok_or_else(|| {
        let numbers: Vec<&str> = numbers.iter().map(Numbers::name).collect();
        format!(
            "expected `{name}` {} of {}, found {}",
            lengths(shape),
            numbers.join(" or "),
            list(ports)
        )
    })
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

fn describe(port: &Port) -> String {
    format!(
        "`{}` {} of {}",
        port.name,
        lengths(&port.shape),
        port.numbers.name()
    )
}

fn list(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let all: Vec<String> = ports.iter().map(describe).collect();
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
mod tests {
    use super::*;

    fn port(name: &str, numbers: Numbers, shape: &[i64]) -> Port {
        Port {
            name: name.to_owned(),
            numbers,
            shape: shape.to_owned(),
        }
    }

    fn input(shape: &[i64]) -> [Port; 1] {
        [port("input", Numbers::F32, shape)]
    }

    fn outputs() -> Vec<Port> {
        vec![
            port("dets", Numbers::F32, &[1, -1, 5]),
            port("labels", Numbers::I64, &[1, 100]),
        ]
    }

    #[test]
    fn open_and_fixed_sizes_with_and_without_masks() {
        let open = Interface::new(&input(&[-1, 3, -1, -1]), &outputs()).expect("fits");
        assert_eq!((open.size, open.masks), ([None, None], None));
        let mut with_masks = outputs();
        with_masks.push(port("masks", Numbers::Bool, &[1, -1, 320, -1]));
        let fixed = Interface::new(&input(&[1, 3, 320, 640]), &with_masks).expect("fits");
        assert_eq!(fixed.size, [Some(320), Some(640)]);
        assert_eq!(fixed.masks, Some(Numbers::Bool));
    }

    #[test]
    fn another_interface_is_told_with_both_sides() {
        let good = input(&[1, 3, -1, -1]);
        let with = |change: &dyn Fn(&mut Vec<Port>)| {
            let mut outputs = outputs();
            change(&mut outputs);
            outputs
        };
        for (inputs, outputs, expected) in [
            (
                Vec::new(),
                outputs(),
                "expected one input, `input` [1, 3, H, W] of f32, found none",
            ),
            (
                input(&[2, 3, -1, -1]).to_vec(),
                outputs(),
                "expected `input` [1, 3, ?, ?] of f32, found `input` [2, 3, ?, ?] of f32",
            ),
            (
                good.to_vec(),
                with(&|all| all[0].name = "boxes".to_owned()),
                "expected `dets` [1, ?, 5] of f32, found `boxes` [1, ?, 5] of f32, `labels` [1, 100] of i64",
            ),
            (
                good.to_vec(),
                with(&|all| all[1].numbers = Numbers::F32),
                "expected `labels` [1, ?] of i64 or i32",
            ),
            (
                input(&[1, 3, 320, 320]).to_vec(),
                with(&|all| all.push(port("masks", Numbers::F32, &[1, 100, 28, 28]))),
                "export_postprocess_mask",
            ),
        ] {
            let error = Interface::new(&inputs, &outputs).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
