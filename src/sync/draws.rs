//! The always-on audit: draws random records, compares them with the API, and repairs them if that was asked for.
//!
//! Whose turn it is, and when, is stored before the first request (`store/draws/pace.rs`). A turn draws from one
//! resource. If one of its requests fails, all of it counts as not drawn: what is left of a turn would be no random
//! choice.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use uuid::Uuid;

use super::judgement::{Answers, Evidence};
use super::look::{self, Reader};
use super::lookup;
use super::slice::{AuditSettings, WorkError};
use crate::api_client::answer::Record;
use crate::api_client::client::{ApiError, Client};
use crate::api_client::token_store::TokenStoreError;
use crate::catalog::{self, AskAgain, PAGE_SIZE, Resource};
use crate::ids::{Account, Epoch};
use crate::process::telemetry;
use crate::retry::Verdict;
use crate::store::comparison::{self, Compared};
use crate::store::draws::chance::Chance;
use crate::store::draws::pace::{self, Candidate, MOST_REQUESTS};
use crate::store::draws::{self, Draw, Finding, RowState, Source, rows};
use crate::store::lease;
use crate::store::pool::StoreError;
use crate::store::records::elsewhere::Elsewhere;

/// Rows of a turn where each takes a request for its detail; records that are repaired in one; of records that seem to
/// be deleted, those of which `.info` is asked as well. With the lists by ids they fit in what a turn may send.
const WITH_DETAILS: usize = 5;

/// Beyond what is known of a list it may have so many more records, and a quarter of the rows.
const BEYOND: i64 = 20;

/// How often it is looked, beside a run, whether a turn is due.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How long nothing is asked after the API has failed.
const RESTS: Duration = Duration::from_secs(30);

/// How long nothing is looked at after an error of the database, which the run meets as well.
const STORE_RESTS: Duration = Duration::from_secs(2);

/// Audits with a lease.
#[derive(Debug)]
pub struct Auditor<'a> {
    /// The database.
    pub pool: &'a PgPool,
    /// The account.
    pub account: &'a Account,
    /// The API.
    pub client: &'a Client,
    /// The fence.
    pub epoch: Epoch,
    /// Readers of lists, who have to know what is written.
    pub elsewhere: &'a Elsewhere,
    /// What is synced.
    pub synced: &'a [&'static Resource],
    /// Whether there is an audit at all, and how.
    pub settings: Option<AuditSettings>,
}

