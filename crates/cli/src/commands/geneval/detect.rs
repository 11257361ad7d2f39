//! Findings by a detector of our own, picture by picture, kept beside the images: nothing is looked at twice, unless its
//! model changes, or how that model's answers are read.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use dmdr_benchmarks::geneval::{CLASSES, Detection, Findings, Mask, Rules, Source};
use dmdr_console::progress::Counter;
use dmdr_detector::{Detector, DetectorError, Object};
use dmdr_events::InputFile;
use dmdr_image::Image;
use serde::Serialize;
use serde_json::Value;

use crate::commands::scores;

/// Pictures after which the file is written again.
const WRITE_EVERY: usize = 16;

/// A model's file, its hash, and how its answers are read.
#[derive(Serialize)]
pub(super) struct Record {
    #[serde(flatten)]
    model: InputFile,
    settings: Value,
}

/// A detector and where its findings are kept.
pub(super) struct Detecting {
    detector: Detector,
    model: InputFile,
    images: PathBuf,
    path: PathBuf,
}

impl Detecting {
    /// The ONNX file `model`, for pictures below `images`; findings go to `detections.jsonl` there.
    ///
    /// # Errors
    /// A library or model that cannot be loaded; a file of findings that is not of such a detector.
    pub(super) fn open(model: &Path, library: Option<&Path>, images: &Path) -> Result<Self> {
        let detector = Detector::open(model, library).map_err(|error| match error {
            DetectorError::NoLibrary | DetectorError::Library { .. } => {
                anyhow::Error::new(error).context("give `--onnxruntime LIBRARY`")
            }
            other => other.into(),
        })?;
        let opened = Self {
            detector,
            model: scores::onnx(model)?,
            images: images.to_owned(),
            path: images.join("detections.jsonl"),
        };
        opened.kept()?;
        Ok(opened)
    }

    /// What it is.
    pub(super) fn record(&self) -> Record {
        Record {
            model: self.model.clone(),
            settings: self.detector.settings(),
        }
    }

    /// The file of findings.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in every image of `names`, from the file where it was this detector and this picture.
    pub(super) fn detect(
        &mut self,
        names: &[String],
        rules: &Rules,
        quiet: bool,
    ) -> Result<Vec<Findings>> {
        let mut kept = self.kept()?;
        let settings = self.detector.settings();
        let mut found: Vec<Option<Findings>> = Vec::new();
        let mut missing = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let source = Source {
                picture: scores::sha256(&self.images.join(name))?,
                detector: self.model.sha256.clone(),
                settings: Some(settings.clone()),
            };
            let known = kept.remove(name);
            let known = known.filter(|findings| findings.source.as_ref() == Some(&source));
            if known.is_none() {
                missing.push((place, name, source));
            }
            found.push(known);
        }
        let mut counter = Counter::new(quiet, "pictures looked at");
        let num_missing = missing.len();
        for (index, (place, name, source)) in missing.into_iter().enumerate() {
            let detections = self
                .look(name, rules)
                .with_context(|| format!("looking at `{}`", self.images.join(name).display()))?;
            found[place] = Some(Findings {
                image: name.clone(),
                source: Some(source),
                detections,
            });
            let num_done = index + 1;
            counter.update(num_done, num_missing);
            if num_done % WRITE_EVERY == 0 || num_done == num_missing {
                let now = found.iter().flatten();
                // Those of pictures that are not asked for now stay.
                let known: Vec<Findings> = now.chain(kept.values()).cloned().collect();
                Findings::write(&known, &self.path)?;
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// What earlier runs found, by image.
    fn kept(&self) -> Result<HashMap<String, Findings>> {
        if !self.path.is_file() {
            return Ok(HashMap::new());
        }
        let findings = Findings::read(&self.path)?;
        if findings.iter().any(|findings| findings.source.is_none()) {
            bail!(
                "`{}` was not written by `--detector`: give it as `--detections`, or move it away",
                self.path.display()
            );
        }
        let by_name = findings
            .into_iter()
            .map(|findings| (findings.image.clone(), findings));
        Ok(by_name.collect())
    }

    fn look(&mut self, name: &str, rules: &Rules) -> Result<Vec<Detection>> {
        let picture = Image::from_file(&self.images.join(name))?;
        let objects = self.detector.detect(&picture)?;
        let detection = |object: Object| -> Result<Detection> {
            let Some(class) = CLASSES.get(object.label) else {
                bail!(
                    "the detector found class {}: expected COCO's 80, from 0",
                    object.label
                );
            };
            // Colours are asked only of what counts.
            let mask = object.mask.filter(|_| object.score > rules.threshold);
            Ok(Detection {
                class: (*class).to_owned(),
                bounds: object.bounds,
                score: object.score,
                color: None,
                mask: mask.map(|pixels| Mask::new(picture.height, picture.width, &pixels)),
            })
        };
        objects.into_iter().map(detection).collect()
    }
}

/// Findings that say which picture they are of must be of those in `images`.
///
/// # Errors
/// A picture that is another one, or cannot be read.
pub(super) fn check_pictures(findings: &[Findings], images: &Path) -> Result<()> {
    for Findings { image, source, .. } in findings {
        let path = images.join(image);
        if let Some(source) = source
            && path.is_file()
            && scores::sha256(&path)? != source.picture
        {
            bail!(
                "the detections of `{}` are of another picture: run the detector again",
                path.display()
            );
        }
    }
    Ok(())
}
