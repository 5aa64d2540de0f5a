//! A look at single records: what hints and requests by ids ask for, and how the answers are stored.
//!
//! List items are asked for by `filter.ids`, and then the details of those that came. Not at the same time: an item
//! and a detail that are asked for at once may show two states of a record within one second, and nothing would say so
//! afterwards. Ids that no row has are asked for in the list alone, so those that somebody made up cost two requests
//! for each hundred.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::lookup;
use super::partitions;
use super::slice::WorkError;
use crate::api_client::answer::{Record, Rejected};
use crate::api_client::client::Client;
use crate::catalog::webhooks::Look;
use crate::catalog::{AskAgain, PAGE_SIZE, Parent, Resource, Scope};
use crate::ids::Account;
use crate::store::parents;
use crate::store::pool::StoreError;
use crate::store::progress;
use crate::store::records::newest::Origin;
use crate::store::records::{self, Source, Written, details, gone};
use crate::store::rejected::{self, As, Of};

/// Up to this many rows of a resource are marked deleted without asking what share they are.
pub const GUARD_ROWS: i64 = 20;

/// More than this share of a resource, in percent, is not marked deleted at once.
pub const GUARD_PERCENT: i64 = 10;

/// The longest list of one parent that is read, in pages.
const MOST_PAGES: u32 = 50;

/// What a look needs.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The API.
    pub client: &'a Client,
    /// The database.
    pub pool: &'a PgPool,
    /// The account.
    pub account: &'a Account,
}

/// What a look brought.
#[derive(Debug, Default)]
pub struct Looked {
    /// List items.
    items: Vec<Record>,
    /// Details.
    details: Vec<Record>,
    /// Items that cannot be read.
    rejected: Vec<Rejected>,
    /// Details that cannot be read.
    rejected_details: Vec<Rejected>,
    /// Rows whose records are deleted.
    missing: Vec<Uuid>,
    /// When the first request was about to be sent.
    pub asked_at: Option<DateTime<Utc>>,
    /// Characters that jsonb refuses, and that were replaced.
    pub replaced: i64,
    /// Records that had a row before, and came.
    pub seen: HashSet<Uuid>,
    /// The resource of the parent whose list was read.
    parent_resource: Option<&'static str>,
}

/// What became of the rows.
#[derive(Debug, Default)]
pub struct Brought {
    /// Rows that are new.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// Rows that were marked deleted.
    pub deleted: i64,
    /// Rows whose records are missing and that were not marked, since they are too many.
    pub held: i64,
    /// Records that are there and were stored, or were equal to their rows.
    pub alive: i64,
    /// Rows whose content changed.
    pub changed: HashSet<Uuid>,
    /// How the rows were last written, by this look or before.
    pub written: HashMap<Uuid, Written>,
    /// Records of which another answer came at the same time, that differs: they are asked for once more.
    pub doubted: HashSet<Uuid>,
}

impl Reader<'_> {
    /// Looks at records by their ids.
    pub async fn records(&self, resource: &'static Resource, ids: &[Uuid]) -> Result<Looked, WorkError> {
        let asked_at = self.client.clock().now();
        let known = records::known(self.pool, self.account, resource, ids).await?;
        let mut looked = match resource.ask_again() {
            AskAgain::Ids => self.by_list(resource, ids, &known).await?,
            AskAgain::Info => self.by_info(resource, ids, &known).await?,
            AskAgain::List => {
                return Err(WorkError::Unusable(format!("{} cannot be asked for by id", resource.name)));
            }
        };
        looked.asked_at = asked_at;
        let came = looked.items.iter().chain(&looked.details).map(|record| record.id);
        looked.seen = came.filter(|id| known.contains_key(id)).collect();
        Ok(looked)
    }

    async fn by_list(
        &self,
        resource: &'static Resource,
        ids: &[Uuid],
        known: &HashMap<Uuid, bool>,
    ) -> Result<Looked, WorkError> {
        let mut found = lookup::Found::default();
        for page in ids.chunks(PAGE_SIZE) {
            found.absorb(lookup::listed(self.client, resource, page).await?);
        }
        let missing: Vec<Uuid> = found.missing.iter().copied().filter(|id| is_alive(known, id)).collect();
        let changed = match resource.has_details() {
            true => details::wanted_of(self.pool, self.account, resource, &found.items).await?,
            false => Vec::new(),
        };
        // Of a deletion `.info` is asked as well, where there is one.
        let gone = if resource.has_info { missing.clone() } else { Vec::new() };
        let wanted = [changed, gone].concat();
        let asked = lookup::by_info(self.client, resource, &wanted).await?;
        let missing = match resource.has_info {
            true => missing.into_iter().filter(|id| asked.missing.contains(id)).collect(),
            false => missing,
        };
        Ok(Looked {
            replaced: found.replaced + asked.replaced,
            items: found.items,
            rejected: found.rejected,
            details: asked.details,
            rejected_details: asked.rejected,
            missing,
            ..Looked::default()
        })
    }

    async fn by_info(
        &self,
        resource: &'static Resource,
        ids: &[Uuid],
        known: &HashMap<Uuid, bool>,
    ) -> Result<Looked, WorkError> {
        let found = lookup::by_info(self.client, resource, ids).await?;
        // A row begins with an item.
        let items = found.details.iter().filter(|record| !known.contains_key(&record.id)).cloned().collect();
        let missing = found.missing.into_iter().filter(|id| is_alive(known, id)).collect();
        let details = if resource.has_details() { found.details } else { Vec::new() };
        Ok(Looked { items, details, rejected: found.rejected, missing, replaced: found.replaced, ..Looked::default() })
    }

    /// Looks at the list of the records that belong to one. Nothing where the parent has no row.
    pub async fn children(&self, resource: &'static Resource, look: Look, id: Uuid) -> Result<Looked, WorkError> {
        let asked_at = self.client.clock().now();
        let Some((parent, id)) = self.parent(resource, look, id).await? else { return Ok(Looked::default()) };
        let Some(partition) = partitions::of_one(resource, parent, id) else { return Ok(Looked::default()) };
        let mut looked = Looked { asked_at, parent_resource: Some(parent.resource), ..Looked::default() };
        for number in 1..=MOST_PAGES {
            let body = resource.list_body((number, PAGE_SIZE), None, &partition.body);
            let mut page = self.client.list(resource, &body).await?;
            partition.set_parent(resource, &mut page);
            let (came, more) = (page.records.len(), page.records.len() + page.rejected.len() >= PAGE_SIZE);
            let before: HashSet<Uuid> = looked.items.iter().map(|item| item.id).collect();
            looked.replaced += page.replaced;
            looked.rejected.append(&mut page.rejected);
            looked.items.extend(page.records.into_iter().filter(|record| !before.contains(&record.id)));
            // A list without pages gives the same again.
            if !more || came == 0 || looked.items.len() == before.len() {
                break;
            }
        }
        Ok(looked)
    }

    /// Whose list is meant: the kind of parent, and its id.
    async fn parent(
        &self,
        resource: &'static Resource,
        look: Look,
        id: Uuid,
    ) -> Result<Option<(&'static Parent, Uuid)>, WorkError> {
        let Scope::Parent(_, kinds) = resource.scope else { return Ok(None) };
        if let Some(kind) = parents::kind_of(self.pool, self.account, kinds, id).await? {
            return Ok(Some((kind, id)));
        }
        let (Look::ChildrenOrOne(_), [kind]) = (look, kinds) else { return Ok(None) };
        if let Some(parent) = parents::of_child(self.pool, self.account, resource, id).await? {
            return Ok(Some((kind, parent)));
        }
        Ok(self.client.ticket_of_message(id).await?.map(|parent| (kind, parent)))
    }
}

