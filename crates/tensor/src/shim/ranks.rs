//! `cpp/ranks.cpp`: processes that train together.

use std::ffi::{CString, c_char, c_int, c_void};

use tch::Tensor;

use super::{result, text};
use crate::TensorError;

unsafe extern "C" {
    fn dmdr_ranks_join(
        host: *const c_char,
        port: u16,
        serves: bool,
        prefix: *const c_char,
        rank: c_int,
        ranks: c_int,
        timeout_ms: i64,
        address: *const c_char,
        group: *mut *mut c_void,
    ) -> *mut c_char;
    fn dmdr_ranks_begin(
        group: *mut c_void,
        tensor: *mut c_void,
        how: c_int,
        root: c_int,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn dmdr_ranks_gather(
        group: *mut c_void,
        part: *mut c_void,
        all: *mut c_void,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn dmdr_ranks_wait(work: *mut c_void) -> *mut c_char;
    fn dmdr_ranks_tell(group: *mut c_void, key: *const c_char, value: *const c_char)
    -> *mut c_char;
    fn dmdr_ranks_forget(group: *mut c_void, key: *const c_char) -> *mut c_char;
    fn dmdr_ranks_ask(
        group: *mut c_void,
        key: *const c_char,
        value: *mut *mut c_char,
    ) -> *mut c_char;
}

/// Where processes meet, and who this one is.
#[derive(Debug, Clone)]
pub(crate) struct Meeting {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether this process serves the store.
    pub(crate) serves: bool,
    /// Of all keys.
    pub(crate) prefix: String,
    pub(crate) rank: u32,
    pub(crate) ranks: u32,
    pub(crate) timeout_ms: i64,
    /// How others reach this one; libtorch finds out where nothing is given.
    pub(crate) address: Option<String>,
}

/// A store and a process group of libtorch. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Group(*mut c_void);

// SAFETY: the store locks itself; collectives are begun by one thread (see `Ranks`).
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

/// How tensors of all processes become one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exchange {
    /// All added up.
    Sum,
    /// The largest of each number.
    Max,
    /// That of one process.
    Of(u32),
}

/// Something that was begun.
#[derive(Debug)]
pub(crate) struct Work(*mut c_void);

fn c_string(text: &str) -> Result<CString, TensorError> {
    CString::new(text).map_err(|_| TensorError::torch("processes", "a name has a NUL"))
}

impl Group {
    pub(crate) fn join(meeting: &Meeting) -> Result<Self, TensorError> {
        let (host, prefix) = (c_string(&meeting.host)?, c_string(&meeting.prefix)?);
        let address = meeting.address.as_deref().map(c_string).transpose()?;
        let address = address
            .as_ref()
            .map_or(std::ptr::null(), |text| text.as_ptr());
        let mut group = std::ptr::null_mut();
        // SAFETY: NUL-terminated strings that outlive the call, as does `group`.
        let message = unsafe {
            dmdr_ranks_join(
                host.as_ptr(),
                meeting.port,
                meeting.serves,
                prefix.as_ptr(),
                meeting.rank as c_int,
                meeting.ranks as c_int,
                meeting.timeout_ms,
                address,
                &raw mut group,
            )
        };
        result("meeting the other processes", message).map(|()| Self(group))
    }

    /// Begins to replace a tensor by what becomes of it in all processes.
    pub(crate) fn begin(&self, tensor: &Tensor, exchange: Exchange) -> Result<Work, TensorError> {
        let (how, root) = match exchange {
            Exchange::Sum => (0, 0),
            Exchange::Max => (1, 0),
            Exchange::Of(root) => (2, root as c_int),
        };
        let mut work = std::ptr::null_mut();
        // SAFETY: a live group and a live tensor, of which libtorch keeps a reference.
        let message = unsafe {
            let tensor = tensor.as_ptr().cast_mut().cast();
            dmdr_ranks_begin(self.0, tensor, how, root, &raw mut work)
        };
        result("an exchange with the other processes", message).map(|()| Work(work))
    }

    /// Begins to fill `all` with the `part` of every process, in order.
    pub(crate) fn gather(&self, part: &Tensor, all: &Tensor) -> Result<Work, TensorError> {
        let mut work = std::ptr::null_mut();
        let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut().cast();
        // SAFETY: a live group and live tensors, of which libtorch keeps references.
        let message =
            unsafe { dmdr_ranks_gather(self.0, pointer(part), pointer(all), &raw mut work) };
        result("an exchange with the other processes", message).map(|()| Work(work))
    }

    /// Tells all processes something.
    pub(crate) fn tell(&self, key: &str, value: &str) -> Result<(), TensorError> {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: a live group and NUL-terminated strings.
        result("the store", unsafe {
            dmdr_ranks_tell(self.0, key.as_ptr(), value.as_ptr())
        })
    }

    /// Forgets what was told.
    pub(crate) fn forget(&self, key: &str) -> Result<(), TensorError> {
        let key = c_string(key)?;
        // SAFETY: as above.
        result("the store", unsafe {
            dmdr_ranks_forget(self.0, key.as_ptr())
        })
    }

    /// What was told, if anything was.
    pub(crate) fn ask(&self, key: &str) -> Result<Option<String>, TensorError> {
        let key = c_string(key)?;
        let mut value = std::ptr::null_mut();
        // SAFETY: as above; `value` outlives the call and is then ours.
        let message = unsafe { dmdr_ranks_ask(self.0, key.as_ptr(), &raw mut value) };
        let value = text(value);
        result("the store", message).map(|()| value)
    }
}

impl Work {
    /// Nothing to wait for.
    pub(crate) fn done() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Waits for it.
    pub(crate) fn wait(self) -> Result<(), TensorError> {
        if self.0.is_null() {
            return Ok(());
        }
        // SAFETY: made by the shim, and given back to it once.
        result("the other processes", unsafe { dmdr_ranks_wait(self.0) })
    }
}
