//! The C++ shim: functions of libtorch that `tch` does not bind. All `unsafe` of the project is here,
//! but for the map of weight files in `weights.rs`.
#![expect(
    unsafe_code,
    reason = "FFI to the files of cpp, where every call copies its error message out, and to the allocator's options"
)]

pub(crate) mod ranks;

use std::{
    any::Any,
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    ptr, slice,
};

use tch::{Device, Tensor};

use crate::{TensorError, panic::panic_message};

/// A closure as C++ calls it.
#[repr(C)]
struct Piece {
    data: *mut c_void,
    run: unsafe extern "C" fn(
        *mut c_void,
        *const *mut c_void,
        usize,
        *mut c_char,
        usize,
    ) -> *mut c_void,
    drop: unsafe extern "C" fn(*mut c_void),
}

/// A closure that is told of gradients.
#[repr(C)]
struct Listener {
    data: *mut c_void,
    hear: unsafe extern "C" fn(*mut c_void, usize, *mut c_void),
}

impl Piece {
    fn of<F: Fn(&[Tensor]) -> Tensor + 'static>(piece: F) -> Self {
        Self {
            data: Box::into_raw(Box::new(piece)).cast(),
            run: run_piece::<F>,
            drop: drop_piece::<F>,
        }
    }
}

unsafe extern "C" {
    fn dmdr_fused_adamw(
        params: *const *mut c_void,
        grads: *const *mut c_void,
        exp_avgs: *const *mut c_void,
        exp_avg_sqs: *const *mut c_void,
        steps: *const *mut c_void,
        n: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        skip: *mut c_void,
    ) -> *mut c_char;
    fn dmdr_recompute(
        inputs: *const *mut c_void,
        n: usize,
        output: *mut *mut c_void,
        piece: Piece,
    ) -> *mut c_char;
    fn dmdr_gradients_heard(
        loss: *mut c_void,
        inputs: *const *mut c_void,
        n: usize,
        listener: Listener,
    ) -> *mut c_char;
    fn dmdr_gelu(x: *mut c_void, output: *mut *mut c_void) -> *mut c_char;
    fn dmdr_rms_norm(
        x: *mut c_void,
        weight: *mut c_void,
        eps: f64,
        output: *mut *mut c_void,
    ) -> *mut c_char;
    fn dmdr_linear(
        x: *mut c_void,
        bias: *mut c_void,
        output: *mut *mut c_void,
        piece: Piece,
    ) -> *mut c_char;
    fn dmdr_generator_state(index: c_int, state: *mut *mut c_void) -> *mut c_char;
    fn dmdr_set_generator_state(index: c_int, state: *const c_void) -> *mut c_char;
    fn dmdr_open_tangents() -> *mut c_char;
    fn dmdr_has_tangent(tensor: *const c_void) -> bool;
    fn dmdr_cuda_peak_bytes(index: c_int, bytes: *mut i64) -> *mut c_char;
    fn dmdr_cuda_total_bytes(index: c_int, bytes: *mut i64) -> *mut c_char;
    fn dmdr_is_open(name: *const c_char) -> bool;
    fn dmdr_open_library(path: *const c_char) -> *mut c_char;
    fn dmdr_libtorch_file() -> *mut c_char;
    fn dmdr_driver_version() -> c_int;
    fn dmdr_driver_cards() -> *mut c_char;
    fn dmdr_meter_start() -> *mut c_void;
    fn dmdr_meter_stop(metering: *mut c_void);
    fn dmdr_meter_live(metering: *const c_void) -> i64;
    fn dmdr_meter_peak(metering: *const c_void) -> i64;
    fn dmdr_phantom_install();
    fn dmdr_phantom_live() -> i64;
    fn dmdr_phantom_peak() -> i64;
    fn dmdr_phantom_operations() -> i64;
    fn free(pointer: *mut c_void);
}

/// A string of the shim, if it gave one.
fn text(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim returns a NUL-terminated string from `strdup`, owned by us.
    let text = unsafe { CStr::from_ptr(message) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: as above; freed once.
    unsafe { free(message.cast()) };
    Some(text)
}

fn result(what: &str, message: *mut c_char) -> Result<(), TensorError> {
    match text(message) {
        None => Ok(()),
        Some(text) => Err(TensorError::torch(what, &text)),
    }
}

/// Whether this process has the library with this file name.
pub(crate) fn is_open(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: a NUL-terminated string that outlives the call.
    unsafe { dmdr_is_open(name.as_ptr()) }
}

/// Opens a library for the rest of the process; why it cannot be opened.
pub(crate) fn open_library(path: &Path) -> Option<String> {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return Some("its path has a NUL".to_owned());
    };
    // SAFETY: a NUL-terminated string that outlives the call.
    text(unsafe { dmdr_open_library(path.as_ptr()) })
}

