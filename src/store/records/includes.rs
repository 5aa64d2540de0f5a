//! Details that came without what was asked for by `includes`.
//!
//! The API ignores what it does not know, and an answer that lacks an include looks like one of a record to which it
//! does not apply. A list shows over all its records whether an include came; a detail stands alone. It is held against
//! the newest other rows of its resource: where most of these have an include, one that has none is asked for again
//! with the next sync. The same answer once more is believed. Where most have none, as in an account that does not use
//! the feature, none is asked for twice.

use sqlx::PgConnection;
use uuid::Uuid;

use super::newest::Row;
use crate::api_client::answer::Record;
use crate::catalog::{Resource, Shapes};
use crate::ids::Account;
use crate::store::pool::StoreError;

/// Rows that are looked at to know what is usual.
const LOOKED_AT: i64 = 200;

/// Whether a detail has no field of any include that was asked for, and its row did not come from the same answer.
pub(super) fn is_bare(resource: &Resource, detail: &Record, row: &Row) -> bool {
    let shape = &Shapes::of(resource).info;
    let includes = shape.includes();
    !includes.is_empty()
        && row.detail_hash.as_deref() != Some(&detail.hash)
        && !includes.iter().any(|include| shape.has_come(include, &detail.missing_fields, &[&detail.json]))
}

/// Whether most of the other details of the resource that changed last have a field of an include.
pub(super) async fn are_usual(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    besides: &[Uuid],
) -> Result<bool, StoreError> {
    let paths: Vec<String> = Shapes::of(resource).info.paths_of_includes();
    let usual = sqlx::query_scalar!(
        r#"select coalesce(avg(exists (
                 select from unnest($4::text[]) as p (path)
                 where newest.content #> string_to_array(path, '/') is not null)::int) > 0.5, false) as "usual!"
         from (select id, content, detail_hash from teamleader.record where resource = $1 and account = $2
               order by changed_at desc limit $5) as newest
         where detail_hash is not null and id <> all($3)"#,
        resource.name,
        account.as_str(),
        besides,
        &paths,
        LOOKED_AT,
    )
    .fetch_one(connection)
    .await?;
    Ok(usual)
}
