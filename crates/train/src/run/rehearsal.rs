//! What a distillation takes, from an update on a device without memory.

use std::path::Path;

use dmdr_methods::Nets;
use dmdr_tensor::{ParamStore, phantom};

use crate::{Assembly, TrainError, run::course::Course};

/// Bytes of a distillation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// What is there all the time, by name, in the order it is loaded.
    pub resident: Vec<(String, u64)>,
    /// What an update takes on top of it at most: activations and gradients.
    pub update: u64,
    /// Floating-point operations of an update's products; a multiplication and an addition are two.
    pub operations: u64,
    /// What the text encoders take while they encode what the cache lacks, before anything else is loaded.
    pub encoding: u64,
    /// What is allowed but probably not meant, and only known once everything is loaded.
    pub warnings: Vec<String>,
}

impl Rehearsal {
    /// Loads names and shapes of everything that `assembly` would load, and rehearses its last update, when all terms of the
    /// loss are there. Of weights only headers are read where their names are ours; nothing is written.
    ///
    /// # Errors
    /// Any input that is missing, unreadable or does not fit.
    pub fn of(assembly: &Assembly<'_>) -> Result<Self, TrainError> {
        let assembly = assembly.on_phantom();
        let count = phantom::Count::start();
        let source = assembly.source()?;
        let source_bytes = count.live_bytes();
        let encoding = count.peak_bytes() - source_bytes;

        let (backbone, nets) = assembly.networks(&*source)?;
        let mut distillation = assembly.assemble(source, backbone, nets)?;
        let resident = resident(source_bytes, distillation.nets());
        let all = count.live_bytes();
        let named: u64 = resident.iter().map(|(_, bytes)| bytes).sum();
        let others = ("rewards and metrics".to_owned(), all.saturating_sub(named));
        count.peak_bytes(); // of loading
        count.operations();
        let last = assembly.recipe().plan().num_updates - 1;
        distillation.update(last, Path::new("."))?;
        Ok(Self {
            warnings: distillation.warnings(),
            resident: resident.into_iter().chain([others]).collect(),
            update: count.peak_bytes() - all,
            operations: count.operations(),
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

/// Bytes of the source, the teacher, and each network with its optimiser, by name.
fn resident(source: u64, nets: &Nets) -> Vec<(String, u64)> {
    let bytes = |store: &ParamStore| store.num_bytes() as u64;
    let mut resident = vec![
        ("text and images".to_owned(), source),
        ("teacher".to_owned(), bytes(&nets.frozen().store)),
    ];
    for net in nets.iter() {
        let name = net.id.words();
        resident.push((name.clone(), bytes(&net.store)));
        if let Some(moments) = nets.moment_bytes(net.id) {
            resident.push((format!("{name}'s moments"), moments as u64));
        }
    }
    resident
}

#[cfg(test)]
mod tests {
    use dmdr_config::{Checkpointing, Experiment, Method, Precision, Tuning};
    use dmdr_tensor::{Device, Meter, Runtime};

    use super::*;
    use crate::Distillation;

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
        let last = experiment.method.recipe().plan().num_updates - 1;
        distillation.update(last, Path::new(".")).expect("finite");
        meter.peak_bytes()
    }

    #[test]
    fn the_estimate_is_what_an_update_takes() {
        let plain = without_rewards(demo());
        let mut lora = plain.clone();
        lora.student.tuning = Tuning::Lora(lora.fake_score.lora());
        let mut again = plain.clone();
        again.gradient_checkpointing = Checkpointing::ALL;
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
            let runtime = Runtime::on(Device::Cpu, experiment.precision);
            let found = Rehearsal::of(&Assembly::of(&experiment, runtime))
                .expect("fits")
                .peak();
            let ratio = found as f64 / expected as f64;
            assert!((0.85..1.15).contains(&ratio), "{name}: {ratio}");
        }
    }
}
