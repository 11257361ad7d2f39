//! Named parameters of one network (or one adapter), and the group an optimiser owns.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc};

use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::{Init, LoadReport, TensorError, seed::reseed, weights};

/// The parameters of one network, by name. A duplicate name is a bug and panics.
///
/// Trainable stores hand out leaves that require a gradient; frozen ones never do.
#[derive(Clone, Debug)]
pub struct ParamStore {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    params: BTreeMap<String, Tensor>,
    device: Device,
    trainable: bool,
    seed: u64,
    compute: Kind,
}

impl ParamStore {
    /// An empty store whose parameters will be trained; `seed` fixes their initial values.
    pub fn trainable(device: Device, seed: u64) -> Self {
        Self::new(device, true, seed)
    }

    /// An empty store whose parameters never require a gradient.
    pub fn frozen(device: Device) -> Self {
        Self::new(device, false, 0)
    }

    fn new(device: Device, trainable: bool, seed: u64) -> Self {
        let inner = Inner {
            params: BTreeMap::new(),
            device,
            trainable,
            seed,
            compute: Kind::Float,
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    /// The kind the large matrix products of this network are computed in; parameters stay f32.
    #[must_use]
    pub fn with_compute(self, compute: Kind) -> Self {
        self.inner.borrow_mut().compute = compute;
        self
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
            .map(|(name, tensor)| (name.clone(), tensor.detach().copy()));
        twin.inner.borrow_mut().params = copies.collect();
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

    /// Creates parameter `name`. Its initial value depends on the store's seed and its name only.
    ///
    /// # Panics
    /// If the name exists.
    pub(crate) fn create(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let mut inner = self.inner.borrow_mut();
        let name_hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        reseed(&[inner.seed, name_hash]);
        let tensor = init
            .tensor(shape, inner.device)
            .set_requires_grad(inner.trainable);
        let previous = inner.params.insert(name.to_owned(), tensor.shallow_clone());
        assert!(previous.is_none(), "parameter `{name}` is defined twice");
        tensor
    }

    /// All parameters in name order.
    pub fn group(&self) -> ParamGroup {
        let inner = self.inner.borrow();
        let (names, tensors) = inner
            .params
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .unzip();
        ParamGroup { names, tensors }
    }

    /// Number of scalars.
    pub fn num_scalars(&self) -> usize {
        self.inner.borrow().params.values().map(Tensor::numel).sum()
    }

    /// Fills every parameter from a safetensors file. Names and shapes must agree exactly; f16 and bf16 are widened.
    ///
    /// # Errors
    /// An unreadable file, or any missing, unexpected or differently shaped tensor; nothing is changed then.
    pub fn load(&self, path: &Path) -> Result<LoadReport, TensorError> {
        let tensors = weights::read_tensors(path)?;
        self.load_tensors(&tensors, path)
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
        let inner = self.inner.borrow();
        let report = LoadReport::compare(&inner.params, tensors);
        if !report.fits() {
            return Err(TensorError::Mismatch {
                path: path.to_owned(),
                report: Box::new(report),
            });
        }
        let _guard = no_grad_guard();
        for (name, param) in &inner.params {
            param.shallow_clone().copy_(&tensors[name]);
        }
        Ok(report)
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
        weights::write_tensors(path, &self.inner.borrow().params, kind, metadata)
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
            param.shallow_clone().copy_(value);
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
            let _ = param.shallow_clone().lerp_(value, 1.0 - decay);
        }
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
    /// If libtorch refuses, e.g. because the loss depends on none of them.
    pub fn grads(&self, loss: &Tensor) -> Result<Vec<Tensor>, TensorError> {
        let grads = Tensor::f_run_backward(&[loss], &self.tensors, false, false)
            .map_err(|error| TensorError::torch("backward", &error.to_string()))?;
        Ok(grads
            .into_iter()
            .zip(&self.tensors)
            .map(|(grad, param)| {
                if grad.defined() {
                    grad
                } else {
                    param.zeros_like()
                }
            })
            .collect())
    }
}
