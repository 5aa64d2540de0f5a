//! The hot functions, opened to `benches/functions.rs`.

use crate::api_client::answer::{self, Page};
use crate::catalog;
use crate::sync::pager::ListCursor;

/// A page of a list, split into records.
#[derive(Debug)]
pub struct Split {
    resource: &'static catalog::Resource,
    page: Page,
}

impl Split {
    /// Splits the body of a list of `resource` into records, and hashes them.
    pub fn of(resource: &str, body: &[u8]) -> Result<Self, String> {
        let resource = catalog::find(resource).ok_or("no such resource")?;
        Ok(Self { resource, page: answer::parse_list(resource, body)? })
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.page.records.len()
    }

    /// Finds the drift: in how many ways the records differ from the API's documents.
    pub fn drift(&self) -> usize {
        answer::drift(&self.page.records).len()
    }

    /// Finds where in the list to go on after this page.
    pub fn next(&self) -> bool {
        ListCursor::start(self.resource, None, 0).after(&self.page).is_ok()
    }
}

/// Hashes a text.
pub fn hash(text: &str) -> [u8; 16] {
    answer::hash(text)
}