/// Whether the record has a row that is not marked deleted.
fn is_alive(known: &HashMap<Uuid, bool>, id: &Uuid) -> bool {
    known.get(id).is_some_and(|deleted| !deleted)
}

/// Stores what a look brought, in a transaction that no other of the account is beside. `allow_deletions`: the guard
/// holds none.
pub async fn store(
    tx: &mut PgConnection,
    account: &Account,
    resource: &'static Resource,
    looked: &Looked,
    allow_deletions: bool,
) -> Result<Brought, StoreError> {
    let began = records::clock_of(tx).await?;
    let source = Source { parent_resource: looked.parent_resource, origin: Origin::ById };
    let items = rejected::merge_the_others(tx, account, resource, &looked.items, As::Items(source)).await?;
    let details = rejected::merge_the_others(tx, account, resource, &looked.details, As::Details).await?;
    let refused_items = [looked.rejected.as_slice(), &items.rejected].concat();
    let refused_details = [looked.rejected_details.as_slice(), &details.rejected].concat();
    for (came, refused, of) in
        [(&looked.items, &refused_items, Of::Item), (&looked.details, &refused_details, Of::Detail)]
    {
        let is_refused: HashSet<Uuid> = refused.iter().map(|record| record.id).collect();
        let sound: Vec<Uuid> = came.iter().map(|record| record.id).filter(|id| !is_refused.contains(id)).collect();
        rejected::forget(tx, account, resource, &sound, of).await?;
        rejected::store(tx, account, resource, refused, of).await?;
    }
    let (deleted, held) = mark_missing(tx, account, resource, looked, allow_deletions).await?;
    let ids = looked.items.iter().chain(&looked.details).map(|record| record.id);
    let ids: Vec<Uuid> = ids.chain(looked.missing.iter().copied()).collect();
    let written = records::written(tx, account, resource, &ids).await?;
    let changed = written.iter().filter(|(_, row)| row.changed_at >= began).map(|(id, _)| *id).collect();
    let came_with_detail = looked.details.iter().map(|record| record.id);
    let mut doubted: HashSet<Uuid> =
        came_with_detail.filter(|id| written.get(id).is_some_and(|row| row.undetailed)).collect();
    doubted.extend(&items.merged.doubted);
    let (created, updated) = (items.merged.created, items.merged.updated);
    let came: HashSet<Uuid> = looked.items.iter().chain(&looked.details).map(|record| record.id).collect();
    Ok(Brought {
        created,
        updated,
        detailed: details.detailed,
        deleted,
        held,
        alive: records::count(came.len()),
        changed,
        written,
        doubted,
    })
}

/// Marks rows deleted whose records are missing: how many were marked, and how many were not, since those that were
/// marked by id are too many since the last complete pass.
async fn mark_missing(
    tx: &mut PgConnection,
    account: &Account,
    resource: &'static Resource,
    looked: &Looked,
    allow_deletions: bool,
) -> Result<(i64, i64), StoreError> {
    let missing = records::count(looked.missing.len());
    if missing == 0 {
        return Ok((0, 0));
    }
    let all = progress::count_deleted_by_id(tx, account, resource, missing).await?;
    if all > GUARD_ROWS && !allow_deletions {
        let rows = records::count_rows(tx, account, resource).await?;
        // Those that were marked before belong to the share.
        if all * 100 > (rows + all - missing) * GUARD_PERCENT {
            progress::count_deleted_by_id(tx, account, resource, -missing).await?;
            progress::hold_deletions(tx, account, resource, (missing, rows)).await?;
            return Ok((0, missing));
        }
    }
    let asked = vec![looked.asked_at; looked.missing.len()];
    Ok((gone::mark(tx, account, resource, (&looked.missing, &asked)).await?, 0))
}
