//! Where the records that the API gives go: a sync merges them into the rows, an audit compares them with the rows. The
//! only place that decides between the two.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::audit;
use super::cursor::Step;
use super::rejected;
use super::slice::{Slice, WorkError};
use crate::api_client::answer::{Record, Rejected};
use crate::messages::Parameters;
use crate::store::records::load::Loader;
use crate::store::records::{self, Merged, Source, details, rekey};
use crate::store::rejected::As;

/// A transaction of a slice.
type Batch = Transaction<'static, Postgres>;

/// What becomes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// They are merged into the rows.
    Merge,
    /// They are compared with the rows, which are corrected if `repair`.
    Compare {
        /// Whether rows that differ are written.
        repair: bool,
    },
}

/// List items of a batch.
#[derive(Debug)]
pub struct Items<'a> {
    /// Those that can be read.
    pub records: &'a [Record],
    /// Those that cannot.
    pub rejected: Vec<Rejected>,
    /// How they came about.
    pub source: Source<'a>,
}

/// Details of a batch.
#[derive(Debug, Default)]
pub struct Details {
    /// Those that can be read.
    pub records: Vec<Record>,
    /// Those that cannot.
    pub rejected: Vec<Rejected>,
    /// Records that are deleted.
    pub missing: Missing,
}

/// Records that are deleted, each asked for at its time or later.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// Their ids.
    pub ids: Vec<Uuid>,
    /// When each was asked for.
    pub asked_at: Vec<Option<DateTime<Utc>>>,
}

impl Missing {
    /// Records that were all asked for at this time.
    pub fn at(ids: Vec<Uuid>, asked_at: Option<DateTime<Utc>>) -> Self {
        Self { asked_at: vec![asked_at; ids.len()], ids }
    }
}

impl Sink {
    /// As a request wants it.
    pub fn of(parameters: &Parameters) -> Self {
        if parameters.is_audit() { Self::Compare { repair: parameters.repair } } else { Self::Merge }
    }

    /// Takes list items. Returns the transaction, which is another one where PostgreSQL refused a value in the first,
    /// what became of the rows, and how many records were rejected.
    pub async fn items(
        self,
        slice: &Slice<'_>,
        mut tx: Batch,
        step: &mut Step,
        items: Items<'_>,
        loader: Option<&mut Loader>,
    ) -> Result<(Batch, Merged, i64), WorkError> {
        let (account, resource) = (&slice.settings.account, step.resource);
        let Items { records, mut rejected, source } = items;
        if self != (Self::Compare { repair: false }) {
            rekey::by_new_ids(&mut tx, slice.key(resource), records).await?;
        }
        if let Self::Compare { .. } = self {
            rejected::note(step, &rejected);
            let merged = audit::compare_items(slice, &mut tx, step, records, source).await?;
            return Ok((tx, merged, 0));
        }
        let stored = match loader {
            Some(loader) => loader.merge(tx, account, resource, records, source).await,
            None => {
                let merged = records::merge_page(&mut tx, account, resource, records, source).await;
                merged.map(|merged| (tx, merged))
            }
        };
        let (mut tx, merged) = match stored {
            Err(error) if error.refused_value().is_some() => {
                rejected::merge_the_others(slice, step, records, As::Items(source), &mut rejected).await?
            }
            stored => stored?,
        };
        let rejected = rejected::store_of_list(&mut tx, account, resource, records, &rejected).await?;
        Ok((tx, merged, rejected))
    }

    /// Takes details. Returns the transaction, as [`Sink::items`] does, and how many rows were written.
    pub async fn details(
        self,
        slice: &Slice<'_>,
        mut tx: Batch,
        step: &mut Step,
        batch: Details,
    ) -> Result<(Batch, i64), WorkError> {
        let (account, resource) = (&slice.settings.account, step.resource);
        let Details { records, mut rejected, missing } = batch;
        if let Self::Compare { .. } = self {
            rejected::note(step, &rejected);
            self.missing(slice, &mut tx, step, &missing).await?;
            let written = audit::compare_details(slice, &mut tx, step, &records).await?;
            return Ok((tx, written));
        }
        let (mut tx, written) = match details::merge_details(&mut tx, account, resource, &records).await {
            Err(error) if error.refused_value().is_some() => {
                drop(tx);
                rejected::merge_other_details(slice, step, &records, &mut rejected).await?
            }
            stored => (tx, stored?),
        };
        rejected::store_of_details(&mut tx, account, resource, (&records, &missing.ids), &rejected).await?;
        Ok((tx, written))
    }

    /// Takes deleted records: an audit counts them. A sync marks them where the evidence of all passes is together.
    pub async fn missing(
        self,
        slice: &Slice<'_>,
        tx: &mut PgConnection,
        step: &mut Step,
        missing: &Missing,
    ) -> Result<(), WorkError> {
        match self {
            Self::Merge => Ok(()),
            Self::Compare { .. } => audit::count_missing(slice, tx, step, (&missing.ids, &missing.asked_at)).await,
        }
    }
}
