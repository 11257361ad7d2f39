//! In how many parts a batch is computed, and what happens when memory runs out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use dmdr_tensor::panic_message;

use crate::MethodError;

/// In how many equal parts batches are computed; in more of them once memory has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    parts: usize,
    most: usize,
}

impl Division {
    /// All at once, whatever happens.
    pub const NONE: Self = Self { parts: 1, most: 1 };

    /// Into `parts`; `most` is what all that is divided is a multiple of.
    pub fn new(parts: usize, most: usize) -> Self {
        Self { parts, most }
    }

    /// How many.
    pub fn parts(self) -> usize {
        self.parts
    }

    /// The same in `parts` at least, as far as it can be divided.
    #[must_use]
    pub fn at_least(mut self, parts: usize) -> Self {
        while self.parts < parts
            && let Some(finer) = self.finer()
        {
            self = finer;
        }
        self
    }

    /// The next finer one, if there is one.
    #[must_use]
    pub fn finer(self) -> Option<Self> {
        let mut more = self.parts + 1..=self.most;
        let parts = more.find(|parts| self.most.is_multiple_of(*parts))?;
        Some(Self { parts, ..self })
    }
}

/// Once the hook of panics passes over those that are caught here.
static QUIET: Once = Once::new();

/// How many computations are watched. Of the process: backwards, libtorch computes on threads of its own.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// What `compute` gives; none if memory ran out, as an error or as a panic of `tch`, which is not shown.
pub(crate) fn unless_out_of_memory<T>(
    compute: impl FnOnce() -> Result<T, MethodError>,
) -> Result<Option<T>, MethodError> {
    QUIET.call_once(|| {
        let show = take_hook();
        set_hook(Box::new(move |panic| {
            let is_watched = WATCHED.load(Ordering::Relaxed) > 0;
            if !(is_watched && is_out_of_memory(panic_message(panic.payload()))) {
                show(panic);
            }
        }));
    });
    WATCHED.fetch_add(1, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(compute));
    WATCHED.fetch_sub(1, Ordering::Relaxed);
    match result {
        Ok(Err(error)) if is_out_of_memory(&error.to_string()) => Ok(None),
        Ok(result) => result.map(Some),
        Err(panic) if is_out_of_memory(panic_message(&*panic)) => Ok(None),
        Err(panic) => resume_unwind(panic),
    }
}

/// The words of libtorch's allocators for CUDA and for the CPU.
fn is_out_of_memory(message: &str) -> bool {
    [
        "CUDA out of memory",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: not enough memory",
        "DefaultCPUAllocator: can't allocate memory",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, Kind, Tensor, recompute};

    use super::*;

    #[test]
    fn parts_are_divisors() {
        let mut division = Division::new(2, 12);
        let mut seen = vec![2];
        while let Some(finer) = division.finer() {
            division = finer;
            seen.push(division.parts());
        }
        assert_eq!(seen, [2, 3, 4, 6, 12]);
        assert_eq!(Division::NONE.finer(), None);
        assert_eq!(Division::new(4, 12).at_least(2).parts(), 4);
        assert_eq!(Division::new(2, 12).at_least(5).parts(), 6);
        assert_eq!(Division::new(2, 12).at_least(50).parts(), 12);
    }

    #[test]
    fn want_of_memory_within_a_block_that_is_computed_again_is_caught() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let found = unless_out_of_memory(|| {
            Ok(recompute(&[&x], |_| {
                panic!("CUDA out of memory. Tried to allocate")
            }))
        });
        assert!(matches!(found, Ok(None)));
    }

    #[test]
    fn only_want_of_memory_is_caught() {
        let fails = |message: &str| -> Result<Option<()>, MethodError> {
            let message = message.to_owned();
            unless_out_of_memory(|| panic!("{message}"))
        };
        assert!(matches!(
            fails("CUDA out of memory. Tried to allocate"),
            Ok(None)
        ));
        let other = catch_unwind(|| drop(fails("index out of bounds")));
        assert!(other.is_err());
        let error = unless_out_of_memory(|| Err::<(), _>(MethodError::NoTrueImages));
        assert!(matches!(error, Err(MethodError::NoTrueImages)));
        assert!(matches!(unless_out_of_memory(|| Ok(3)), Ok(Some(3))));
    }
}
