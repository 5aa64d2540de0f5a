//! The addresses that are registered, and their types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

/// The registered addresses.
#[derive(Default)]
pub(crate) struct Addresses(RwLock<BTreeMap<String, BTreeSet<String>>>);

impl Addresses {
    /// Adds types to those of an address.
    pub(crate) fn register(&self, url: &str, types: impl IntoIterator<Item = String>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(url.to_owned()).or_default().extend(types);
    }

    /// Takes types away from those of an address, which goes with its last.
    pub(crate) fn unregister(&self, url: &str, types: &[String]) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(registered) = all.get_mut(url) {
            registered.retain(|name| !types.contains(name));
            if registered.is_empty() {
                all.remove(url);
            }
        }
    }

    /// All, ordered by address.
    pub(crate) fn list(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that have one of these types, in order, with their places among all.
    pub(crate) fn taking(&self, types: &[&str]) -> Vec<(usize, String)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let takes = |registered: &BTreeSet<String>| types.iter().any(|name| registered.contains(*name));
        let places = all.iter().enumerate().filter(|(_, (_, registered))| takes(registered));
        places.map(|(place, (url, _))| (place, url.clone())).collect()
    }
}
