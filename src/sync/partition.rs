//! One list of a resource that has several: of a country, of a type, of one parent record.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::api_client::answer::Page;
use crate::catalog::{Resource, Scope};
use crate::store::parents::PartitionRows;

/// One list of a resource. A resource that is listed for the whole account has one of them, which is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// What its requests name, laid over the body.
    #[serde(default)]
    pub body: Value,
    /// What the content of its rows has, where they have no parent: a condition for jsonb's `@>`.
    #[serde(default)]
    pub content: Value,
    /// The record whose children it gives: kind, resource and id.
    #[serde(default)]
    pub parent: Option<(String, String, Uuid)>,
}

impl Partition {
    /// The parent's resource and id.
    pub fn parent(&self) -> Option<(&str, Uuid)> {
        self.parent.as_ref().map(|(_, resource, id)| (resource.as_str(), *id))
    }

    /// The resource of what these records of `of` belong to.
    pub fn parent_resource(&self, of: &Resource) -> Option<&str> {
        self.parent().map(|(resource, _)| resource).or(of.stored_in().map(|of| of.resource))
    }

    /// Notes in the records of a page whose children they are; in schedules, which do not say it, of which week.
    pub fn set_parent(&self, resource: &Resource, page: &mut Page) {
        if let Some((_, id)) = self.parent() {
            page.records.iter_mut().for_each(|record| record.parent = Some(id));
        }
        if resource.scope == Scope::Week {
            page.records.iter_mut().for_each(|record| record.add(resource, &self.content));
        }
    }

    /// The kind of the parent.
    pub fn kind(&self) -> Option<&str> {
        self.parent.as_ref().map(|(kind, _, _)| kind.as_str())
    }

    /// Which rows are its own.
    pub fn rows(&self) -> PartitionRows<'_> {
        PartitionRows { parent_id: self.parent().map(|(_, id)| id), content: &self.content }
    }
}
