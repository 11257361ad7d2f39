//! In how many parts a batch is computed, and what happens when memory runs out.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook},
    sync::Once,
};

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

    /// The same with so many; unchanged if they cannot be.
    #[must_use]
    pub fn into_parts(self, parts: usize) -> Self {
        if parts > 0 && self.most.is_multiple_of(parts) {
            Self { parts, ..self }
        } else {
            self
        }
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

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// What `compute` gives; none if memory ran out, as an error or as a panic of `tch`, which is not shown.
pub(crate) fn unless_out_of_memory<T>(
    compute: impl FnOnce() -> Result<T, MethodError>,
) -> Result<Option<T>, MethodError> {
    QUIET.call_once(|| {
        let show = take_hook();
        set_hook(Box::new(move |panic| {
            if !(CATCHES.get() && is_out_of_memory(message(panic.payload()))) {
                show(panic);
            }
        }));
    });
    let was = CATCHES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(compute));
    CATCHES.set(was);
    match result {
        Ok(Err(error)) if is_out_of_memory(&error.to_string()) => Ok(None),
        Ok(result) => result.map(Some),
        Err(panic) if is_out_of_memory(message(&*panic)) => Ok(None),
        Err(panic) => resume_unwind(panic),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("")
}

/// The words of libtorch's allocators for CUDA and for the CPU.
fn is_out_of_memory(message: &str) -> bool {
    [
        "CUDA out of memory",
        "DefaultCPUAllocator: not enough memory",
        "DefaultCPUAllocator: can't allocate memory",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
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
