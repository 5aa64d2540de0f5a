//! The words that callers may send, for the description.

use utoipa::openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::catalog;

/// Resources by their names.
pub(super) struct ResourceNames;

impl PartialSchema for ResourceNames {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(catalog::spellings()));
        let names = ArrayBuilder::new().items(name).min_items(Some(1));
        let all = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([catalog::ALL]));
        let described = "The resources, or `all`: those that take no call for each parent record. Without it, all that \
                         the worker is configured for.";
        OneOfBuilder::new().item(names).item(all).description(Some(described)).into()
    }
}

impl ToSchema for ResourceNames {}

/// One resource by its name.
pub(super) struct ResourceName;

impl PartialSchema for ResourceName {
    fn schema() -> RefOr<Schema> {
        let names = catalog::spellings().into_iter().filter(|name| name != catalog::ALL);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for ResourceName {}

/// How much a run reads.
pub(super) struct ModeName;

impl PartialSchema for ModeName {
    fn schema() -> RefOr<Schema> {
        let described = "`incremental`: what changed; `full`: everything, with deletion detection; `audit`: the rows \
                         are compared with the API.";
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["incremental", "full", "audit"]));
        words.description(Some(described)).into()
    }
}

impl ToSchema for ModeName {}

/// How a run ended, or that it is running.
pub(super) struct StatusName;

impl PartialSchema for StatusName {
    fn schema() -> RefOr<Schema> {
        let words = ["running", "completed", "partial", "failed", "cancelled"];
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for StatusName {}
