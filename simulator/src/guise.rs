//! What becomes of a record's text on its way out: fields that are missing, a shape of an older version, a broken
//! value.

use std::borrow::Cow;

use serde_json::Value;
use uuid::Uuid;

use crate::generate::{Facts, read_json, write_json};
use crate::oddity::Oddity;
use crate::sparse::Sparse;
use crate::version::Version;

/// How the records of one answer look.
pub(crate) struct Guise<'a> {
    resource: &'a str,
    sparse: Option<Sparse>,
    version: Version,
    /// The record that is broken.
    odd: Option<(Uuid, Oddity)>,
}

impl<'a> Guise<'a> {
    /// Records as the documentation has them, but for fields that are missing.
    pub(crate) fn new(resource: &'a str, sparse: Option<Sparse>) -> Self {
        Self { resource, sparse, version: Version::NEWEST, odd: None }
    }

    /// In the shape of this version.
    pub(crate) fn of(mut self, version: Version) -> Self {
        self.version = if version.reshapes(self.resource) { version } else { Version::NEWEST };
        self
    }

    /// With one that is broken.
    pub(crate) fn with_odd(mut self, odd: Option<(Uuid, Oddity)>) -> Self {
        self.odd = odd;
        self
    }

    /// Whether every record comes as it is.
    pub(crate) fn is_plain(&self) -> bool {
        self.sparse.is_none() && self.version == Version::NEWEST && self.odd.is_none()
    }

    /// The text of a record as it goes out.
    pub(crate) fn dress<'t>(&self, facts: &Facts, text: &'t str) -> Cow<'t, str> {
        if self.is_plain() {
            return Cow::Borrowed(text);
        }
        let Some(mut record) = read_json(text) else { return Cow::Borrowed(text) };
        if let Some(sparse) = &self.sparse {
            sparse.thin(facts.ordinal, &mut record);
        }
        self.version.reshape(self.resource, &mut record);
        let odd = self.odd.filter(|(id, _)| *id == facts.id).map(|(_, oddity)| oddity);
        Cow::Owned(finished(record, odd))
    }
}

fn finished(mut record: Value, odd: Option<Oddity>) -> String {
    match odd {
        None => write_json(&record),
        Some(oddity) => {
            oddity.spoil(&mut record);
            oddity.finish(write_json(&record))
        }
    }
}
