//! What a distillation takes, from an update on a device without memory.

use std::{path::Path, rc::Rc};

use dmdr_config::{Experiment, Precision};
use dmdr_tensor::{Device, Kind, ParamStore, phantom};

use crate::{Corpus, Distillation, Networks, Source, TrainError, compute};

/// Bytes of a distillation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// What is there all the time, by name, in the order it is loaded.
    pub resident: Vec<(&'static str, u64)>,
    /// What an update takes on top of it at most: activations and gradients.
    pub update: u64,
    /// What the text encoders take while they encode what the cache lacks, before anything else is loaded.
    pub encoding: u64,
    /// What is allowed but probably not meant, and only known once everything is loaded.
    pub warnings: Vec<String>,
}

impl Rehearsal {
    /// Loads names and shapes of everything that `experiment` would load on `target`, and rehearses its last update, when
    /// all terms of the loss are there. Of weights only headers are read where their names are ours; nothing is written.
    ///
    /// # Errors
    /// Any input that is missing, unreadable or does not fit.
    pub fn of(experiment: &Experiment, target: Device) -> Result<Self, TrainError> {
        let corpus = Corpus::read(experiment)?;
        Self::with_corpus(experiment, corpus.map(Rc::new).as_ref(), target)
    }

    /// As [`Self::of`], where the prompt files were read already: `corpus` is that of `experiment`.
    ///
    /// # Errors
    /// As for [`Self::of`].
    ///
    /// # Panics
    /// The experiment has prompt files, and `corpus` is none.
    pub fn with_corpus(
        experiment: &Experiment,
        corpus: Option<&Rc<Corpus>>,
        target: Device,
    ) -> Result<Self, TrainError> {
        let device = phantom::device();
        let kind = compute(experiment.precision, target);
        let experiment = Experiment {
            precision: match kind {
                Kind::BFloat16 => Precision::Bf16,
                _ => Precision::F32,
            },
            ..experiment.clone()
        };
        let count = phantom::Count::start();
        let source = Source::with_corpus(&experiment, corpus, device)?;
        let source_bytes = count.live_bytes();
        let encoding = count.peak_bytes() - source_bytes;
        let mut resident = vec![("text and images", source_bytes)];

        let networks = Networks::build(&experiment, &source, device, kind)?;
        let bytes = |store: &ParamStore| store.num_bytes() as u64;
        let average = u64::from(experiment.ema.is_some());
        resident.push(("teacher", bytes(&networks.base)));
        let (student, score) = (bytes(&networks.student), bytes(&networks.score));
        resident.push(("student", student));
        resident.push(("student's moments", 2 * student));
        resident.push(("student's average", average * student));
        resident.push(("fake score", score));
        resident.push(("fake score's moments", 2 * score));
        if let Some(reference) = &networks.reference {
            resident.push(("reference", bytes(reference)));
        }

        let mut distillation = Distillation::assemble(&experiment, source, networks)?;
        let all = count.live_bytes();
        let named: u64 = resident.iter().map(|(_, bytes)| bytes).sum();
        resident.push(("rewards and metrics", all.saturating_sub(named)));
        count.peak_bytes(); // of loading
        let last = experiment.method.num_updates() - 1;
        distillation.update(Path::new("."), last)?;
        Ok(Self {
            warnings: distillation.warnings(),
            resident,
            update: count.peak_bytes() - all,
            encoding,
        })
    }

    /// What is there all the time.
    pub fn num_resident(&self) -> u64 {
        self.resident.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The most that is there at once.
    pub fn peak(&self) -> u64 {
        self.encoding.max(self.num_resident() + self.update)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_config::{Method, Tuning};
    use dmdr_tensor::Meter;

    use super::*;

    /// The demo in small, without anything that only watches.
    fn demo() -> Experiment {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let text = std::fs::read_to_string(format!("{root}/configs/demo.toml")).expect("a config");
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("demo.toml");
        let text = text.replace("\"assets/", &format!("\"{root}/assets/"));
        std::fs::write(&path, text).expect("writable");
        let mut demo = Experiment::load(&path, &[]).expect("a config");
        demo.events.evaluate_every = 0;
        demo.guard = None;
        if let Method::Dmdr(dmdr) = &mut demo.method {
            dmdr.batch_size = 8;
            dmdr.ttur = 1;
        }
        demo
    }

    fn without_rewards(mut experiment: Experiment) -> Experiment {
        experiment.rewards.clear();
        if let Method::Dmdr(dmdr) = &mut experiment.method {
            dmdr.rl = None;
        }
        experiment
    }

    /// Peak of the tensors of an update on the CPU.
    fn measured(experiment: &Experiment) -> u64 {
        let meter = Meter::start();
        let mut distillation = Distillation::new(experiment).expect("loads");
        let last = experiment.method.num_updates() - 1;
        distillation.update(Path::new("."), last).expect("finite");
        meter.peak_bytes()
    }

    #[test]
    fn the_estimate_is_what_an_update_takes() {
        let plain = without_rewards(demo());
        let mut lora = plain.clone();
        lora.student.tuning = Tuning::Lora(lora.fake_score.lora());
        let mut again = plain.clone();
        again.gradient_checkpointing = true;
        let mut f32s = demo();
        f32s.precision = Precision::F32;
        for (name, experiment) in [
            ("distribution matching", plain),
            ("a LoRA as student", lora),
            ("activations computed again", again),
            ("with ReFL", demo()),
            ("in f32", f32s),
        ] {
            let expected = measured(&experiment);
            let found = Rehearsal::of(&experiment, Device::Cpu)
                .expect("fits")
                .peak();
            let ratio = found as f64 / expected as f64;
            assert!((0.85..1.15).contains(&ratio), "{name}: {ratio}");
        }
    }
}
