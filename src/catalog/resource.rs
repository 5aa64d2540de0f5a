//! A resource of the API: which endpoints it has, and how they are read.

/// A resource of the API: what one `.list` endpoint gives, and its table.
#[derive(Debug, PartialEq)]
pub struct Resource {
    /// The list endpoint without `.list`; for the two that are not called so, a name like it.
    pub name: &'static str,
    /// Values for `includes` of the list endpoint.
    pub list_includes: &'static [&'static str],
    /// How the list is read.
    pub paging: Paging,
    /// Whether the list takes `filter.updated_since` (one second, inclusive).
    pub updated_since: bool,
    /// Whether the list takes `filter.ids`.
    pub ids_filter: bool,
    /// Whether there is an `.info` endpoint.
    pub has_info: bool,
    /// Statuses to ask for, where the filter takes a list of them: without it a list may leave archived records out.
    pub statuses: &'static [&'static str],
    /// A status that a list may leave out, where the filter takes one alone: a record that seems deleted is asked for
    /// under it, too.
    pub hidden_status: Option<&'static str>,
    /// Whether and when `.info` is asked.
    pub detail: Detail,
    /// What identifies a record.
    pub key: Key,
    /// What one list covers.
    pub scope: Scope,
    /// The filter by which an incremental pass may leave out what lies further back, where it is set to.
    pub window: Option<Window>,
    /// Which of the two project APIs it belongs to.
    pub project_api: Option<ProjectApi>,
    /// Whether the documents say that the list gives `meta.matches`.
    pub reports_matches: bool,
}

/// How a list is read to its end without losing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Sorted by `updated_at`, each request beginning at the last one seen: nothing shifts below the reader.
    Seek,
    /// By page number, sorted by this field (the API's default order where `None`).
    Offset(Option<(&'static str, Order)>),
}

/// The order of a sort: some lists have one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `asc`
    Ascending,
    /// `desc`
    Descending,
}

impl Order {
    /// As requests have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// Whether `.info` adds fields, and how a change of them is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `.info` adds nothing, or does not exist.
    None,
    /// `.info` adds fields.
    Info {
        /// Values for `includes` of the info endpoint.
        includes: &'static [&'static str],
        /// Whether the list item differs whenever a field of the detail has changed, since it holds `updated_at`.
        shown_by_list: bool,
    },
    /// `.info` adds so little that it is asked only by a request that names the resource and says `refetch`.
    OnDemand {
        /// Values for `includes` of the info endpoint.
        includes: &'static [&'static str],
    },
}

/// What identifies a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The field `id`.
    Id,
    /// There is no `id`: these fields together (JSON pointers). Where it is one UUID, that is the row's id; else the
    /// row's id is made from them.
    Fields(&'static [&'static str]),
    /// The field `id`, which older answers do not have: these fields together then.
    IdOr(&'static [&'static str]),
}

/// What one list covers. All but [`Scope::Account`] take a list for each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole account.
    Account,
    /// One country; the countries are those of the stored addresses.
    Country,
    /// One department and one type of document.
    DepartmentAndType(&'static [&'static str]),
    /// One type.
    Type(&'static [&'static str]),
    /// Seven days of the users; see [`crate::sync`].
    Week,
    /// One parent record: a call for each, so these are read only where they are named.
    Parent(Child, &'static [Parent]),
    /// There is no list: the rows of this resource say which records there are, by `source.id` where `source.type` is
    /// the kind.
    Stored(&'static [Parent]),
}

/// How a request names the parent whose children it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// `filter.subject`, with type and id.
    Subject,
    /// This parameter.
    Parameter(&'static str),
}

/// Records that can have children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The word for it in `filter.subject.type`.
    pub kind: &'static str,
    /// Its resource.
    pub resource: &'static str,
}

/// The filter of an incremental pass over a list that does not show what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The filter that takes the earliest moment.
    pub from: &'static str,
    /// Whether it takes a date, and not a time.
    pub is_date: bool,
}

/// The two project APIs, of which an account uses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectApi {
    /// `projects` and `milestones`.
    Legacy,
    /// `projects-v2/…`.
    V2,
}

/// How a record that a complete pass did not see is asked for once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskAgain {
    /// By `filter.ids`, 100 at a time.
    Ids,
    /// By `.info`, one at a time.
    Info,
    /// By reading the list once more.
    List,
}

impl Resource {
    /// The path of the list endpoint, without a leading slash.
    pub fn list_endpoint(&self) -> String {
        list_endpoint(self.name)
    }

    /// The path of the info endpoint, without a leading slash.
    pub fn info_endpoint(&self) -> String {
        format!("{}.info", self.name)
    }

    /// Whether it is read without naming it.
    pub fn stands_alone(&self) -> bool {
        !matches!(self.scope, Scope::Parent(..))
    }

    /// The records whose children these are.
    pub fn parents(&self) -> &'static [Parent] {
        match self.scope {
            Scope::Parent(_, parents) | Scope::Stored(parents) => parents,
            _ => &[],
        }
    }

    /// The rows that name the records, where there is no list.
    pub fn stored_in(&self) -> Option<&'static Parent> {
        match self.scope {
            Scope::Stored(of) => of.first(),
            _ => None,
        }
    }

    /// How a record that a complete pass did not see is asked for once more.
    pub fn ask_again(&self) -> AskAgain {
        match self {
            Self { ids_filter: true, .. } => AskAgain::Ids,
            Self { has_info: true, .. } => AskAgain::Info,
            _ => AskAgain::List,
        }
    }

    /// Whether a record can be asked for by its id alone.
    pub fn is_given_by_id(&self) -> bool {
        self.ask_again() != AskAgain::List && self.stands_alone()
    }

    /// Whether details are fetched without being asked for.
    pub fn has_details(&self) -> bool {
        matches!(self.detail, Detail::Info { .. })
    }

    /// Whether there are details whose change no list shows.
    pub fn has_unshown_details(&self) -> bool {
        matches!(self.detail, Detail::Info { shown_by_list: false, .. })
    }

    /// Values for `includes` of the info endpoint.
    pub fn info_includes(&self) -> &'static [&'static str] {
        match self.detail {
            Detail::Info { includes, .. } | Detail::OnDemand { includes } => includes,
            Detail::None => &[],
        }
    }
}

/// The list endpoint of a resource: `users.listDaysOff` of `users.daysOff`.
pub(super) fn list_endpoint(name: &str) -> String {
    match name.split_once('.') {
        None => format!("{name}.list"),
        Some((of, what)) => {
            let (first, rest) = what.split_at_checked(1).unwrap_or((what, ""));
            format!("{of}.list{}{rest}", first.to_uppercase())
        }
    }
}