/// What a turn is about.
#[derive(Debug)]
enum Turn {
    /// Rows are drawn.
    Rows(&'static Resource, Candidate),
    /// A record of the list is drawn.
    List(&'static Resource, Candidate),
    /// What was found earlier is repaired.
    Repair(&'static Resource, Vec<Uuid>),
}

impl Turn {
    fn resource(&self) -> &'static Resource {
        match self {
            Self::Rows(resource, _) | Self::List(resource, _) | Self::Repair(resource, _) => resource,
        }
    }

    fn source(&self) -> Option<Source> {
        match self {
            Self::Rows(..) => Some(Source::Rows),
            Self::List(..) => Some(Source::List),
            Self::Repair(..) => None,
        }
    }
}

impl Auditor<'_> {
    /// Has turns as they are due, beside a run, until it is dropped.
    pub async fn beside_a_run(&self) -> Infallible {
        loop {
            match self.turn().await {
                Ok(()) => sleep(LOOKS_EVERY).await,
                Err(error) => {
                    debug!(%error, "The audit cannot go on now");
                    sleep(STORE_RESTS).await;
                }
            }
        }
    }

    /// Has one turn, if it is due.
    pub async fn turn(&self) -> Result<(), StoreError> {
        let Some(settings) = self.settings else { return Ok(()) };
        if !pace::is_due(self.pool, self.account, settings.rate).await? {
            return Ok(());
        }
        // Where the budget is in use it would wait for it, and a request that comes for the turn.
        let (used, allowed) = self.client.budget();
        if i64::from(used) + MOST_REQUESTS > i64::from(allowed / 2) {
            return Ok(());
        }
        let turn = self.next(settings).await?;
        let resource = turn.as_ref().map_or("", |turn| turn.resource().name);
        let source = turn.as_ref().and_then(Turn::source);
        let mut tx = lease::begin(self.pool, self.account, self.epoch).await?;
        let what = (resource, source.map_or("repair", Source::as_str));
        let Some(number) = pace::begin(&mut tx, self.account, settings.rate, what).await? else { return Ok(()) };
        if let Some(source) = source {
            pace::note_turn(&mut tx, self.account, resource, (source, None)).await?;
        }
        tx.commit().await?;
        let client = self.client.for_audit(self.epoch, MOST_REQUESTS);
        let worked = match &turn {
            Some(turn) => timeout(pace::LASTS, self.work(&client, turn)).await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        let requests = client.take_request_count();
        let rests = if matches!(&worked, Err(error) if is_transient(error)) { RESTS } else { Duration::ZERO };
        pace::end(self.pool, number, (requests, rests)).await?;
        telemetry::audit_asked(requests);
        match worked {
            Ok(()) => Ok(()),
            Err(WorkError::Store(error)) if error.is_refused() => {
                warn!(%error, "Records of {resource} could not be audited");
                Ok(())
            }
            Err(WorkError::Store(error)) => Err(error),
            Err(WorkError::Api(ApiError::Store(TokenStoreError::Fenced))) => Err(StoreError::Fenced),
            Err(error) => {
                debug!(%error, "Records of {resource} could not be audited");
                Ok(())
            }
        }
    }

    /// What the next turn is about; `None`: there is nothing to draw from.
    async fn next(&self, settings: AuditSettings) -> Result<Option<Turn>, StoreError> {
        let audited = self.synced.iter().filter(|resource| !Source::of(resource).is_empty());
        let names: Vec<String> = audited.map(|resource| resource.name.to_owned()).collect();
        if settings.repair {
            let limit = i64::try_from(WITH_DETAILS).unwrap_or(1);
            let found = draws::unrepaired(self.pool, self.account, &names, limit).await?;
            if let Some((resource, ids)) = found
                && let Some(resource) = catalog::find(&resource)
            {
                return Ok(Some(Turn::Repair(resource, ids)));
            }
        }
        let Some(candidate) = pace::next(self.pool, self.account, &names).await? else { return Ok(None) };
        let Some(resource) = catalog::find(&candidate.resource) else { return Ok(None) };
        let sources = Source::of(resource);
        let other = sources.iter().find(|source| Some(**source) != candidate.last);
        Ok(match other.or(sources.first()) {
            Some(Source::Rows) => Some(Turn::Rows(resource, candidate)),
            Some(Source::List) => Some(Turn::List(resource, candidate)),
            None => None,
        })
    }

    async fn work(&self, client: &Client, turn: &Turn) -> Result<(), WorkError> {
        match turn {
            Turn::Rows(resource, candidate) => self.draw_rows(client, resource, candidate.watermark).await,
            Turn::List(resource, candidate) => self.draw_of_list(client, resource, candidate).await,
            Turn::Repair(resource, ids) => self.repair(client, resource, ids).await,
        }
    }

    async fn draw_rows(
        &self,
        client: &Client,
        resource: &'static Resource,
        watermark: Option<DateTime<Utc>>,
    ) -> Result<(), WorkError> {
        let one_by_one = resource.has_details() || resource.ask_again() == AskAgain::Info;
        let count = if one_by_one { WITH_DETAILS } else { PAGE_SIZE };
        let ids = rows::draw(self.pool, self.account, resource, count, &mut Chance::unknown()).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let asked_at = client.clock().now();
        let answers = ask(client, resource, &ids).await?;
        let mut tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
        let asked = vec![asked_at; ids.len()];
        let states = draws::states(&mut tx, self.account, resource, (&ids, &asked)).await?;
        let evidence = self.evidence(&mut tx, resource, watermark, &answers).await?;
        let drawn: Vec<Draw> = states.iter().filter_map(|state| evidence.of_row(state)).collect();
        self.store(tx, resource, (Source::Rows, None), &drawn).await
    }

    /// Compares what the API gave with the rows.
    async fn evidence<'e>(
        &self,
        tx: &mut sqlx::PgConnection,
        resource: &'e Resource,
        watermark: Option<DateTime<Utc>>,
        answers: &'e Answers,
    ) -> Result<Evidence<'e>, StoreError> {
        let differ =
            |compared: &Compared| compared.differing().into_iter().filter(|id| !compared.same.contains(id)).collect();
        let items = comparison::items(tx, self.account, resource, &answers.items).await?;
        let details = comparison::details(tx, self.account, resource, &answers.details).await?;
        let (items_differ, details_differ) = (differ(&items), differ(&details));
        Ok(Evidence { resource, watermark, answers, items_differ, details_differ })
    }

