//! The networks of a distillation, built from an experiment: text encoder, frozen base with adapters, student.

use std::path::Path;

use dmdr_config::{Experiment, FakeForm, Lora, LoraInit as LoraInitConfig, Tuning};
use dmdr_data::Prompts;
use dmdr_methods::{FakeScore, Generator, Roles};
use dmdr_models::{Conditioning, DitConfig, Guidance, WorldClip, load_config};
use dmdr_tensor::{
    AdapterId, AdapterPlace, AdapterSpec, Device, Kind, LoraInit, ParamStore, no_grad_guard,
};
use dmdr_world::World;

use crate::{Backbone, Source, TrainError, lora_file::load_pairs};

/// The frozen text tower of World-CLIP.
#[derive(Debug)]
pub struct TextEncoder {
    clip: WorldClip,
    max_tokens: usize,
    null: Conditioning,
}

impl TextEncoder {
    /// Loads the tower in `path`, which config key `key` names, and encodes the empty caption.
    ///
    /// # Errors
    /// An unreadable file or a tower of another world.
    pub fn load(key: &str, path: &Path, world: &World, device: Device) -> Result<Self, TrainError> {
        let config = load_config::<WorldClip>(path)?;
        let vocabulary = world.tokenizer().vocab_len() as i64;
        if config.text.vocabulary != vocabulary {
            return Err(TrainError::Incompatible {
                what: key.to_owned(),
                reason: format!(
                    "`{}` knows {} words, this world has {vocabulary}",
                    path.display(),
                    config.text.vocabulary
                ),
            });
        }
        let store = ParamStore::frozen(device);
        let clip = WorldClip::new(&store, config);
        store.load(path)?;
        let max_tokens = clip.config().text.max_tokens as usize;
        let null = clip.condition(&Prompts::null_ids(world, max_tokens, device)?);
        Ok(Self {
            clip,
            max_tokens,
            null,
        })
    }

    /// Encoding of prompts.
    pub fn encode(&self, prompts: &Prompts) -> Conditioning {
        let _guard = no_grad_guard();
        self.clip.condition(&prompts.ids)
    }

    /// Tokens a caption is padded to.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Checks that what config key `key` names reads captions of this encoder's length.
    ///
    /// # Errors
    /// If `tokens` is another number.
    pub(crate) fn check_length(&self, key: &str, tokens: usize) -> Result<(), TrainError> {
        if tokens == self.max_tokens {
            return Ok(());
        }
        Err(TrainError::Incompatible {
            what: key.to_owned(),
            reason: format!(
                "it reads {tokens} tokens a caption, the text encoder makes {}",
                self.max_tokens
            ),
        })
    }

    /// Encoding of the empty caption, one row.
    pub fn null(&self) -> &Conditioning {
        &self.null
    }

    /// Width of tokens and of the pooled vector.
    pub fn widths(&self) -> (i64, i64) {
        (self.clip.config().text.dim, self.clip.config().embed_dim)
    }
}

/// The base with its adapters, the student, and the stores that own what is trained.
#[derive(Debug)]
pub struct Networks {
    /// Who plays what.
    pub roles: Roles,
    /// The base's parameters.
    pub base: ParamStore,
    /// The student's parameters: a full network or an adapter.
    pub student: ParamStore,
    /// The fake score's parameters: an adapter or a full network.
    pub score: ParamStore,
    /// Parameters of the frozen copy of the student, where the method compares with one.
    pub reference: Option<ParamStore>,
    /// Which network the base is.
    pub backbone: Backbone,
}

const SCORE: AdapterId = AdapterId(0);
const STUDENT: AdapterId = AdapterId(1);
const REFERENCE: AdapterId = AdapterId(2);

