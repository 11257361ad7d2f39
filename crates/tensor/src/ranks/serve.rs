//! What is kept in parts by several processes, and how one of them gets it while it computes by itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tch::Tensor;

use super::{News, Ranks, Shared, key};
use crate::TensorError;

/// The first process tells that it needs no more.
const DONE: &str = "done";
/// Who says nothing for so long, not even that it lives, is gone; a pause of a machine may be shorter.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one who waits sleeps at most.
const NAP: Duration = Duration::from_millis(20);

/// Which process was lost in the middle of a network: C++ may lie between there and whoever is to be told.
static LOST: Mutex<Option<TensorError>> = Mutex::new(None);

/// What `compute` gives, or which process was lost while a network fetched what others keep.
///
/// # Errors
/// That process, by name.
pub fn unless_lost<T>(compute: impl FnOnce() -> T) -> Result<T, TensorError> {
    let done = catch_unwind(AssertUnwindSafe(compute));
    let lost = LOST.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (lost, done) {
        (Some(lost), _) => Err(lost),
        (None, Ok(done)) => Ok(done),
        (None, Err(panic)) => resume_unwind(panic),
    }
}

/// Ends a computation that failed by `error`: in silence if a process was lost, which whoever waits for it tells.
pub(crate) fn fail(error: &TensorError) -> ! {
    let is_lost = LOST
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some();
    if is_lost {
        resume_unwind(Box::new("a process was lost"));
    }
    panic!("{error}")
}

impl Ranks {
    /// Takes note of this process's part of something; gives its index, which is the same in all processes, as all share the same
    /// things in the same order.
    pub(crate) fn share(self, part: &Tensor) -> usize {
        let Some(shared) = self.shared else { return 0 };
        let mut parts = shared.parts();
        parts.push(part.shallow_clone());
        parts.len() - 1
    }

    /// The parts of all processes in a row; this one's is `part`, with that index. All do so at once.
    ///
    /// A lost process ends the computation: see [`unless_lost`].
    pub(crate) fn gather(self, part: &Tensor, index: usize) -> Tensor {
        if self.count == 1 {
            return part.shallow_clone();
        }
        let Some(shared) = self.shared else {
            return part.repeat([i64::from(self.count)]);
        };
        let all = self.room_for(part);
        let fetch = || {
            if self.is_first() && shared.is_led.load(Ordering::Relaxed) {
                self.say(shared, &index.to_string())?;
            }
            self.fetch(shared, part, &all)
        };
        if let Err(error) = fetch() {
            *LOST.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            resume_unwind(Box::new("a process was lost"));
        }
        all
    }

    /// Of the parts of all processes, where this one has `part`.
    fn room_for(self, part: &Tensor) -> Tensor {
        let len = part.numel() as i64 * i64::from(self.count);
        Tensor::empty([len], (part.kind(), part.device()))
    }

    fn fetch(self, shared: &Shared, part: &Tensor, all: &Tensor) -> Result<(), TensorError> {
        shared.begun.fetch_add(1, Ordering::Relaxed);
        let work = shared.group.gather(part, all);
        self.wait(work.map_err(|error| self.lost(&error))?)
    }

    /// `work` of the first process by itself, while the others [serve](Self::serve), however long it takes.
    ///
    /// # Errors
    /// A process that is gone, by name.
    pub fn lead<T>(self, work: impl FnOnce() -> T) -> Result<T, TensorError> {
        let Some(shared) = self.shared else {
            return Ok(work());
        };
        shared.is_led.store(true, Ordering::Relaxed);
        let done = unless_lost(work);
        shared.is_led.store(false, Ordering::Relaxed);
        let done = done?;
        self.say(shared, DONE)?;
        self.all_have_heard()?;
        Ok(done)
    }

    /// The words of the first process; nobody looks at the others'.
    ///
    /// # Errors
    /// A process that is gone, by name.
    pub fn words(self, words: &str) -> Result<String, TensorError> {
        let Some(shared) = self.shared else {
            return Ok(words.to_owned());
        };
        let said = if self.is_first() {
            self.say(shared, words).map(|()| words.to_owned())?
        } else {
            self.hear(shared)?
        };
        self.all_have_heard()?;
        Ok(said)
    }

    /// Comes back when all processes have come to it.
    fn all_have_heard(self) -> Result<(), TensorError> {
        self.sum(&[0.0]).map(drop)
    }

    /// Gives the first process what it asks for until it is done with what it does by itself.
    ///
    /// # Errors
    /// If it is gone.
    pub fn serve(self) -> Result<(), TensorError> {
        let Some(shared) = self.shared else {
            return Ok(());
        };
        while let Ok(index) = self.hear(shared)?.parse::<usize>() {
            let part = shared.parts()[index].shallow_clone();
            let all = self.room_for(&part);
            self.fetch(shared, &part, &all)?;
        }
        self.all_have_heard()
    }

    /// Tells the others the next thing.
    fn say(self, shared: &Shared, word: &str) -> Result<(), TensorError> {
        let asked = shared.asked.fetch_add(1, Ordering::Relaxed);
        let said = shared.group.tell(&asking(asked), word);
        said.map_err(|error| self.lost(&error))?;
        // All have heard the one before: they came to what it asked for, or to where all have heard.
        match asked.checked_sub(1) {
            Some(old) => shared.group.forget(&asking(old)),
            None => Ok(()),
        }
    }

    /// The next thing that the first process says, as long as it lives.
    fn hear(self, shared: &Shared) -> Result<String, TensorError> {
        let next = asking(shared.asked.fetch_add(1, Ordering::Relaxed));
        let lost = |error: &TensorError| self.lost(error);
        let mut nap = Duration::from_micros(50);
        let mut seen = (None, Instant::now());
        loop {
            if let Some(word) = shared.group.ask(&next).map_err(|error| lost(&error))? {
                return Ok(word);
            }
            if nap == NAP && seen.1.elapsed() > SILENCE.min(shared.timeout) {
                let news = News::read(shared.group.ask(&key(0)).map_err(|error| lost(&error))?);
                if news == seen.0 {
                    return Err(lost(&TensorError::torch("processes", "process 0 is gone")));
                }
                seen = (news, Instant::now());
            }
            thread::sleep(nap);
            nap = (nap * 2).min(NAP);
        }
    }
}

impl Shared {
    fn parts(&self) -> MutexGuard<'_, Vec<Tensor>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asking(index: u64) -> String {
    format!("asked/{index}")
}
