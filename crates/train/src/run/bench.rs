//! How long an update takes, what it is spent on, and what it could be at best on this device.

use std::{collections::BTreeMap, path::Path, time::Instant};

use dmdr_tensor::{
    Device, Kind, Meter, PhaseClock, Tensor, no_grad_guard, peak_memory_bytes, wait_for,
};

use crate::{Assembly, Rehearsal, TrainError, run::course::Course};

/// How often a large product is measured.
const PRODUCTS: usize = 8;

/// An update, measured.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Samples of an update.
    pub batch_size: usize,
    /// Seconds of each update.
    pub seconds: Vec<f64>,
    /// Seconds of one more update by phase, for which the device is waited for around each.
    pub phases: BTreeMap<&'static str, f64>,
    /// Operations of an update's products, by shapes.
    pub operations: u64,
    /// Operations a second of a large product of this device, in the kind that networks are computed in.
    pub ceiling: f64,
    /// The most that tensors took at once, in bytes.
    pub peak: u64,
    /// What the doctor says of that.
    pub forecast: u64,
}

impl Bench {
    /// Measures `updates` times the last update of the run of `assembly`, which has all terms. Before the clock runs there are
    /// `warm_up` more: kernels are chosen and memory is taken in them.
    ///
    /// # Errors
    /// Whatever ends the run itself.
    pub fn of(assembly: &Assembly<'_>, warm_up: usize, updates: usize) -> Result<Self, TrainError> {
        let rehearsal = Rehearsal::of(assembly)?;
        let runtime = assembly.runtime();
        let meter = Meter::start();
        let mut distillation = assembly.distillation()?;
        let plan = assembly.recipe().plan();
        let last = plan.num_updates - 1;
        let mut update = || -> Result<f64, TrainError> {
            let started = Instant::now();
            distillation.update(last, Path::new("."))?;
            wait_for(runtime.device);
            Ok(started.elapsed().as_secs_f64())
        };
        for _ in 0..warm_up {
            update()?;
        }
        let seconds = (0..updates).map(|_| update()).collect::<Result<_, _>>()?;
        let clock = PhaseClock::start(runtime.device);
        let all = update()?;
        let mut phases = clock.read();
        let other = all - phases.values().sum::<f64>();
        phases.insert("other", other.max(0.0));
        let peak = match runtime.device {
            Device::Cuda(_) => peak_memory_bytes(runtime.device)?,
            _ => meter.peak_bytes(),
        };
        Ok(Self {
            batch_size: plan.batch_size * assembly.experiment().accumulate,
            seconds,
            phases,
            operations: rehearsal.operations,
            // Last: it takes memory, too.
            ceiling: large_product(runtime.device, runtime.compute),
            peak,
            forecast: rehearsal.num_resident() + rehearsal.update,
        })
    }

    /// The middle one of the updates' seconds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Operations a second of an update.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.median()
    }
}

/// Operations a second of the fastest of some large products.
fn large_product(device: Device, kind: Kind) -> f64 {
    let _guard = no_grad_guard();
    let side: i64 = if device == Device::Cpu { 1536 } else { 8192 };
    let draw = || Tensor::randn([side, side], (Kind::Float, device)).to_kind(kind);
    let (a, b) = (draw(), draw());
    let seconds = (0..PRODUCTS).map(|_| {
        wait_for(device);
        let started = Instant::now();
        let product = a.matmul(&b);
        wait_for(device);
        drop(product);
        started.elapsed().as_secs_f64()
    });
    2.0 * (side as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min)
}