    /// Reads a random page of the list, and draws one of its records: of a page by itself all records would be drawn
    /// together, and a hundred of them would say no more than one where a whole page is missing.
    async fn draw_of_list(
        &self,
        client: &Client,
        resource: &'static Resource,
        candidate: &Candidate,
    ) -> Result<(), WorkError> {
        let (mut chance, page_size) = (Chance::unknown(), i64::try_from(PAGE_SIZE).unwrap_or(1));
        let pages = pages_of(candidate, page_size);
        let (number, place) = chance.position(pages, page_size);
        let before = (number - 1) * page_size;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let asked_at = client.clock().now();
        let mut page = client.list(resource, &resource.list_body((number, PAGE_SIZE), None, &Value::Null)).await?;
        let length = i64::try_from(page.len()).unwrap_or(0);
        let list_end = match page.matches {
            Some(matches) => matches,
            // A full page may not be the last.
            None if length > 0 => candidate.list_end.max(before + length + i64::from(length == page_size)),
            None => candidate.list_end.min(before),
        };
        // Where one page is all of the list, also of one without pages, each of its records is as good.
        let is_all = length > page_size || (number == 1 && length < page_size);
        let place = if is_all { chance.below(length) } else { place };
        let drawn = usize::try_from(place).ok().filter(|place| *place < page.records.len());
        let drawn = drawn.map(|place| page.records.swap_remove(place));
        let mut tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
        let Some(drawn) = drawn else {
            return self.store(tx, resource, (Source::List, Some(list_end)), &[]).await;
        };
        let id = drawn.id;
        let state = draws::states(&mut tx, self.account, resource, (&[id], &[asked_at])).await?;
        let answers = Answers { items: vec![drawn], ..Answers::default() };
        let evidence = self.evidence(&mut tx, resource, candidate.watermark, &answers).await?;
        let judged = match state.first() {
            Some(RowState { is_newer: true, .. }) | None => None,
            Some(state) if !state.is_alive => {
                drop(tx);
                let alive = is_alive(client, resource, id).await?;
                tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
                let state = draws::states(&mut tx, self.account, resource, (&[id], &[asked_at])).await?;
                let is_absent = state.iter().all(|state| !state.is_alive && !state.is_newer);
                (alive && is_absent).then(|| evidence.of_absent(&answers.items[0]))
            }
            Some(state) if Source::of_rows(resource) == Some(Source::List) => evidence.of_row(state),
            Some(_) => Some(Draw { id, finding: None, open: None }),
        };
        let judged: Vec<Draw> = judged.into_iter().collect();
        self.store(tx, resource, (Source::List, Some(list_end)), &judged).await
    }

