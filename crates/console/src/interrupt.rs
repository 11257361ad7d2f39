//! Ctrl-C and SIGTERM: finish the update, write a checkpoint, exit with 130.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<()> = OnceLock::new();

/// Exit code after an interrupt, as shells expect it.
pub const EXIT_CODE: u8 = 130;

/// Starts listening. A second signal ends the process at once.
pub fn install() {
    INSTALLED.get_or_init(|| {
        let handler = || {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                #[expect(clippy::exit, reason = "the user asked twice")]
                std::process::exit(i32::from(EXIT_CODE));
            }
        };
        // Without a handler Ctrl-C still ends the process, and checkpoints are atomic: nothing is lost but comfort.
        let _ = ctrlc::set_handler(handler);
    });
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
