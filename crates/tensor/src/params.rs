//! Named parameters of one network (or one adapter), and the group an optimiser owns.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::{
    Init, Keeping, LoadReport, TensorError, Weight, are_weights_random, gradients::gradients,
    header::Header, phantom, random_weights, seed::reseed, weights,
};

/// The parameters of one network, by name. A duplicate name is a bug and panics.
///
/// Trainable stores hand out leaves that require a gradient; frozen ones never do.
#[derive(Clone, Debug)]
pub struct ParamStore {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    params: BTreeMap<String, Weight>,
    /// Names in `params` that are saved and loaded but never trained.
    buffers: BTreeSet<String>,
    device: Device,
    purpose: Purpose,
    seed: u64,
    compute: Kind,
    /// The share of blocks.
    recomputed: f64,
}

/// What parameters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Training,
    Inference,
    /// Inference, with the weights of products in the compute kind.
    CompactInference(Keeping),
    /// They have a shape but no memory.
    Shapes,
}

impl ParamStore {
    /// An empty store whose parameters will be trained; `seed` fixes their initial values.
    pub fn trainable(device: Device, seed: u64) -> Self {
        Self::new(device, Purpose::Training, seed)
    }

    /// An empty store whose parameters never require a gradient.
    pub fn frozen(device: Device) -> Self {
        Self::new(device, Purpose::Inference, 0)
    }

    /// An empty store that only records names and shapes ([`Self::shapes`]): every parameter is a view of one zero, so
    /// that a network of any size is built in no memory. It can be neither loaded nor trained.
    pub fn shapes_only() -> Self {
        Self::new(Device::Cpu, Purpose::Shapes, 0)
    }

    fn new(device: Device, purpose: Purpose, seed: u64) -> Self {
        let inner = Inner {
            params: BTreeMap::new(),
            buffers: BTreeSet::new(),
            device,
            purpose,
            seed,
            compute: Kind::Float,
            recomputed: 0.0,
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    /// The kind the large matrix products of this network are computed in; parameters stay f32 unless it is [`Self::compact`].
    #[must_use]
    pub fn with_compute(self, compute: Kind) -> Self {
        self.inner.borrow_mut().compute = compute;
        self
    }

    /// Keeps weights that only enter products in the kind of these, which in bf16 halves the memory of a large network and
    /// changes no product. For networks that are never trained.
    ///
    /// # Panics
    /// If the store is trainable.
    #[must_use]
    pub fn compact(self) -> Self {
        self.keeping(Keeping::PLAIN)
    }

    /// The same, with weights of layers kept as `keeping` says.
    ///
    /// # Panics
    /// As for [`Self::compact`].
    #[must_use]
    pub fn keeping(self, keeping: Keeping) -> Self {
        let mut inner = self.inner.borrow_mut();
        assert_eq!(
            inner.purpose,
            Purpose::Inference,
            "weights are trained in f32"
        );
        inner.purpose = Purpose::CompactInference(keeping);
        drop(inner);
        self
    }

    /// The share of this network's blocks, in `[0, 1]`, whose activations are computed again on the way back instead of being
    /// kept ([`crate::recompute`]).
    #[must_use]
    pub fn with_recomputation(self, share: f64) -> Self {
        self.inner.borrow_mut().recomputed = share;
        self
    }

    /// See [`Self::with_recomputation`].
    pub fn recomputed(&self) -> f64 {
        self.inner.borrow().recomputed
    }

    /// See [`Self::with_compute`].
    pub fn compute(&self) -> Kind {
        self.inner.borrow().compute
    }

    /// A frozen copy of the values, for averages.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let twin = Self::frozen(self.device());
        let _guard = no_grad_guard();
        let params = self.inner.borrow();
        let copies = params
            .params
            .iter()
            .map(|(name, param)| (name.clone(), param.read().detach().copy().into()))
            .collect();
        let mut inner = twin.inner.borrow_mut();
        inner.params = copies;
        inner.buffers.clone_from(&params.buffers);
        drop(inner);
        twin
    }

    /// Exchanges all values with `other`, which must have the same structure.
    ///
    /// # Panics
    /// If the stores differ in structure.
    pub fn swap(&self, other: &Self) {
        let mine = self.duplicate();
        self.copy_from(other);
        other.copy_from(&mine);
    }

    /// The device all parameters live on.
    pub fn device(&self) -> Device {
        self.inner.borrow().device
    }

    /// Creates parameter `name`. In a trainable store its initial value depends on the store's seed and its name only; in a
    /// frozen one it is the centre of the distribution, and nothing is drawn.
    ///
    /// # Panics
    /// If the name exists.
    pub(crate) fn create(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let mut inner = self.inner.borrow_mut();
        match inner.purpose {
            Purpose::Shapes => return inner.insert(name, phantom::unallocated(shape, Kind::Float)),
            Purpose::Inference | Purpose::CompactInference(_) => {
                // It will be loaded or copied: a draw would be wasted, and would move the random state of whoever builds it.
                let tensor = init.centre().tensor(shape, inner.device);
                return inner.insert(name, tensor);
            }
            Purpose::Training => {}
        }
        let name_hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        reseed(&[inner.seed, name_hash]);
        let tensor = init.tensor(shape, inner.device).set_requires_grad(true);
        inner.insert(name, tensor)
    }

    /// [`Self::create`] for the weight of a layer, `[out, in]` or `[out, in, k, k]`, that only enters products in `compute`.
    /// Kernels are never kept in 8 bits: they are few where layers are many.
    ///
    /// # Panics
    /// If the name exists.
    pub(crate) fn create_layer(
        &self,
        name: &str,
        shape: &[i64],
        init: Init,
        compute: Kind,
    ) -> Weight {
        let mut inner = self.inner.borrow_mut();
        let Purpose::CompactInference(keeping) = inner.purpose else {
            drop(inner);
            return self.create(name, shape, init).into();
        };
        let in_8_bits = keeping.in_8_bits && shape.len() == 2;
        let keeping = Keeping {
            in_8_bits,
            ..keeping
        };
        let weight = Weight::zeros(shape, compute, inner.device, keeping);
        inner.define(name, weight.shallow_clone());
        weight
    }

    /// Creates buffer `name`: saved and loaded like a parameter, but never trained.
    ///
    /// # Panics
    /// If the name exists, or `value` is of another shape.
    pub(crate) fn create_buffer(
        &self,
        name: &str,
        shape: &[i64],
        value: impl FnOnce() -> Tensor,
    ) -> Tensor {
        let tensor = if self.inner.borrow().purpose == Purpose::Shapes {
            phantom::unallocated(shape, Kind::Float)
        } else {
            value().to_device(self.device())
        };
        assert_eq!(tensor.size(), shape, "buffer `{name}`");
        let mut inner = self.inner.borrow_mut();
        inner.buffers.insert(name.to_owned());
        inner.insert(name, tensor)
    }

    /// Shape of every parameter and buffer, by name: exactly what a weight file must hold.
    pub fn shapes(&self) -> BTreeMap<String, Vec<i64>> {
        let inner = self.inner.borrow();
        let shape = |(name, param): (&String, &Weight)| (name.clone(), param.size());
        inner.params.iter().map(shape).collect()
    }

    /// All parameters, without buffers, in name order.
    pub fn group(&self) -> ParamGroup {
        let inner = self.inner.borrow();
        let (names, tensors) = inner
            .params
            .iter()
            .filter(|(name, _)| !inner.buffers.contains(*name))
            .map(|(name, param)| (name.clone(), param.read()))
            .unzip();
        ParamGroup { names, tensors }
    }

    /// All parameters and buffers by name, without gradient.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let inner = self.inner.borrow();
        let detached = |(name, param): (&String, &Weight)| (name.clone(), param.read().detach());
        inner.params.iter().map(detached).collect()
    }