    /// Stores what was drawn, and decides what earlier draws have left open.
    async fn store(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
        resource: &'static Resource,
        (source, list_end): (Source, Option<i64>),
        drawn: &[Draw],
    ) -> Result<(), WorkError> {
        draws::store(&mut tx, self.account, resource, source, drawn).await?;
        draws::decide_open(&mut tx, self.account, resource).await?;
        if list_end.is_some() {
            pace::note_turn(&mut tx, self.account, resource.name, (source, list_end)).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        telemetry::audit_drew(resource.name, source.as_str(), drawn.len());
        let of = |finding| drawn.iter().filter(|draw| draw.finding == Some(finding)).count();
        let [wrong, missing, stale] = Finding::ALL.map(of);
        let (drawn, name, source) = (drawn.len(), resource.name, source.as_str());
        if wrong + missing > 0 {
            warn!(
                drawn,
                wrong, missing, stale, source, "The audit drew {drawn} {name}: {wrong} wrong, {missing} missing"
            );
        } else {
            debug!(drawn, stale, source, "The audit drew {drawn} {name}: {stale} stale");
        }
        Ok(())
    }

    /// Has these written again, from what the API gives now; where they cannot be asked for by id, by the next pass.
    async fn repair(&self, client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<(), WorkError> {
        let mut tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
        comparison::distrust(&mut tx, self.account, resource, ids).await?;
        self.elsewhere.wrote(resource.name, ids.iter().copied());
        let by_id = resource.is_given_by_id();
        if !by_id {
            draws::note_repaired(&mut tx, self.account, resource, ids).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        if !by_id {
            return Ok(());
        }
        let reader = Reader { client, pool: self.pool, account: self.account };
        let looked = reader.records(resource, ids).await?;
        let mut tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
        let brought = look::store(&mut tx, self.account, resource, &looked, false).await?;
        self.elsewhere.wrote(resource.name, brought.changed.iter().copied());
        draws::note_repaired(&mut tx, self.account, resource, ids).await?;
        tx.commit().await.map_err(StoreError::from)?;
        let (repaired, name) = (brought.changed.len(), resource.name);
        warn!(repaired, held = brought.held, "The audit repaired {repaired} {name}");
        Ok(())
    }
}

/// How many pages a record is drawn from: more than the list can have, since it may have grown, and all of it has to
/// be within. What is drawn beyond its end is no draw.
fn pages_of(candidate: &Candidate, page_size: i64) -> i64 {
    let rows = candidate.rows.saturating_add(candidate.rows / 4);
    let records = candidate.list_end.max(rows).saturating_add(BEYOND).clamp(1, i64::from(u32::MAX));
    (records + page_size - 1) / page_size
}

/// Asks for rows that were drawn.
async fn ask(client: &Client, resource: &'static Resource, ids: &[Uuid]) -> Result<Answers, WorkError> {
    if resource.ask_again() == AskAgain::Info {
        let found = lookup::by_info(client, resource, ids).await?;
        let (details, missing, rejected) = (found.details, found.missing, found.rejected);
        return Ok(Answers { details, missing, rejected, items: Vec::new() });
    }
    let mut found = lookup::listed(client, resource, ids).await?;
    let details = match resource.has_details() {
        true => {
            let alive: Vec<Uuid> = found.items.iter().map(|item: &Record| item.id).collect();
            lookup::by_info(client, resource, &alive).await?
        }
        false => lookup::Found::default(),
    };
    let mut missing = std::mem::take(&mut found.missing);
    if resource.has_info && !missing.is_empty() {
        // A list may leave out what `.info` gives. If it does, its word is not enough for the others either.
        let asked: Vec<Uuid> = missing.iter().copied().take(WITH_DETAILS).collect();
        let confirmed = lookup::by_info(client, resource, &asked).await?.missing;
        missing = if confirmed.len() == asked.len() { missing } else { confirmed };
    }
    let rejected = [found.rejected, details.rejected].concat();
    Ok(Answers { items: found.items, details: details.details, missing, rejected })
}

/// Whether the API has a record that a list has given, asked by its id: a list may lag behind a deletion.
async fn is_alive(client: &Client, resource: &'static Resource, id: Uuid) -> Result<bool, WorkError> {
    if !resource.is_given_by_id() {
        return Ok(true);
    }
    Ok(lookup::by_id(client, resource, &[id]).await?.alive().next().is_some())
}

/// Whether the API may give an answer later.
fn is_transient(error: &WorkError) -> bool {
    match error {
        WorkError::Down(_) | WorkError::Api(ApiError::NotAuthorized) => true,
        WorkError::Api(ApiError::Failed { failure, .. }) => {
            matches!(failure.verdict(), Verdict::Backoff | Verdict::After(_) | Verdict::NewToken)
        }
        WorkError::Api(ApiError::Store(_)) | WorkError::Store(_) => false,
        WorkError::Unusable(_) | WorkError::Inapplicable(_) | WorkError::Withheld(_) => false,
    }
}
