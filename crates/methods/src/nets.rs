//! The networks of a run as a table: one frozen teacher and, beside it, what the method asked for.

use dmdr_config::{Motion, NetId, Optim};
use dmdr_diffusion::Schedule;
use dmdr_models::{Denoiser, Discriminator, Guidance, View};
use dmdr_tensor::{AdamW, AdapterId, Device, ParamGroup, ParamStore, Ranks};

use crate::optimizer::Optimizer;

/// The frozen teacher, which is also the base of all adapters.
pub struct Teacher {
    /// The network with the adapters on it.
    pub net: Box<dyn Denoiser>,
    /// Its parameters.
    pub store: ParamStore,
    /// Noise schedule of all networks.
    pub schedule: Schedule,
    /// Its guidance, which is the real score's too unless a method draws one.
    pub guidance: Guidance,
}

/// How a network of the table is called.
pub enum Network {
    /// A denoiser of its own.
    Full(Box<dyn Denoiser>),
    /// An adapter on the teacher.
    Adapter(AdapterId),
    /// Heads on the features of another network.
    Heads(Discriminator),
    /// By the method itself, which holds it: the table has only its parameters.
    Held,
}

/// A network beside the teacher.
pub struct Net {
    /// Its name.
    pub id: NetId,
    /// Its parameters.
    pub store: ParamStore,
    /// How it is called.
    pub network: Network,
    /// What becomes of its parameters.
    pub motion: Motion,
    optimizer: Option<Optimizer>,
}

/// All networks of a run.
pub struct Nets {
    teacher: Option<Teacher>,
    nets: Vec<Net>,
}

impl std::fmt::Debug for Nets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.nets.iter().map(|net| net.id.name());
        f.debug_set().entries(names).finish()
    }
}

impl Net {
    /// A network that is not trained yet.
    pub fn new(id: NetId, store: ParamStore, network: Network, motion: Motion) -> Self {
        Self {
            id,
            store,
            network,
            motion,
            optimizer: None,
        }
    }
}

impl Nets {
    /// The table of `teacher` and `nets`. A method that makes its networks from nothing has no teacher.
    pub fn new(teacher: Option<Teacher>, nets: Vec<Net>) -> Self {
        Self { teacher, nets }
    }

    /// Gives each trained network its optimiser.
    ///
    /// # Panics
    /// If `optim` has none for one of them; the check of the config refuses that.
    pub fn train_by(&mut self, optim: &Optim) {
        self.train_among(optim, Ranks::ALONE);
    }

    /// The same, with the moments of optimisers divided among `ranks`.
    ///
    /// # Panics
    /// As there.
    pub fn train_among(&mut self, optim: &Optim, ranks: Ranks) {
        for net in &mut self.nets {
            if net.motion == Motion::Trained {
                let config = optim.get(net.id.name());
                let config = config.expect("the config was checked");
                net.optimizer = Some(Optimizer::new(net.store.group(), config, ranks));
            }
        }
    }

    /// Bytes that the moments of a network take in this process, if it is trained.
    ///
    /// # Panics
    /// As for [`Self::net`].
    pub fn moment_bytes(&self, id: NetId) -> Option<usize> {
        self.net(id).optimizer.as_ref().map(Optimizer::num_bytes)
    }

    /// Whether there is a network of this name.
    pub fn has(&self, id: NetId) -> bool {
        self.nets.iter().any(|net| net.id == id)
    }

    /// The network of this name.
    ///
    /// # Panics
    /// If the method did not ask for it.
    pub fn net(&self, id: NetId) -> &Net {
        let found = self.nets.iter().find(|net| net.id == id);
        found.unwrap_or_else(|| panic!("the method has no network `{id}`"))
    }

    /// All networks, in the order the method named them.
    pub fn iter(&self) -> impl Iterator<Item = &Net> {
        self.nets.iter()
    }

    /// The parameters of a network.
    ///
    /// # Panics
    /// As for [`Self::net`].
    pub fn store(&self, id: NetId) -> &ParamStore {
        &self.net(id).store
    }

    /// What students are sampled and kept with: the average, where there is one.
    pub fn sampled(&self) -> NetId {
        if self.has(NetId::AVERAGE) {
            NetId::AVERAGE
        } else {
            NetId::STUDENT
        }
    }

