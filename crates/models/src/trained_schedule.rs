//! The noise schedule that a published network was trained with, from its pipeline's `scheduler/scheduler_config.json`.
//!
//! diffusers (0.42.1) builds the class that `model_index.json` names from these keys; one that is missing has the default of
//! the class. What belongs to a sampler alone, such as `timestep_spacing`, is not read: the teacher is sampled as a run's
//! `[teacher]` says.

use std::path::PathBuf;

use dmdr_diffusion::Schedule;
use serde_json::{Map, Value, json};

use crate::{
    ModelError, PipelineIndex,
    diffusers::{plain, same},
    json::read_json,
};

/// A field of which one value is built, as JSON.
type Fixed = (&'static str, &'static str);

/// For the table of betas ([`Schedule::ScaledLinear`]).
const SCALED_LINEAR: [Fixed; 9] = [
    ("prediction_type", "\"epsilon\""),
    ("beta_schedule", "\"scaled_linear\""),
    ("beta_start", "0.00085"),
    ("beta_end", "0.012"),
    ("num_train_timesteps", "1000"),
    ("trained_betas", "null"),
    ("rescale_betas_zero_snr", "false"),
    ("thresholding", "false"),
    ("use_flow_sigmas", "false"),
];

/// For rectified flows.
const FLOW: [Fixed; 7] = [
    ("num_train_timesteps", "1000"),
    ("invert_sigmas", "false"),
    ("shift_terminal", "null"),
    ("use_karras_sigmas", "false"),
    ("use_exponential_sigmas", "false"),
    ("use_beta_sigmas", "false"),
    ("stochastic_sampling", "false"),
];

/// Classes that sample a network by its table of betas, which is all that matters here.
const BETAS: [&str; 21] = [
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
    "DDIMInverseScheduler",
    "DPMSolverMultistepInverseScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
];

/// Classes that sample a rectified flow; the second takes nothing but a shift.
const FLOWS: [&str; 3] = [
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
];

/// What is known of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainedSchedule {
    /// The table of betas of [`Schedule::ScaledLinear`].
    Betas,
    /// A rectified flow whose sampler shifts its times by this.
    Flow {
        /// The shift.
        shift: f64,
    },
    /// One whose shift grows with the image: its logarithm, or itself, is `start + slope * patches`.
    Dynamic {
        /// At no patch.
        start: f64,
        /// With each.
        slope: f64,
        /// Whether it is the logarithm.
        is_exponential: bool,
    },
}

impl TrainedSchedule {
    /// That of a pipeline; none if it brings no scheduler.
    ///
    /// # Errors
    /// A file that is unreadable, or a schedule that is not built: a v-prediction network would be distilled as if
    /// it predicted the noise.
    pub fn of(index: &PipelineIndex) -> Result<Option<Self>, ModelError> {
        let path = index.folder().join("scheduler/scheduler_config.json");
        let is_there = path.is_file();
        let fields: Map<String, Value> = if is_there {
            read_json(&path)?
        } else {
            Map::new()
        };
        let class = index.class_of("scheduler").map(str::to_owned);
        let config = Config {
            class: class.or_else(|| fields.get("_class_name").map(plain)),
            path,
            fields,
        };
        let is_flow = index.family().schedule() == Schedule::RectifiedFlow;
        config.known_class(is_flow, index.family().name())?;
        Ok(match (is_there, is_flow) {
            (false, _) => None,
            (true, true) => Some(config.flow()?),
            (true, false) => Some(config.betas()?),
        })
    }

    /// The sampler's shift for an image of `num_patches` patches; none if there is none to choose.
    pub fn shift(&self, num_patches: i64) -> Option<f64> {
        match *self {
            Self::Betas => None,
            Self::Flow { shift } => Some(shift),
            Self::Dynamic {
                start,
                slope,
                is_exponential,
            } => {
                let mu = start + slope * num_patches as f64;
                Some(if is_exponential { mu.exp() } else { mu })
            }
        }
    }
}

