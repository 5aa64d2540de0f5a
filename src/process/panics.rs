//! Panics: where they happened, for the log and for the caller that waits; and how one ends no more than the work it
//! happened in.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use tracing::error;

use super::log_lines;

/// Where the last panic of this process happened. Work that spans several tasks panics in one and is caught in another,
/// so this is not of a thread's own.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Work ended in a panic, which is logged: a bug of this program or of a library. It shows where, and not its text,
/// which may hold data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bug ended the work (panic at {at}, see the worker's log)")]
pub struct Panicked {
    /// File and line.
    pub at: String,
}

/// From now on a panic is logged with its place and its text, as an error.
pub fn log_them() {
    std::panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let at = info.location().map_or_else(|| "an unknown place".to_owned(), |at| place(at.file(), at.line()));
    // Its text may hold data, so it is in the log alone.
    let text = log_lines::foreign(Some(text_of(info.payload()))).unwrap_or_default();
    error!(at, "A panic, which is a bug, at {at}: {text}");
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
}

/// What a panic says.
fn text_of(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// File and line; of a library's file without where it was built.
fn place(file: &str, line: u32) -> String {
    let file = match file.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, file)| file),
        None => file,
    };
    format!("{file}:{line}")
}

/// The outcome of `work`, or where it panicked. What it leaves behind has to be whole after any panic: locks are
/// tokio's, which are not poisoned, or are taken over as they are.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        let at = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Panicked { at: at.unwrap_or_else(|| "an unknown place".to_owned()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_library_is_without_the_machine_that_built_it() {
        assert_eq!(place("src/sync/list.rs", 7), "src/sync/list.rs:7");
        let library = "/home/someone/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/chrono-0.4.42/src/lib.rs";
        assert_eq!(place(library, 9), "chrono-0.4.42/src/lib.rs:9");
    }

    #[tokio::test]
    async fn work_that_panics_ends_alone() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let panicked = caught(async { panic!("with {}", "a secret") }).await.map(|never: ()| never);
        assert!(!panicked.expect_err("it panics").to_string().contains("secret"));
    }
}