    /// The parameter or buffer `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Tensor {
        self.inner.borrow().params[name].read()
    }

    /// Number of scalars.
    pub fn num_scalars(&self) -> usize {
        self.inner.borrow().params.values().map(Weight::numel).sum()
    }

    /// Bytes they take on the device between uses.
    pub fn num_bytes(&self) -> usize {
        self.inner
            .borrow()
            .params
            .values()
            .map(Weight::num_bytes)
            .sum()
    }

    /// Fills every parameter from a safetensors file. Names and shapes must agree exactly; f16 and bf16 are widened. On the
    /// [`phantom`] device only names and shapes are read.
    ///
    /// # Errors
    /// An unreadable file, or any missing, unexpected or differently shaped tensor; nothing is changed then.
    pub fn load(&self, path: &Path) -> Result<LoadReport, TensorError> {
        self.load_renamed(path, &weights::as_stored)
    }

    /// [`Self::load`] where `rename` tells from a tensor's name the parameter's, as for [`Self::load_folder_of`].
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_renamed(
        &self,
        path: &Path,
        rename: &dyn Fn(&str) -> Option<String>,
    ) -> Result<LoadReport, TensorError> {
        self.load_files(&[path.to_owned()], path, rename)
    }

    /// [`Self::load`] from several files that together hold every tensor once, under names from which `rename` tells the
    /// parameters'. Tensors are copied one by one, so the memory needed on top of the parameters is that of the largest.
    pub(crate) fn load_files(
        &self,
        files: &[PathBuf],
        origin: &Path,
        rename: &dyn Fn(&str) -> Option<String>,
    ) -> Result<LoadReport, TensorError> {
        if are_weights_random() {
            return Ok(self.draw());
        }
        let mut found = BTreeMap::new();
        for file in files {
            found.extend(weights::read_headers(file, rename)?);
        }
        let report = self.inner.borrow().compare(&found, origin)?;
        if phantom::is_phantom(self.device()) {
            return Ok(report);
        }
        // Once to look at all values, so that a file that is refused has changed nothing.
        for file in files {
            weights::for_each_tensor(file, rename, |_, _| {})?;
        }
        for file in files {
            weights::for_each_tensor(file, rename, |name, tensor| self.set(name, &tensor))?;
        }
        Ok(report)
    }

    /// What takes the place of loading where weights are random.
    pub(crate) fn draw(&self) -> LoadReport {
        if !phantom::is_phantom(self.device()) {
            for (name, param) in &self.inner.borrow().params {
                param.write(&random_weights::draw(name, &param.size(), self.device()));
            }
        }
        LoadReport::default()
    }

    /// [`Self::load`] for tensors already in memory; `path` is for the messages.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_tensors(
        &self,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
    ) -> Result<LoadReport, TensorError> {
        let found = weights::headers(tensors, path);
        let report = self.inner.borrow().compare(&found, path)?;
        for (name, tensor) in tensors {
            self.set(name, tensor);
        }
        Ok(report)
    }

    fn set(&self, name: &str, value: &Tensor) {
        self.inner.borrow().params[name].write(value);
    }

    /// Writes all parameters as `kind` (f32, or f16/bf16 for assets) with string metadata, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(
        &self,
        path: &Path,
        kind: Kind,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TensorError> {
        crate::write_tensors(path, &self.tensors(), kind, metadata)
    }

    /// Copies the values of `other`, which must have the same names and shapes.
    ///
    /// # Panics
    /// If the stores differ in structure.
    pub fn copy_from(&self, other: &Self) {
        let _guard = no_grad_guard();
        let (mine, theirs) = (self.inner.borrow(), other.inner.borrow());
        assert!(
            mine.params.keys().eq(theirs.params.keys()),
            "stores of different networks"
        );
        for (param, value) in mine.params.values().zip(theirs.params.values()) {
            param.write(&value.read());
        }
    }

    /// Moves every parameter towards `other`'s: `self <- decay * self + (1 - decay) * other`.
    ///
    /// # Panics
    /// If the stores differ in structure.
    pub fn lerp_from(&self, other: &Self, decay: f64) {
        let _guard = no_grad_guard();
        let (mine, theirs) = (self.inner.borrow(), other.inner.borrow());
        assert!(
            mine.params.keys().eq(theirs.params.keys()),
            "stores of different networks"
        );
        for (param, value) in mine.params.values().zip(theirs.params.values()) {
            let _ = param.read().lerp_(&value.read(), 1.0 - decay);
        }
    }
}

