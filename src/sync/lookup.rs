//! Asks for records by id: which of them are alive, as what, and which are missing.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt};
use uuid::Uuid;

use super::slice::WorkError;
use crate::api_client::answer::{Record, Rejected};
use crate::api_client::client::{ApiError, Client};
use crate::catalog::{AskAgain, Resource};
use crate::retry::Failure;

/// Records of a batch for which `.info` may fail as only an API that is down does, while it is up: more are its fault.
const MOST_FAILURES: usize = 2;

/// What the API says of the records that were asked for.
#[derive(Debug, Default)]
pub struct Found {
    /// List items, where `filter.ids` was asked; those with the hidden status, too.
    pub items: Vec<Record>,
    /// Records with their details, where `.info` was asked.
    pub details: Vec<Record>,
    /// Those of them that have the status that the list leaves out.
    pub hidden: HashSet<Uuid>,
    /// Records that are there and cannot be read.
    pub rejected: Vec<Rejected>,
    /// Whether a record came without an id that can be read: it may be any of those that were asked for.
    has_nameless: bool,
    /// What was asked for and did not come, in the order in which it was asked for.
    pub missing: Vec<Uuid>,
    /// Characters that jsonb refuses, and that were replaced in items and details.
    pub replaced: i64,
}

impl Found {
    /// What came, as list items or with details.
    pub fn alive(&self) -> impl Iterator<Item = &Record> {
        self.items.iter().chain(&self.details)
    }

    /// Adds what was found of other ids.
    pub fn absorb(&mut self, other: Self) {
        self.items.extend(other.items);
        self.details.extend(other.details);
        self.hidden.extend(other.hidden);
        self.rejected.extend(other.rejected);
        self.has_nameless |= other.has_nameless;
        self.missing.extend(other.missing);
        self.replaced += other.replaced;
    }

    fn settle(mut self, ids: &[Uuid]) -> Self {
        let rejected = self.rejected.iter().map(|record| record.id);
        let alive: HashSet<Uuid> = self.alive().map(|record| record.id).chain(rejected).collect();
        let is_missing = |id: &Uuid| !self.has_nameless && !alive.contains(id);
        self.missing = ids.iter().copied().filter(is_missing).collect();
        self
    }
}

/// Asks for up to a page of records, by `filter.ids` where the list takes it, else by `.info`, several at a time. Not
/// for resources that have neither ([`AskAgain::List`]): an error.
pub async fn by_id(client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<Found, WorkError> {
    match resource.ask_again() {
        AskAgain::Ids => by_filter(client, resource, ids).await,
        AskAgain::Info => by_info(client, resource, ids).await,
        AskAgain::List => Err(WorkError::Unusable(format!("{} cannot be asked for by id", resource.name))),
    }
}

/// List items by `filter.ids`. What does not come is asked for under the hidden status, if the resource has one. Where
/// no pass gives such records, this answer is all that speaks for a deletion: `.info` has to say it, too.
async fn by_filter(client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<Found, WorkError> {
    let mut found = listed(client, resource, ids).await?;
    if let (Some(status), true) = (resource.hidden_status, resource.has_details() && !found.missing.is_empty()) {
        let by_info = by_info(client, resource, &found.missing).await?;
        let is_hidden = |record: &&Record| record.text("status").as_deref() == Some(status);
        found.hidden.extend(by_info.details.iter().filter(is_hidden).map(|record| record.id));
        found.details = by_info.details;
        found.rejected.extend(by_info.rejected);
        found.replaced += by_info.replaced;
    }
    Ok(found.settle(ids))
}

/// List items alone: one request for each page of ids, and one under the hidden status where some are missing.
pub async fn listed(client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<Found, WorkError> {
    let mut found = Found::default();
    let missing = filtered(client, resource, ids.to_vec(), None, &mut found).await?;
    if let (Some(status), false) = (resource.hidden_status, missing.is_empty()) {
        let plain = found.items.len();
        filtered(client, resource, missing, Some(status), &mut found).await?;
        found.hidden = found.items.iter().skip(plain).map(|record| record.id).collect();
    }
    Ok(found.settle(ids))
}

/// Adds the items that the list gives for these ids; returns the ids that did not come. A list may give fewer records
/// than it was asked for, and nothing in the answer says so: the rest is asked for until none of it comes.
async fn filtered(
    client: &Client,
    resource: &Resource,
    mut wanted: Vec<Uuid>,
    status: Option<&str>,
    found: &mut Found,
) -> Result<Vec<Uuid>, WorkError> {
    loop {
        let mut page = match client.list(resource, &resource.ids_body(&wanted, status)).await {
            Err(ApiError::Failed { failure: Failure::TooLong, .. }) if wanted.len() > 1 => {
                // A tenth of them at a time.
                let mut missing = Vec::new();
                for ids in wanted.chunks(wanted.len().div_ceil(10)) {
                    missing.extend(Box::pin(filtered(client, resource, ids.to_vec(), status, found)).await?);
                }
                return Ok(missing);
            }
            answer => answer?,
        };
        let all = page.rejected.len();
        page.rejected.retain(|record| record.has_id);
        found.has_nameless |= page.rejected.len() < all;
        if page.ids().any(|id| !wanted.contains(&id)) {
            // Unknown filters are ignored without an error: the absence of an id would then mean nothing.
            return Err(WorkError::Unusable(format!("{} ignores filter.ids", resource.list_endpoint())));
        }
        let came: HashSet<Uuid> = page.ids().collect();
        wanted.retain(|id| !came.contains(id));
        let ends = wanted.is_empty() || came.is_empty();
        found.replaced += page.replaced;
        found.items.extend(page.records);
        found.rejected.extend(page.rejected);
        if ends {
            return Ok(wanted);
        }
    }
}

/// Details by `.info`, to the end of the batch, also when the slice is over.
pub async fn by_info(client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<Found, WorkError> {
    let ask = |id: Uuid| {
        let client = client.clone();
        async move { (id, client.info(resource, id).await) }
    };
    let mut answers = stream::iter(ids.iter().copied()).map(ask).buffered(client.most_in_flight());
    let (mut found, mut failures) = (Found::default(), 0);
    while let Some((id, answer)) = answers.next().await {
        let reason = match answer {
            Ok((record, _)) if record.id != id => format!("{} answered with another record", resource.info_endpoint()),
            Ok((record, replaced)) => {
                found.replaced += replaced;
                found.details.push(record);
                continue;
            }
            Err(ApiError::Failed { failure: Failure::NotFound, .. }) => continue,
            Err(ApiError::Failed {
                failure: Failure::Unreadable | Failure::Malformed | Failure::Rejected | Failure::TooLong,
                reason,
                ..
            }) => reason,
            Err(error) => {
                let is_of_server = matches!(&error, ApiError::Failed { failure: Failure::Server, .. });
                failures += 1;
                let error = WorkError::from(error);
                if !is_of_server || failures > MOST_FAILURES || error.is_of_the_api(client).await {
                    return Err(error);
                }
                error.to_string()
            }
        };
        found.rejected.push(Rejected { id, reason, has_id: true });
    }
    Ok(found.settle(ids))
}