/// The file of the libtorch that this process has.
pub(crate) fn libtorch_file() -> Option<PathBuf> {
    // SAFETY: no arguments.
    text(unsafe { dmdr_libtorch_file() }).map(PathBuf::from)
}

/// Major and minor version of CUDA that the driver supports.
pub(crate) fn driver_version() -> Option<(u32, u32)> {
    // SAFETY: no arguments.
    let version = u32::try_from(unsafe { dmdr_driver_version() }).unwrap_or(0);
    (version > 0).then_some((version / 1000, version % 1000 / 10))
}

/// Names and bytes of the cards that the driver sees.
pub(crate) fn driver_cards() -> Vec<(String, u64)> {
    // SAFETY: no arguments.
    let lines = text(unsafe { dmdr_driver_cards() }).unwrap_or_default();
    let card = |line: &str| {
        let (bytes, name) = line.split_once(' ')?;
        Some((name.to_owned(), bytes.parse().ok()?))
    };
    lines.lines().filter_map(card).collect()
}

/// Moments and step counters of the fused kernel, one entry a parameter.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) exp_avgs: Vec<Tensor>,
    pub(crate) exp_avg_sqs: Vec<Tensor>,
    pub(crate) steps: Vec<Tensor>,
}

impl Moments {
    /// Copies of both moments and of the counters.
    pub(crate) fn copies(&self) -> [Vec<Tensor>; 3] {
        [&self.exp_avgs, &self.exp_avg_sqs, &self.steps]
            .map(|tensors| tensors.iter().map(Tensor::copy).collect())
    }
}

/// Numbers of one AdamW step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hyper {
    pub(crate) lr: f64,
    pub(crate) betas: (f64, f64),
    pub(crate) weight_decay: f64,
    pub(crate) eps: f64,
}

pub(crate) fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    moments: &Moments,
    hyper: Hyper,
    skip: &Tensor,
) -> Result<(), TensorError> {
    let pointers = |tensors: &[Tensor]| -> Vec<*mut c_void> {
        tensors
            .iter()
            .map(|tensor| tensor.as_ptr().cast_mut().cast())
            .collect()
    };
    let (p, g) = (pointers(params), pointers(grads));
    let (m, v, s) = (
        pointers(&moments.exp_avgs),
        pointers(&moments.exp_avg_sqs),
        pointers(&moments.steps),
    );
    let n = p.len();
    assert!(
        [g.len(), m.len(), v.len(), s.len()] == [n; 4],
        "one gradient and moment a parameter"
    );
    // SAFETY: all arrays hold `n` live `at::Tensor*` and `skip` is one; the shim keeps none of them.
    let message = unsafe {
        dmdr_fused_adamw(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            n,
            hyper.lr,
            hyper.betas.0,
            hyper.betas.1,
            hyper.weight_decay,
            hyper.eps,
            skip.as_ptr().cast_mut().cast(),
        )
    };
    result("AdamW step", message)
}