/// `scheduler_config.json`.
struct Config {
    path: PathBuf,
    class: Option<String>,
    fields: Map<String, Value>,
}

impl Config {
    fn class(&self) -> &str {
        self.class.as_deref().unwrap_or_default()
    }

    fn get(&self, field: &str) -> Value {
        self.fields.get(field).cloned().unwrap_or_default()
    }

    fn number(&self, field: &str, default: f64) -> Result<f64, ModelError> {
        let value = self.fields.get(field).cloned().unwrap_or(json!(default));
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| self.refused(&format!("`{field}` is {value}, expected a number")))
    }

    fn refused(&self, reason: &str) -> ModelError {
        ModelError::refused(&self.path, reason)
    }

    /// # Errors
    /// A class that samples networks of the family `name` otherwise.
    fn known_class(&self, is_flow: bool, name: &str) -> Result<(), ModelError> {
        let by_flag = same(&self.get("use_flow_sigmas"), &json!(true));
        let known = if is_flow {
            by_flag || FLOWS.contains(&self.class())
        } else {
            BETAS.contains(&self.class())
        };
        if known || self.class.is_none() {
            return Ok(());
        }
        let (network, expected) = if is_flow {
            ("a rectified flow", FLOWS[0].to_owned())
        } else {
            let other = format!("EulerDiscreteScheduler or another one with {name}'s betas");
            (name, other)
        };
        let class = self.class();
        Err(self.refused(&format!(
            "`_class_name` is {class}, which does not sample {network}; expected {expected}"
        )))
    }

    /// Of each of `fixed`, where it is missing the value in `defaults`, or else the one that is built.
    fn check(&self, fixed: &[Fixed], defaults: &Value) -> Result<(), ModelError> {
        for &(field, expected) in fixed {
            let value: Value = serde_json::from_str(expected).expect("the constant is JSON");
            let given = self.fields.get(field);
            let found = given.or_else(|| defaults.get(field)).unwrap_or(&value);
            if !same(found, &value) {
                let missing = if given.is_some() {
                    ""
                } else {
                    "missing, which means "
                };
                return Err(ModelError::NotBuilt {
                    path: self.path.clone(),
                    field,
                    found: format!("{missing}{found}"),
                    expected,
                });
            }
        }
        Ok(())
    }

    fn betas(&self) -> Result<TrainedSchedule, ModelError> {
        let defaults = match self.class() {
            "LCMScheduler" | "TCDScheduler" => json!({}),
            "HeunDiscreteScheduler"
            | "KDPM2AncestralDiscreteScheduler"
            | "KDPM2DiscreteScheduler" => {
                json!({ "beta_schedule": "linear" })
            }
            _ => json!({ "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear" }),
        };
        self.check(&SCALED_LINEAR, &defaults)?;
        Ok(TrainedSchedule::Betas)
    }

    fn flow(&self) -> Result<TrainedSchedule, ModelError> {
        let by_flag = !FLOWS.contains(&self.class()) && self.class.is_some();
        if by_flag {
            let prediction = ("prediction_type", "\"flow_prediction\"");
            self.check(&[prediction], &json!({ "prediction_type": "epsilon" }))?;
        }
        self.check(&FLOW, &Value::Null)?;
        let is_dynamic = same(&self.get("use_dynamic_shifting"), &json!(true));
        if is_dynamic && self.class() != FLOWS[1] {
            return self.dynamic();
        }
        let field = if by_flag { "flow_shift" } else { "shift" };
        let shift = self.number(field, 1.0)?;
        if shift <= 0.0 {
            return Err(self.refused(&format!("`{field}` is {shift}, expected more than 0")));
        }
        Ok(TrainedSchedule::Flow { shift })
    }

    /// `calculate_shift` of diffusers' pipelines, and the scheduler's `time_shift`, which turns time `t` into
    /// `s / (s + 1 / t - 1)`: a shift by `s`.
    fn dynamic(&self) -> Result<TrainedSchedule, ModelError> {
        let [low, high] = [
            self.number("base_shift", 0.5)?,
            self.number("max_shift", 1.15)?,
        ];
        let from = self.number("base_image_seq_len", 256.0)?;
        let to = self.number("max_image_seq_len", 4096.0)?;
        let kind = self
            .fields
            .get("time_shift_type")
            .map_or("exponential".to_owned(), plain);
        let is_exponential = match kind.as_str() {
            "exponential" => true,
            "linear" => false,
            _ => {
                let reason = format!("`time_shift_type` is {kind}, expected exponential or linear");
                return Err(self.refused(&reason));
            }
        };
        if from >= to {
            let reason =
                format!("`base_image_seq_len` {from} is not below `max_image_seq_len` {to}");
            return Err(self.refused(&reason));
        }
        let slope = (high - low) / (to - from);
        Ok(TrainedSchedule::Dynamic {
            start: low - slope * from,
            slope,
            is_exponential,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(index: &str, text: &str) -> Result<Option<TrainedSchedule>, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir(dir.path().join("scheduler")).expect("writable");
        fs::write(dir.path().join("scheduler/scheduler_config.json"), text).expect("writable");
        let index = format!("{{\"_class_name\": \"{index}}}");
        fs::write(dir.path().join("model_index.json"), index).expect("writable");
        let index = PipelineIndex::read(dir.path()).expect("built");
        TrainedSchedule::of(&index).map_err(|error| error.to_string())
    }

    const SD3: &str = "StableDiffusion3Pipeline\"";
    const XL: &str = "StableDiffusionXLPipeline\"";

    fn shift(text: &str, num_patches: i64) -> f64 {
        let found = of(SD3, text).expect("built").expect("a scheduler");
        found.shift(num_patches).expect("a flow")
    }

    #[test]
    fn shifts_of_flows() {
        let text = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#;
        assert_eq!(
            of(SD3, text),
            Ok(Some(TrainedSchedule::Flow { shift: 3.0 }))
        );
        // The default of the class.
        let text = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#;
        assert_eq!(
            of(SD3, text),
            Ok(Some(TrainedSchedule::Flow { shift: 1.0 }))
        );
        let text = r#"{"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": true,
            "prediction_type": "flow_prediction", "flow_shift": 2.0}"#;
        assert_eq!(
            of(SD3, text),
            Ok(Some(TrainedSchedule::Flow { shift: 2.0 }))
        );
        // `model_index.json` names the class that is built.
        let index =
            format!("{SD3}, \"scheduler\": [\"diffusers\", \"FlowMatchHeunDiscreteScheduler\"]");
        let text = r#"{"_class_name": "DDIMScheduler", "shift": 4, "use_dynamic_shifting": true}"#;
        assert_eq!(
            of(&index, text),
            Ok(Some(TrainedSchedule::Flow { shift: 4.0 }))
        );
    }

    /// Values of diffusers: `calculate_shift`, then `exp`.
    #[test]
    fn shifts_that_grow_with_the_image() {
        let text = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": true,
            "base_shift": 0.5, "max_shift": 1.15}"#;
        assert!((shift(text, 256) - 0.5f64.exp()).abs() < 1e-12);
        assert!((shift(text, 4096) - 1.15f64.exp()).abs() < 1e-12);
        assert!((shift(text, 1024) - 0.63f64.exp()).abs() < 1e-12);
        let linear = text.replace(
            "\"base_shift\"",
            "\"time_shift_type\": \"linear\", \"base_shift\"",
        );
        assert!((shift(&linear, 1024) - 0.63).abs() < 1e-12);
    }

    #[test]
    fn schedulers_that_do_not_sample_the_network_are_refused() {
        let betas = r#""beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012"#;
        let flow = |field: &str| {
            format!("{{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", {field}}}")
        };
        for (index, text, named) in [
            (
                SD3,
                r#"{"_class_name": "DDIMScheduler"}"#.to_owned(),
                "`_class_name` is DDIMScheduler",
            ),
            (
                SD3,
                flow("\"shift_terminal\": 0.1"),
                "`shift_terminal` is 0.1",
            ),
            (
                SD3,
                flow("\"use_karras_sigmas\": true"),
                "`use_karras_sigmas` is true",
            ),
            (
                SD3,
                flow("\"shift\": 0"),
                "`shift` is 0, expected more than 0",
            ),
            (
                SD3,
                flow("\"shift\": null"),
                "`shift` is null, expected a number",
            ),
            (
                SD3,
                flow("\"num_train_timesteps\": 500"),
                "`num_train_timesteps` is 500",
            ),
            (
                XL,
                flow("\"shift\": 3"),
                "`_class_name` is FlowMatchEulerDiscreteScheduler",
            ),
            (
                XL,
                format!("{{\"_class_name\": \"EDMEulerScheduler\", {betas}}}"),
                "EDMEulerScheduler",
            ),
            (
                XL,
                format!("{{\"_class_name\": \"DDIMScheduler\", {betas}, \"thresholding\": true}}"),
                "`thresholding` is true",
            ),
            (
                XL,
                r#"{"_class_name": "HeunDiscreteScheduler"}"#.to_owned(),
                "`beta_schedule` is missing, which means \"linear\"",
            ),
        ] {
            let error = of(index, &text).expect_err("refused");
            assert!(
                error.contains("scheduler_config.json") && error.contains(named),
                "{error}"
            );
        }
    }

    #[test]
    fn any_scheduler_with_the_same_betas_will_do() {
        for class in BETAS {
            let text = format!(
                r#"{{"_class_name": "{class}", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
                "beta_end": 0.012, "lambda_min_clipped": -Infinity, "timestep_spacing": "trailing"}}"#
            );
            assert_eq!(of(XL, &text), Ok(Some(TrainedSchedule::Betas)), "{class}");
        }
        // These are the defaults of the class.
        let text = r#"{"_class_name": "LCMScheduler"}"#;
        assert_eq!(of(XL, text), Ok(Some(TrainedSchedule::Betas)));
    }

    #[test]
    fn without_a_file_only_the_class_is_known() {
        let dir = tempfile::tempdir().expect("temp dir");
        let of = |scheduler: &str| {
            let index = format!("{{\"_class_name\": \"{SD3}, \"scheduler\": {scheduler}}}");
            fs::write(dir.path().join("model_index.json"), index).expect("writable");
            let index = PipelineIndex::read(dir.path()).expect("built");
            TrainedSchedule::of(&index).map_err(|error| error.to_string())
        };
        assert_eq!(of("[null, null]"), Ok(None));
        let error = of("[\"diffusers\", \"DDIMScheduler\"]").expect_err("no flow");
        assert!(error.contains("DDIMScheduler"), "{error}");
    }

    #[test]
    fn another_prediction_or_schedule_is_refused() {
        let good = r#"{"prediction_type": "epsilon", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
            "beta_end": 0.012, "num_train_timesteps": 1000, "steps_offset": 1}"#;
        assert!(of(XL, good).is_ok());
        for (from, to, named) in [
            ("epsilon", "v_prediction", "v_prediction"),
            ("0.012", "0.02", "beta_end"),
            ("scaled_linear", "linear", "beta_schedule"),
            ("\"beta_start\": 0.00085,", "", "beta_start"), // diffusers' default is another one
            (
                "\"steps_offset\": 1",
                "\"trained_betas\": [0.1]",
                "trained_betas",
            ),
            (
                "\"steps_offset\": 1",
                "\"rescale_betas_zero_snr\": true",
                "rescale_betas",
            ),
        ] {
            let error = of(XL, &good.replace(from, to)).expect_err("not built");
            assert!(
                error.contains("scheduler_config.json") && error.contains(named),
                "{error}"
            );
        }
    }
}
