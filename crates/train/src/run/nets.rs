//! Builds the networks that a recipe asks for. Nothing else makes a network that is trained.

use dmdr_config::{Lora, LoraInit as LoraInitConfig, Motion, NetForm, NetSpec, Start};
use dmdr_methods::{Net, Nets, Network, Teacher};
use dmdr_models::{Architecture, Discriminator, Guidance};
use dmdr_tensor::{AdapterId, AdapterPlace, AdapterSpec, Keeping, LoraInit, ParamStore, Runtime};

use crate::{TrainError, interop::lora_file::load_pairs};

/// Where networks live and how they compute.
#[derive(Debug, Clone, Copy)]
pub struct Placing {
    /// The device, the kind of large products, and how the teacher's weights wait.
    pub runtime: Runtime,
    /// The share of blocks that compute their activations again for the gradient.
    pub recomputed: f64,
    /// Of the first values of what starts at random.
    pub seed: u64,
}

impl Placing {
    /// A store for parameters that are trained by an optimiser, or not.
    fn store(self, is_trained: bool, is_adapter: bool) -> ParamStore {
        let Runtime {
            device, compute, ..
        } = self.runtime;
        match (is_trained, is_adapter) {
            (true, false) => ParamStore::trainable(device, self.seed)
                .with_compute(compute)
                .with_recomputation(self.recomputed),
            (true, true) => ParamStore::trainable(device, self.seed),
            (false, _) => ParamStore::frozen(device).with_compute(compute),
        }
    }
}

/// Loads the teacher of `architecture` with `guidance`, puts the adapters of `specs` on it, and starts all networks.
///
/// # Errors
/// An unreadable or unfitting weight file, or an adapter target that matches nothing.
pub fn build_nets(
    specs: &[NetSpec],
    architecture: &dyn Architecture,
    placing: Placing,
    guidance: Guidance,
) -> Result<Nets, TrainError> {
    let store = ParamStore::frozen(placing.runtime.device)
        .with_compute(placing.runtime.compute)
        .with_recomputation(placing.recomputed);
    let store = if architecture.is_compact() || placing.runtime.keeping != Keeping::PLAIN {
        store.keeping(placing.runtime.keeping)
    } else {
        store
    };
    let mut adapters = Vec::new();
    let mut nets = Vec::new();
    for NetSpec {
        id, form, motion, ..
    } in specs
    {
        let is_trained = *motion == Motion::Trained;
        let own = placing.store(is_trained, *form != NetForm::Full);
        let network = match form {
            // On the features of a network that is yet to be built.
            NetForm::Heads { .. } => Network::Held,
            NetForm::Full => Network::Full(architecture.build(&own, &[])?),
            NetForm::Lora(lora) => {
                let defaults = architecture.default_targets();
                let defaults = || defaults.iter().map(ToString::to_string).collect();
                let targets = lora.targets.clone().unwrap_or_else(defaults);
                adapters.push(adapter(lora, &targets, &own));
                Network::Adapter(AdapterId(adapters.len() - 1))
            }
            NetForm::OutputLora(lora) => {
                let adapter = adapter(lora, &["*.attn".to_owned()], &own);
                adapters.push(adapter.at(AdapterPlace::Outputs));
                Network::Adapter(AdapterId(adapters.len() - 1))
            }
        };
        nets.push(Net::new(*id, own, network, *motion));
    }
    let net = architecture.teacher(&store, &adapters)?;
    for (net_of, spec) in nets.iter_mut().zip(specs) {
        if let NetForm::Heads { blocks, dim } = &spec.form {
            let heads = Discriminator::new(&net_of.store, &*net, blocks.as_deref(), *dim as i64);
            let heads = heads.map_err(|source| TrainError::Network {
                name: spec.id,
                source,
            })?;
            net_of.network = Network::Heads(heads);
        }
    }
    let teacher = Teacher {
        net,
        store,
        schedule: architecture.schedule(),
        guidance,
    };
    let nets = Nets::new(Some(teacher), nets);
    for spec in specs {
        start(spec, architecture, &nets)?;
    }
    Ok(nets)
}

fn adapter(lora: &Lora, targets: &[String], store: &ParamStore) -> AdapterSpec {
    let init = match lora.init_lora_weights {
        LoraInitConfig::KaimingUniform => LoraInit::KaimingUniform,
        LoraInitConfig::Gaussian => LoraInit::Gaussian,
    };
    AdapterSpec::new(lora.rank as i64, lora.alpha, targets, store.clone()).starting(init)
}

/// Gives the parameters of a network their first values.
fn start(spec: &NetSpec, architecture: &dyn Architecture, nets: &Nets) -> Result<(), TrainError> {
    let store = nets.store(spec.id);
    match (&spec.start, &spec.form) {
        // Not from the teacher's store, whose weights may be rounded.
        (Start::Teacher, NetForm::Full) => architecture.load(store)?,
        // An adapter is made so that it does nothing, and a head so that it knows nothing.
        (Start::Teacher, NetForm::Lora(_) | NetForm::OutputLora(_) | NetForm::Heads { .. }) => {}
        (Start::File { path, .. }, NetForm::Full | NetForm::Heads { .. }) => {
            drop(store.load(path)?);
        }
        (Start::File { key, path }, NetForm::Lora(lora) | NetForm::OutputLora(lora)) => {
            load_pairs(store, lora, key, path)?;
        }
        (Start::Net(other), _) => store.copy_from(nets.store(*other)),
    }
    Ok(())
}