impl Inner {
    /// How tensors in files compare with the parameters; an error, naming the file, unless they fit.
    fn compare(
        &self,
        found: &BTreeMap<String, Header>,
        origin: &Path,
    ) -> Result<LoadReport, TensorError> {
        assert_ne!(
            self.purpose,
            Purpose::Shapes,
            "a store of shapes has no memory to load into"
        );
        let expected = self.params.iter();
        let expected = expected.map(|(name, param)| (name.clone(), (param.size(), param.kind())));
        let report = LoadReport::compare(&expected.collect(), found);
        if report.fits() {
            return Ok(report);
        }
        let reshaped = report.reshaped.first();
        let path = reshaped.map_or(origin, |(name, ..)| &found[name].file);
        Err(TensorError::Mismatch {
            path: path.to_owned(),
            report: Box::new(report),
        })
    }

    fn insert(&mut self, name: &str, tensor: Tensor) -> Tensor {
        self.define(name, tensor.shallow_clone().into());
        tensor
    }

    fn define(&mut self, name: &str, param: Weight) {
        let previous = self.params.insert(name.to_owned(), param);
        assert!(previous.is_none(), "parameter `{name}` is defined twice");
    }
}

/// The parameters one optimiser owns, in name order.
#[derive(Debug)]
pub struct ParamGroup {
    /// Names, sorted.
    pub names: Vec<String>,
    /// Leaves, in the order of `names`.
    pub tensors: Vec<Tensor>,
}

impl ParamGroup {
    /// Gradients of a scalar `loss` with respect to this group only; parameters it does not reach get zeros.
    ///
    /// # Errors
    /// If libtorch refuses, e.g. because the loss depends on no trained tensor.
    pub fn grads(&self, loss: &Tensor) -> Result<Vec<Tensor>, TensorError> {
        gradients(loss, &self.tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_store_leaves_the_random_state_alone() {
        let draw = |build: bool| {
            reseed(&[1]);
            if build {
                let _ = ParamStore::frozen(Device::Cpu).create("w", &[2, 3], Init::Normal(1.0));
            }
            Tensor::randn([4], (Kind::Float, Device::Cpu))
        };
        assert_eq!(draw(true), draw(false));
        let trainable =
            ParamStore::trainable(Device::Cpu, 0).create("w", &[2, 3], Init::Normal(1.0));
        assert!(trainable.abs().min().double_value(&[]) > 0.0);
    }
}
