//! Panics of libraries that read damaged files, as errors and without a word on stderr.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread will be an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What a columnar library's `read` gives, or `panicked`: some damaged files make such libraries panic. The panic's message is
/// swallowed; those of other threads, and of this one at other times, go where they always went.
pub(super) fn undamaged<T, E>(
    read: impl FnOnce() -> Result<T, E>,
    panicked: impl FnOnce() -> E,
) -> Result<T, E> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                usual(panic);
            }
        }));
    });
    let outer = IS_CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    IS_CAUGHT.set(outer);
    outcome.unwrap_or_else(|_| Err(panicked()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    /// The only test of this process that sets a hook.
    #[test]
    fn only_panics_inside_are_silent() {
        static HEARD: AtomicUsize = AtomicUsize::new(0);
        panic::set_hook(Box::new(|panic| {
            let text = panic.payload().downcast_ref::<&str>();
            if text.is_some_and(|text| text.starts_with("heard")) {
                HEARD.fetch_add(1, SeqCst);
            }
        }));
        let outcome: Result<(), &str> = undamaged(
            || {
                let other = thread::spawn(|| panic!("heard: of another thread"));
                assert!(other.join().is_err());
                panic!("heard: inside")
            },
            || "damaged",
        );
        assert_eq!(outcome, Err("damaged"));
        assert_eq!(HEARD.load(SeqCst), 1, "of the other thread alone");
        assert_eq!(undamaged(|| Ok::<_, &str>(7), || "damaged"), Ok(7));
        assert!(catch_unwind(|| panic!("heard: afterwards")).is_err());
        assert_eq!(HEARD.load(SeqCst), 2);
    }
}
