//! The noise schedule that a published network was trained with, from its pipeline's `scheduler/scheduler_config.json`.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use crate::{ModelError, Pipeline};

/// Fields of which one value is built for SDXL, as JSON, and whether that is diffusers' value where a file leaves it out.
const SDXL: [(&str, &str, bool); 7] = [
    ("prediction_type", "\"epsilon\"", true),
    ("beta_schedule", "\"scaled_linear\"", false),
    ("beta_start", "0.00085", false),
    ("beta_end", "0.012", false),
    ("num_train_timesteps", "1000", true),
    ("trained_betas", "null", true),
    ("rescale_betas_zero_snr", "false", true),
];

/// What is known of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainedSchedule {
    /// Timestep shift of its sampler, of the rectified flow; none where it depends on the size of the image.
    pub shift: Option<f64>,
}

impl TrainedSchedule {
    /// That of `pipeline` in `folder`; none if it brings no scheduler.
    ///
    /// # Errors
    /// A file that is unreadable, or a schedule that is not built: a v-prediction SDXL would be distilled as if it
    /// predicted the noise.
    pub fn of(pipeline: Pipeline, folder: &Path) -> Result<Option<Self>, ModelError> {
        let path = folder.join("scheduler/scheduler_config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        let fields: Map<String, Value> =
            serde_json::from_str(&text).map_err(|source| ModelError::Config {
                path: path.clone(),
                source,
            })?;
        if pipeline == Pipeline::StableDiffusionXl {
            for (field, expected, is_default) in SDXL {
                let value: Value = serde_json::from_str(expected).expect("the constant is JSON");
                let found = fields.get(field);
                let is_it = found.map_or(is_default, |found| {
                    *found == value || (value.is_number() && found.as_f64() == value.as_f64())
                });
                if !is_it {
                    return Err(ModelError::NotBuilt {
                        path,
                        field,
                        found: found.map_or("nothing".to_owned(), Value::to_string),
                        expected,
                    });
                }
            }
            return Ok(Some(Self { shift: None }));
        }
        let depends = fields.get("use_dynamic_shifting") == Some(&Value::Bool(true));
        let shift = fields.get("shift").and_then(Value::as_f64);
        Ok(Some(Self {
            shift: shift.filter(|_| !depends),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pipeline: Pipeline, text: &str) -> Result<Option<TrainedSchedule>, ModelError> {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir(dir.path().join("scheduler")).expect("writable");
        fs::write(dir.path().join("scheduler/scheduler_config.json"), text).expect("writable");
        TrainedSchedule::of(pipeline, dir.path())
    }

    #[test]
    fn shifts_of_flows() {
        let text = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#;
        let found = of(Pipeline::StableDiffusion3, text).expect("built");
        assert_eq!(found, Some(TrainedSchedule { shift: Some(3.0) }));
        let text = r#"{"shift": 3.0, "use_dynamic_shifting": true}"#;
        let found = of(Pipeline::ZImage, text).expect("built");
        assert_eq!(found, Some(TrainedSchedule { shift: None }));
        let empty = tempfile::tempdir().expect("temp dir");
        let found = TrainedSchedule::of(Pipeline::ZImage, empty.path()).expect("nothing to read");
        assert_eq!(found, None);
    }

    #[test]
    fn another_prediction_or_schedule_is_refused() {
        let good = r#"{"prediction_type": "epsilon", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
            "beta_end": 0.012, "num_train_timesteps": 1000, "steps_offset": 1}"#;
        assert!(of(Pipeline::StableDiffusionXl, good).is_ok());
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
        ] {
            let error = of(Pipeline::StableDiffusionXl, &good.replace(from, to))
                .expect_err("not built")
                .to_string();
            assert!(
                error.contains("scheduler_config.json") && error.contains(named),
                "{error}"
            );
        }
    }
}