    /// The frozen teacher.
    ///
    /// # Panics
    /// If the method has none.
    pub fn frozen(&self) -> &Teacher {
        let teacher = self.teacher.as_ref();
        teacher.expect("a distillation has a teacher")
    }

    /// The teacher in its role, with guidance.
    ///
    /// # Panics
    /// As for [`Self::frozen`].
    pub fn teacher(&self) -> View<'_> {
        let Teacher {
            net,
            schedule,
            guidance,
            ..
        } = self.frozen();
        View {
            guidance: Some(guidance.clone()),
            ..View::new(&**net, *schedule)
        }
    }

    /// The teacher with a dose of another network's adapter, at `scale` (`DynaDG`: the real score). At 0, and with a network
    /// that is no adapter, it is bit-equal to the teacher.
    ///
    /// # Panics
    /// As for [`Self::view`].
    pub fn teacher_with(&self, id: NetId, scale: f64) -> View<'_> {
        let View { adapters, .. } = self.view(id).scaled(scale);
        View {
            adapters,
            ..self.teacher()
        }
    }

    /// A network in its role, never guided; an adapter at scale 1.
    ///
    /// # Panics
    /// If the method did not ask for it, or it is no denoiser.
    pub fn view(&self, id: NetId) -> View<'_> {
        let Teacher { net, schedule, .. } = self.frozen();
        match &self.net(id).network {
            Network::Full(own) => View::new(&**own, *schedule),
            Network::Adapter(adapter) => View {
                adapters: vec![(*adapter, 1.0)],
                ..View::new(&**net, *schedule)
            },
            Network::Heads(_) | Network::Held => panic!("`{id}` is no denoiser"),
        }
    }

    /// A discriminator.
    ///
    /// # Panics
    /// If the network of this name is none.
    pub fn discriminator(&self, id: NetId) -> &Discriminator {
        match &self.net(id).network {
            Network::Heads(discriminator) => discriminator,
            _ => panic!("`{id}` is no discriminator"),
        }
    }

    /// The device that they are on; the CPU if there is none.
    pub(crate) fn device(&self) -> Device {
        let stores = self.teacher.iter().map(|teacher| &teacher.store);
        let mut stores = stores.chain(self.nets.iter().map(|net| &net.store));
        stores.next().map_or(Device::Cpu, ParamStore::device)
    }

    /// The parameters of the trained networks of these names, in the order of [`Self::optimizers`].
    ///
    /// # Panics
    /// As there.
    pub(crate) fn trained_params(&self, ids: &[NetId]) -> ParamGroup {
        let found = self.nets.iter().filter(|net| ids.contains(&net.id));
        let found: Vec<_> = found.filter_map(|net| net.optimizer.as_ref()).collect();
        assert!(found.len() == ids.len(), "{ids:?} are not all trained");
        let groups = found.iter().map(|optimizer| optimizer.group());
        let params = groups.flat_map(|group| group.names.iter().zip(&group.tensors));
        let (names, tensors) = params
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .unzip();
        ParamGroup { names, tensors }
    }

    /// The trained networks of these names, with their optimisers.
    ///
    /// # Panics
    /// If one of them is not trained.
    pub(crate) fn optimizers(&mut self, ids: &[NetId]) -> Vec<(NetId, &mut Optimizer)> {
        let found = self.nets.iter_mut().filter(|net| ids.contains(&net.id));
        let found = found.filter_map(|net| Some((net.id, net.optimizer.as_mut()?)));
        let found: Vec<_> = found.collect();
        assert!(found.len() == ids.len(), "{ids:?} are not all trained");
        found
    }

    /// Moves the averages, once an update.
    pub(crate) fn follow(&self, update: u64) {
        for net in &self.nets {
            if let Motion::Average {
                of,
                decay,
                warms_up,
            } = net.motion
            {
                let most = if warms_up {
                    (update + 1) as f64 / (update + 10) as f64
                } else {
                    1.0
                };
                net.store.lerp_from(self.store(of), decay.min(most));
            }
        }
    }

    /// What a checkpoint holds: the parameters of each network under its name, and the state of its optimiser.
    pub fn state(&mut self) -> impl Iterator<Item = (NetId, &ParamStore, Option<&mut AdamW>)> {
        self.nets.iter_mut().map(|net| {
            let optimizer = net.optimizer.as_mut().map(Optimizer::adamw_mut);
            (net.id, &net.store, optimizer)
        })
    }
}
