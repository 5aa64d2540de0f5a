//! The form of an entry in the table of resources.

use super::resource::ProjectApi;

/// What the API's documents do not say of a resource.
pub(super) struct Entry {
    /// Its name.
    pub(super) name: &'static str,
    /// By what to sort, where the list can be sorted by several fields and none of them is constant.
    pub(super) sort: Option<&'static str>,
    /// The fields that identify a record where it has no `id`.
    pub(super) key: &'static [&'static str],
    /// What one list covers.
    pub(super) reach: Reach,
    /// The filter of an incremental pass over a list that does not show what changed.
    pub(super) window: Option<&'static str>,
    /// Whether details are asked for only by name.
    pub(super) on_demand: bool,
    /// Which of the two project APIs it belongs to.
    pub(super) project_api: Option<ProjectApi>,
}

/// What one list covers; of what, the documents say.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// The whole account.
    Account,
    /// One country.
    Countries,
    /// One value of the filter `type`.
    Types,
    /// One department and one value of the filter `document_type`.
    DepartmentsAndTypes,
    /// The week of some users.
    Weeks,
    /// One record of this resource, which its only parameter names.
    Of(&'static str),
    /// One record of the kinds that the filter `subject` takes.
    Subjects,
    /// The rows of a resource whose source is of this kind: there is no list, and `.info` takes the id of that source.
    Stored(&'static str, &'static str),
}