impl Networks {
    /// Loads the teacher, injects the adapters and starts the student from the teacher; large products in `compute`.
    ///
    /// # Errors
    /// An unreadable or unfitting weight file, or an adapter target that matches nothing.
    pub fn build(
        experiment: &Experiment,
        source: &Source,
        device: Device,
        compute: Kind,
    ) -> Result<Self, TrainError> {
        let backbone = Backbone::open(experiment, source)?;
        let recomputes = experiment.gradient_checkpointing;
        let base = ParamStore::frozen(device)
            .with_compute(compute)
            .with_recomputation(recomputes);
        let base = if backbone.is_published() {
            base.compact()
        } else {
            base
        };
        let mut score = ParamStore::trainable(device, experiment.seed);
        if experiment.fake_score.form == FakeForm::Full {
            score = score.with_compute(compute).with_recomputation(recomputes);
        }
        let student = ParamStore::trainable(device, experiment.seed)
            .with_compute(compute)
            .with_recomputation(recomputes);
        let reference = experiment
            .method
            .rl_algorithm()
            .is_some_and(|algorithm| algorithm.has_reference())
            .then(|| ParamStore::frozen(device).with_compute(compute));
        let adapters = adapters(experiment, &backbone, &score, &student, reference.as_ref());
        let net = backbone.build(&base, &adapters)?;
        backbone.load(&base)?;
        let generator = |store: &ParamStore, id: AdapterId| -> Result<Generator, TrainError> {
            Ok(match &experiment.student.tuning {
                Tuning::Full => {
                    let net = backbone.build(store, &[])?;
                    backbone.load(store)?; // not from the base, whose weights may be rounded
                    Generator::Full(net)
                }
                Tuning::Lora(_) => Generator::Adapter(id),
            })
        };
        let roles = Roles {
            generator: generator(&student, STUDENT)?,
            reference: reference
                .as_ref()
                .map(|store| generator(store, REFERENCE))
                .transpose()?,
            base: net,
            score: match experiment.fake_score.form {
                FakeForm::Lora | FakeForm::OutputLora => FakeScore::Adapter(SCORE),
                FakeForm::Full => {
                    let net = backbone.build(&score, &[])?;
                    backbone.load(&score)?;
                    FakeScore::Full(net)
                }
            },
            schedule: backbone.schedule(),
            guidance: Guidance {
                scale: experiment.teacher.guidance,
                null: source.null().clone(),
            },
        };
        start(experiment, &student, &score)?;
        Ok(Self {
            roles,
            base,
            student,
            score,
            reference,
            backbone,
        })
    }
}

/// Loads what `student.init` and `fake_score.init` name.
fn start(
    experiment: &Experiment,
    student: &ParamStore,
    score: &ParamStore,
) -> Result<(), TrainError> {
    if let Some(init) = &experiment.student.init {
        match &experiment.student.tuning {
            Tuning::Full => drop(student.load(init)?),
            Tuning::Lora(lora) => load_pairs(student, lora, "student.init", init)?,
        }
    }
    if let Some(init) = &experiment.fake_score.init {
        match experiment.fake_score.form {
            FakeForm::Full => drop(score.load(init)?),
            FakeForm::Lora | FakeForm::OutputLora => {
                load_pairs(
                    score,
                    &experiment.fake_score.lora(),
                    "fake_score.init",
                    init,
                )?;
            }
        }
    }
    Ok(())
}

/// Where LoRA goes on the base, and into which stores. Their places in the list are their ids; one without a target is none.
fn adapters(
    experiment: &Experiment,
    backbone: &Backbone,
    score: &ParamStore,
    student: &ParamStore,
    reference: Option<&ParamStore>,
) -> Vec<AdapterSpec> {
    let spec = |lora: &Lora, defaults: &[&str], store: &ParamStore| {
        let defaults = || defaults.iter().map(ToString::to_string).collect();
        let targets = lora.targets.clone().unwrap_or_else(defaults);
        let init = match lora.init_lora_weights {
            LoraInitConfig::KaimingUniform => LoraInit::KaimingUniform,
            LoraInitConfig::Gaussian => LoraInit::Gaussian,
        };
        AdapterSpec::new(lora.rank as i64, lora.alpha, &targets, store.clone()).starting(init)
    };
    let fake = experiment.fake_score.lora();
    let mut adapters = vec![match experiment.fake_score.form {
        FakeForm::Lora => spec(&fake, backbone.default_targets(), score),
        FakeForm::OutputLora => spec(&fake, &["*.attn"], score).at(AdapterPlace::Outputs),
        FakeForm::Full => AdapterSpec::new(1, 1.0, &[], score.clone()),
    }];
    if let Tuning::Lora(lora) = &experiment.student.tuning {
        let at = |store| spec(lora, backbone.default_targets(), store);
        adapters.push(at(student));
        adapters.extend(reference.map(at));
    }
    adapters
}

/// Checks that the network in `weights`, which config key `key` names, takes what `text` makes.
pub(crate) fn check_widths(
    key: &str,
    weights: &Path,
    config: &DitConfig,
    text: &TextEncoder,
) -> Result<(), TrainError> {
    let found = (config.context_dim, config.pooled_dim);
    if found == text.widths() {
        return Ok(());
    }
    Err(TrainError::Incompatible {
        what: key.to_owned(),
        reason: format!(
            "`{}` was trained on text features of widths {found:?}, its text encoder makes {:?}",
            weights.display(),
            text.widths()
        ),
    })
}
