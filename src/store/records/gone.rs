//! Records that are deleted: their rows are marked, and stay.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::catalog::{self, Resource};
use crate::ids::Account;
use crate::store::pool::StoreError;

/// Marks rows deleted, and with them their children and theirs, but for rows that were written from a later request
/// than the one, at this time, that found the record missing. Returns how many were marked, without the children.
pub async fn mark(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (ids, asked): (&[Uuid], &[Option<DateTime<Utc>>]),
) -> Result<i64, StoreError> {
    let marked = sqlx::query!(
        r#"update teamleader.record r set deleted_at = statement_timestamp(), changed_at = statement_timestamp(),
             asked_at = coalesce(gone.asked_at, r.asked_at)
         from unnest($3::uuid[], $4::timestamptz[]) as gone (id, asked_at)
         where r.resource = $1 and r.account = $2 and r.deleted_at is null and r.id = gone.id
           and (r.asked_at is null or gone.asked_at is null or r.asked_at <= gone.asked_at
               or r.asked_at > clock_timestamp())
         returning r.id, gone.asked_at as "asked_at?""#,
        resource.name,
        account.as_str(),
        ids,
        asked as &[Option<DateTime<Utc>>],
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = i64::try_from(marked.len()).unwrap_or(i64::MAX);
    let marked = marked.into_iter().map(|row| (row.id, row.asked_at)).collect();
    mark_children(tx, account, resource.name, marked).await?;
    Ok(count)
}

/// Rows that were marked deleted, and when the request was made that found their record missing, as far as it is known.
type Marked = Vec<(Uuid, Option<DateTime<Utc>>)>;

/// Marks deleted the children of rows that were, then theirs: no list gives them any more, since each is asked for with
/// its parent.
async fn mark_children(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    marked: Marked,
) -> Result<(), StoreError> {
    let mut parents = vec![(resource.to_owned(), marked)];
    while let Some((parent, marked)) = parents.pop() {
        let children: Vec<String> = catalog::children_of(&parent).into_iter().map(str::to_owned).collect();
        if children.is_empty() || marked.is_empty() {
            continue;
        }
        let (ids, asked): (Vec<Uuid>, Vec<Option<DateTime<Utc>>>) = marked.into_iter().unzip();
        let rows = sqlx::query!(
            r#"update teamleader.record r set deleted_at = statement_timestamp(), changed_at = statement_timestamp(),
                     asked_at = coalesce(gone.asked_at, r.asked_at)
             from unnest($3::uuid[], $4::timestamptz[]) as gone (id, asked_at)
             where r.resource = any($5) and r.account = $2 and r.deleted_at is null and r.parent_resource = $1
               and r.parent_id = gone.id
               and (r.asked_at is null or gone.asked_at is null or r.asked_at <= gone.asked_at
                   or r.asked_at > clock_timestamp())
             returning r.resource, r.id, gone.asked_at as "asked_at?""#,
            parent,
            account.as_str(),
            &ids,
            &asked as &[Option<DateTime<Utc>>],
            &children,
        )
        .fetch_all(&mut *tx)
        .await?;
        for child in children {
            let of_child = rows.iter().filter(|row| row.resource == child);
            let marked: Marked = of_child.map(|row| (row.id, row.asked_at)).collect();
            parents.push((child, marked));
        }
    }
    Ok(())
}
