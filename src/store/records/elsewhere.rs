//! Rows that are written beside a list that is being merged: what was known of them beforehand holds no more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use uuid::Uuid;

/// Who merges lists, and who writes rows beside them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere(Arc<Mutex<Vec<Watched>>>);

/// A resource, and where to note what others write of it, as long as somebody asks.
type Watched = (&'static str, Weak<Mutex<HashSet<Uuid>>>);

/// The rows of a resource that others have written since it was last asked.
#[derive(Debug, Default)]
pub struct Written(Arc<Mutex<HashSet<Uuid>>>);

impl Elsewhere {
    /// From now on says which rows of the resource others write.
    pub fn watch(&self, resource: &'static str) -> Written {
        let written = Written::default();
        let mut watched = lock(&self.0);
        watched.retain(|(_, written)| written.strong_count() > 0);
        watched.push((resource, Arc::downgrade(&written.0)));
        written
    }

    /// These rows are about to be written, in a transaction that no other of the account is beside.
    pub fn wrote(&self, resource: &str, ids: impl IntoIterator<Item = Uuid> + Clone) {
        let watched = lock(&self.0);
        let of_resource = watched.iter().filter(|(watched, _)| *watched == resource);
        for written in of_resource.filter_map(|(_, written)| written.upgrade()) {
            lock(&written).extend(ids.clone());
        }
    }
}

impl Written {
    /// The rows that were written since this was last called. To be called within a transaction.
    pub fn take(&self) -> HashSet<Uuid> {
        std::mem::take(&mut *lock(&self.0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after any panic: nothing in between can.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
