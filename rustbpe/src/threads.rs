//! What all work that is shared out to threads has in common.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

/// How often the caller looks up while others finish.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// Starts the other threads of up to `threads`, of which the caller's is one, each on a task of its own.
pub fn helpers<'scope, T: Send + 'scope, Task: FnOnce() -> T + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    threads: usize,
    mut task: impl FnMut() -> Task,
) -> Vec<ScopedJoinHandle<'scope, T>> {
    let mut helpers = Vec::new();
    for number in 1..threads {
        match Builder::new().name(format!("rustbpe-{number}")).spawn_scoped(scope, task()) {
            Ok(helper) => helpers.push(helper),
            // The system gives no more threads: those that there are do the work.
            Err(_) => break,
        }
    }
    helpers
}

/// What is locked, also after a thread broke: nothing here is half changed where that can happen.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
