//! A record that is looked for by its id.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::catalog::RESOURCES;
use crate::ids::Account;
use crate::store::pool::StoreError;

/// How many versions of a record are read, the newest.
const VERSIONS: i64 = 50;

/// A row, and what it held before.
#[derive(Clone, Debug, Serialize)]
pub struct FoundRecord {
    /// The resource.
    pub resource: String,
    /// The record's id.
    pub id: Uuid,
    /// The resource of the parent record, of records that are listed by parent.
    pub parent_resource: Option<String>,
    /// The id of the parent record.
    pub parent: Option<Uuid>,
    /// The record; `{}`: it was erased.
    pub content: Value,
    /// When the list item last differed.
    pub listed_at: DateTime<Utc>,
    /// When the detail was last merged.
    pub detail_at: Option<DateTime<Utc>>,
    /// When the row last changed.
    pub changed_at: DateTime<Utc>,
    /// When the record was first seen.
    pub first_seen_at: DateTime<Utc>,
    /// When it was found to be deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Earlier versions, the newest first, 50 at most; none unless `HISTORY=on`.
    pub history: Vec<Version>,
}

/// What a row held for a time.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// The record.
    pub content: Value,
    /// `updated_at` as Teamleader gave it.
    pub source_updated_at: Option<DateTime<Utc>>,
    /// When it had been found to be deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Since when the row held it.
    pub valid_from: DateTime<Utc>,
    /// Until when.
    pub valid_to: DateTime<Utc>,
}

/// The rows with this id: one for each resource that has it.
pub async fn find_records(pool: &PgPool, account: &Account, id: Uuid) -> Result<Vec<FoundRecord>, StoreError> {
    let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
    // By resource: the key of each table begins with it.
    let rows = sqlx::query!(
        r#"select r.resource, r.id, r.parent_resource, r.parent_id, r.content, r.listed_at, r.detail_at, r.changed_at,
             r.first_seen_at, r.deleted_at
         from unnest($3::text[]) with ordinality as n (resource, ordinal)
         join lateral (
             select * from teamleader.record
             where record.resource = n.resource and record.account = $1 and record.id = $2 limit 1) as r on true
         order by n.ordinal"#,
        account.as_str(),
        id,
        &names,
    )
    .fetch_all(pool)
    .await?;
    let mut found = Vec::new();
    for row in rows {
        let history = versions(pool, account, &row.resource, id).await?;
        found.push(FoundRecord {
            resource: row.resource,
            id: row.id,
            parent_resource: row.parent_resource,
            parent: row.parent_id,
            content: row.content,
            listed_at: row.listed_at,
            detail_at: row.detail_at,
            changed_at: row.changed_at,
            first_seen_at: row.first_seen_at,
            deleted_at: row.deleted_at,
            history,
        });
    }
    Ok(found)
}

async fn versions(pool: &PgPool, account: &Account, resource: &str, id: Uuid) -> Result<Vec<Version>, StoreError> {
    let versions = sqlx::query_as!(
        Version,
        "select content, source_updated_at, deleted_at, valid_from, valid_to from teamleader.record_history
         where resource = $1 and account = $2 and id = $3 order by valid_from desc limit $4",
        resource,
        account.as_str(),
        id,
        VERSIONS,
    );
    Ok(versions.fetch_all(pool).await?)
}
