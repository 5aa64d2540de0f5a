//! The partitions of a resource whose list does not give the whole account: countries, types, parent records.

use std::collections::VecDeque;

use chrono::{Datelike as _, Days, NaiveDate, TimeDelta};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::cursor::Step;
use super::partition::Partition;
use super::slice::{Slice, WorkError};
use crate::catalog::{Child, Parent, ProjectApi, Resource, Scope};
use crate::retry::Failure;
use crate::store::parents;
use crate::store::records;

/// Schedules are read from this many weeks before the current one.
const WEEKS_BACK: i64 = 1;

/// And to this many after it.
const WEEKS_AHEAD: i64 = 8;

/// Users in one request for schedules: as many as other filters take ids.
const USERS_AT_ONCE: usize = 100;

/// An error where the account uses the other of the two project APIs.
pub async fn check_project_api(slice: &Slice<'_>, resource: &Resource) -> Result<(), WorkError> {
    let Some(api) = resource.project_api else { return Ok(()) };
    match slice.project_api().await? {
        Some(used) if used != api => Err(WorkError::Inapplicable(match used {
            ProjectApi::Legacy => "the account uses the legacy projects, and not projects-v2".to_owned(),
            ProjectApi::V2 => "the account uses projects-v2, and not the legacy projects".to_owned(),
        })),
        _ => Ok(()),
    }
}

/// Whether a list of children that the API does not give is passed over: the parent is deleted, or its kind may not be
/// asked for.
pub fn is_passed_over(resource: &Resource, failure: Failure) -> bool {
    let Scope::Parent(child, _) = resource.scope else { return false };
    match failure {
        Failure::NotFound | Failure::Forbidden => true,
        // A kind that the documents name and the account does not have.
        Failure::Rejected => child == Child::Subject,
        _ => false,
    }
}

/// All partitions of a resource, but for parent records, which are asked for one by one.
pub async fn all(slice: &Slice<'_>, step: &Step) -> Result<VecDeque<Partition>, WorkError> {
    let account = &slice.settings.account;
    let partitions = match step.resource.scope {
        Scope::Account | Scope::Stored(_) => [Partition::default()].into(),
        Scope::Country => {
            let countries = parents::countries(slice.pool, account).await?;
            let partition = |country: String| {
                let names = json!({ "country": country });
                Partition { body: names.clone(), content: names, parent: None }
            };
            countries.into_iter().map(partition).collect()
        }
        Scope::Type(types) => {
            let partition = |name: &&str| Partition {
                body: json!({ "filter": { "type": name } }),
                content: json!({ "type": name }),
                parent: None,
            };
            types.iter().map(partition).collect()
        }
        Scope::DepartmentAndType(types) => {
            let departments = records::ids(slice.pool, account, "departments", None, i64::MAX).await?;
            let partition = |(department, name): (&Uuid, &&str)| Partition {
                body: json!({ "filter": { "department_id": department, "document_type": name } }),
                content: json!({ "department": { "id": department }, "document_type": name }),
                parent: None,
            };
            departments
                .iter()
                .flat_map(|department| types.iter().map(move |name| (department, name)))
                .map(partition)
                .collect()
        }
        Scope::Week => {
            let users = records::ids(slice.pool, account, "users", None, i64::MAX).await?;
            weeks_of(&users, records::clock(slice.pool).await?.date_naive())
        }
        Scope::Parent(..) => VecDeque::new(),
    };
    Ok(partitions)
}

/// A partition for each week around `today` and each hundred users: more than seven days are refused.
fn weeks_of(users: &[Uuid], today: NaiveDate) -> VecDeque<Partition> {
    let monday = |weeks: i64| {
        let back = i64::from(today.weekday().num_days_from_monday());
        today.checked_add_signed(TimeDelta::try_days(7 * weeks - back)?)
    };
    let partition = |users: &[Uuid], from: NaiveDate| {
        let until = from.checked_add_days(Days::new(6))?;
        let week = json!({ "from": from, "until": until });
        let mut filter = week.clone();
        filter["user_ids"] = json!(users);
        Some(Partition { body: json!({ "filter": filter }), content: week, parent: None })
    };
    let weeks = (-WEEKS_BACK..=WEEKS_AHEAD).filter_map(monday);
    weeks.flat_map(|from| users.chunks(USERS_AT_ONCE).filter_map(move |users| partition(users, from))).collect()
}

/// Up to `limit` parent records of one kind after `after`, leaving out the kinds in `refused`. An incremental pass
/// visits those that changed.
pub async fn next_parents(
    connection: &mut PgConnection,
    slice: &Slice<'_>,
    step: &Step,
    after: Option<&Partition>,
    refused: &[String],
    limit: i64,
) -> Result<Vec<Partition>, WorkError> {
    let Scope::Parent(child, kinds) = step.resource.scope else {
        return Ok(Vec::new());
    };
    let at = after.and_then(Partition::kind);
    let begin = kinds.iter().position(|kind| Some(kind.kind) == at).unwrap_or(0);
    for kind in kinds[begin..].iter().filter(|kind| !refused.iter().any(|refused| refused == kind.kind)) {
        let last = after.filter(|_| Some(kind.kind) == at).and_then(Partition::parent).map(|(_, id)| id);
        let account = &slice.settings.account;
        let next = parents::after(connection, account, kind.resource, last, step.since, limit).await?;
        if !next.is_empty() {
            return Ok(next.into_iter().map(|id| of_parent(child, kind, id)).collect());
        }
    }
    Ok(Vec::new())
}

/// Some parent records of each kind: `limit` of them after `after`, in the order of their ids.
pub async fn some_parents(
    slice: &Slice<'_>,
    step: &Step,
    after: Uuid,
    limit: i64,
) -> Result<VecDeque<Partition>, WorkError> {
    let Scope::Parent(child, kinds) = step.resource.scope else {
        return Ok(VecDeque::new());
    };
    let mut partitions = VecDeque::new();
    for kind in kinds {
        let ids = records::ids(slice.pool, &slice.settings.account, kind.resource, Some(after), limit).await?;
        partitions.extend(ids.into_iter().map(|id| of_parent(child, kind, id)));
    }
    Ok(partitions)
}

/// The list of one parent; `None`: the resource has no such lists.
pub fn of_one(resource: &Resource, parent: &Parent, id: Uuid) -> Option<Partition> {
    let Scope::Parent(child, _) = resource.scope else { return None };
    Some(of_parent(child, parent, id))
}

fn of_parent(child: Child, parent: &Parent, id: Uuid) -> Partition {
    let body = match child {
        Child::Subject => {
            json!({ "filter": { "subject": { "type": parent.kind, "id": id } } })
        }
        Child::Parameter(name) => json!({ name: id }),
    };
    Partition { body, content: Value::Null, parent: Some((parent.kind.to_owned(), parent.resource.to_owned(), id)) }
}