/// See [`crate::recompute`].
pub(crate) fn recompute<F: Fn(&[Tensor]) -> Tensor + 'static>(
    inputs: &[&Tensor],
    piece: F,
) -> Result<Tensor, TensorError> {
    let pointers: Vec<*mut c_void> = inputs
        .iter()
        .map(|tensor| tensor.as_ptr().cast_mut().cast())
        .collect();
    let mut output = ptr::null_mut();
    let piece = Piece::of(piece);
    // SAFETY: the array holds `n` live `at::Tensor*`. The shim owns `piece` from here on and drops it once. It calls it only
    // while this thread waits, in here or in a backward pass, though libtorch's engine may do so on a thread of its own.
    let message =
        unsafe { dmdr_recompute(pointers.as_ptr(), pointers.len(), &raw mut output, piece) };
    result("recomputation", message)?;
    // SAFETY: on success a new `at::Tensor`, ours.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// See [`crate::gelu_tanh`], for `x` on the CPU in f32.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor, TensorError> {
    let mut output = ptr::null_mut();
    // SAFETY: a live tensor, and `output` outlives the call.
    let message = unsafe { dmdr_gelu(x.as_ptr().cast_mut().cast(), &raw mut output) };
    result("GELU", message)?;
    // SAFETY: on success a new `at::Tensor`, ours.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// See [`crate::rms_norm`], for tensors on the CPU in f32.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, TensorError> {
    let mut output = ptr::null_mut();
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut().cast();
    // SAFETY: live tensors, and `output` outlives the call.
    let message = unsafe { dmdr_rms_norm(pointer(x), pointer(weight), eps, &raw mut output) };
    result("RMS norm", message)?;
    // SAFETY: on success a new `at::Tensor`, ours.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// Tells `hear` of the gradients of `loss`, which has a graph, for the leaves `inputs`, by index, each as soon as it is whole.
pub(crate) fn gradients_heard<F: FnMut(usize, &Tensor)>(
    loss: &Tensor,
    inputs: &[Tensor],
    hear: F,
) -> Result<(), TensorError> {
    let mut ear = Ear { hear, panic: None };
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut().cast();
    let pointers: Vec<*mut c_void> = inputs.iter().map(pointer).collect();
    let listener = Listener {
        data: (&raw mut ear).cast(),
        hear: hear_gradient::<F>,
    };
    // SAFETY: live tensors. The shim calls the closure only while this thread waits in here, though libtorch's engine may do so
    // on a thread of its own; one call at a time, as leaves of one device have one thread.
    let message =
        unsafe { dmdr_gradients_heard(pointer(loss), pointers.as_ptr(), inputs.len(), listener) };
    if let Some(panic) = ear.panic {
        resume_unwind(panic);
    }
    result("backward", message)
}

/// A closure that is told of gradients, and why it failed, if it did.
struct Ear<F> {
    hear: F,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn hear_gradient<F: FnMut(usize, &Tensor)>(
    data: *mut c_void,
    index: usize,
    gradient: *mut c_void,
) {
    // SAFETY: `data` is the closure of `gradients_heard`, which nobody else uses now; a live tensor, of which this makes a
    // handle of our own.
    let (ear, gradient) = unsafe {
        let gradient = Tensor::clone_from_ptr(gradient.cast());
        (&mut *data.cast::<Ear<F>>(), gradient)
    };
    // A panic must not cross C++: it goes on behind it.
    if ear.panic.is_none() {
        let heard = catch_unwind(AssertUnwindSafe(|| (ear.hear)(index, &gradient)));
        ear.panic = heard.err();
    }
}

/// `x W^T + b` with the weight that `piece`, which is given nothing, makes for each use.
pub(crate) fn linear<F: Fn(&[Tensor]) -> Tensor + 'static>(
    x: &Tensor,
    bias: Option<&Tensor>,
    piece: F,
) -> Result<Tensor, TensorError> {
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut().cast();
    let bias = bias.map_or(ptr::null_mut(), pointer);
    let mut output = ptr::null_mut();
    // SAFETY: live tensors; of `piece` as in `recompute`.
    let message = unsafe { dmdr_linear(pointer(x), bias, &raw mut output, Piece::of(piece)) };
    result("linear layer", message)?;
    // SAFETY: on success a new `at::Tensor`, ours.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// Calls the closure behind `data`; null if it panicked, with its words in the `capacity` bytes behind `message`, which are 0.
unsafe extern "C" fn run_piece<F: Fn(&[Tensor]) -> Tensor>(
    data: *mut c_void,
    inputs: *const *mut c_void,
    n: usize,
    message: *mut c_char,
    capacity: usize,
) -> *mut c_void {
    // SAFETY: `data` is the closure of `recompute`, which nobody changes; the array has `n` live tensors.
    let (piece, inputs) = unsafe { (&*data.cast::<F>(), slice::from_raw_parts(inputs, n)) };
    // SAFETY: live tensors, of which this makes handles of our own.
    let own = |pointer: &*mut c_void| unsafe { Tensor::clone_from_ptr(pointer.cast()) };
    let run = || piece(&inputs.iter().map(own).collect::<Vec<_>>());
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(made) => {
            let pointer = made.as_ptr().cast_mut().cast();
            mem::forget(made); // the shim's now
            pointer
        }
        Err(panic) => {
            let words = panic_message(&*panic).as_bytes();
            let len = words.len().min(capacity.saturating_sub(1));
            // SAFETY: `capacity` bytes are the shim's for this call, and the last one stays 0.
            unsafe { ptr::copy_nonoverlapping(words.as_ptr().cast(), message, len) };
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn drop_piece<F>(data: *mut c_void) {
    // SAFETY: from `Box::into_raw` in `recompute`; the shim calls this once.
    drop(unsafe { Box::from_raw(data.cast::<F>()) });
}

/// Opens the level at which tangents live, if it is not open.
pub(crate) fn open_tangents() -> Result<(), TensorError> {
    // SAFETY: may be called from any thread, as often as one likes.
    result("forward differentiation", unsafe { dmdr_open_tangents() })
}

/// See [`crate::has_tangent`].
pub(crate) fn has_tangent(tensor: &Tensor) -> bool {
    // SAFETY: a live `at::Tensor*`, which is only read.
    unsafe { dmdr_has_tangent(tensor.as_ptr().cast()) }
}

pub(crate) fn cuda_peak_bytes(index: usize) -> Result<u64, TensorError> {
    let mut bytes = 0_i64;
    // SAFETY: `bytes` outlives the call.
    let message = unsafe { dmdr_cuda_peak_bytes(index as c_int, &raw mut bytes) };
    result("CUDA memory figure", message).map(|()| bytes.max(0) as u64)
}

/// A device of the shim's: CUDA's index, or -1.
fn index(device: Device) -> c_int {
    match device {
        Device::Cuda(index) => index as c_int,
        _ => -1,
    }
}

/// What the generator of a device is about to draw.
pub(crate) fn generator_state(device: Device) -> Result<Tensor, TensorError> {
    let mut state = ptr::null_mut();
    // SAFETY: `state` outlives the call.
    let message = unsafe { dmdr_generator_state(index(device), &raw mut state) };
    result("random state", message)?;
    // SAFETY: on success a new `at::Tensor`, ours.
    Ok(unsafe { Tensor::from_ptr(state.cast()) })
}

/// Sets it back.
pub(crate) fn set_generator_state(device: Device, state: &Tensor) -> Result<(), TensorError> {
    // SAFETY: a live tensor, which is copied from.
    let message = unsafe { dmdr_set_generator_state(index(device), state.as_ptr().cast()) };
    result("random state", message)
}

pub(crate) fn cuda_total_bytes(index: usize) -> Result<u64, TensorError> {
    let mut bytes = 0_i64;
    // SAFETY: `bytes` outlives the call.
    let message = unsafe { dmdr_cuda_total_bytes(index as c_int, &raw mut bytes) };
    result("CUDA memory figure", message).map(|()| bytes.max(0) as u64)
}

/// See [`crate::Meter`]. Not `Send`: it belongs to its thread.
#[derive(Debug)]
pub(crate) struct Metering(*mut c_void);

impl Metering {
    pub(crate) fn start() -> Self {
        // SAFETY: makes an object that `drop` deletes.
        Self(unsafe { dmdr_meter_start() })
    }

    pub(crate) fn live(&self) -> i64 {
        // SAFETY: alive until `drop`.
        unsafe { dmdr_meter_live(self.0) }
    }

    pub(crate) fn peak(&self) -> i64 {
        // SAFETY: alive until `drop`.
        unsafe { dmdr_meter_peak(self.0) }
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        // SAFETY: from `start`, on the same thread, once.
        unsafe { dmdr_meter_stop(self.0) };
    }
}

/// See [`crate::phantom`].
pub(crate) fn phantom_install() {
    // SAFETY: registers a static object, as often as one likes.
    unsafe { dmdr_phantom_install() };
}

/// Operations of products since the last call.
pub(crate) fn phantom_operations() -> u64 {
    // SAFETY: no arguments.
    unsafe { dmdr_phantom_operations() }.max(0) as u64
}

/// Bytes that phantoms take now.
pub(crate) fn phantom_live() -> u64 {
    // SAFETY: reads an atomic.
    unsafe { dmdr_phantom_live() }.max(0) as u64
}

/// The most they took since the last call.
pub(crate) fn phantom_peak() -> u64 {
    // SAFETY: exchanges an atomic.
    unsafe { dmdr_phantom_peak() }.max(0) as u64
}

/// See [`crate::keep_freed_memory`].
pub(crate) fn keep_freed_memory() {
    const PURGE_DELAY: c_int = 15; // mi_option_purge_delay in mimalloc.h; the crate does not name it
    // SAFETY: the option exists, and -1 is documented as "never".
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
