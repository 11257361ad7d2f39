//! The noise schedule that a published network was trained with, from its pipeline's `scheduler/scheduler_config.json`.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use crate::{ModelError, Pipeline};

/// Fields of which one value is built for SDXL, as JSON; a file that leaves one out means diffusers' default, which is
/// another one for betas.
const SDXL: [(&str, &str); 5] = [
    ("prediction_type", "\"epsilon\""),
    ("beta_schedule", "\"scaled_linear\""),
    ("beta_start", "0.00085"),
    ("beta_end", "0.012"),
    ("num_train_timesteps", "1000"),
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
            for (field, expected) in SDXL {
                let value: Value = serde_json::from_str(expected).expect("the constant is JSON");
                let found = fields.get(field);
                let is_it = found.is_some_and(|found| {
                    *found == value || (value.is_number() && found.as_f64() == value.as_f64())
                });
                if found.is_some() && !is_it {
                    return Err(ModelError::NotBuilt {
                        path,
                        field,
                        found: fields[field].to_string(),
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
        for (from, to) in [
            ("epsilon", "v_prediction"),
            ("0.012", "0.02"),
            ("scaled_linear", "linear"),
        ] {
            let error = of(Pipeline::StableDiffusionXl, &good.replace(from, to))
                .expect_err("not built")
                .to_string();
            assert!(
                error.contains("scheduler_config.json") && error.contains(to),
                "{error}"
            );
        }
    }
}
