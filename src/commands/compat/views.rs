//! Views with the names and columns of the Python service's tables, over the rows here.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::error::CompatError;
use super::old::{MADE, OLD_TABLES, OldTable};
use crate::ids::Account;
use crate::store::pool::{self, StoreError};
use crate::store::schema;

/// Makes the views, or makes them again, all or none, and says what to do next. What others have built on them stays.
///
/// `id` was counted up by the Python service, from 1 at each full sync. Here it is made of `tl_uuid`: 60 bits of its
/// SHA-256, so a record keeps it, and two of a million have the same by a chance of one in two million.
pub async fn make(pool: &PgPool, account: &Account, schema: &str) -> Result<String, CompatError> {
    schema::check(pool).await?;
    let mut tx = pool::begin(pool).await?;
    let named = sqlx::query!(
        r#"select quote_ident($1) as "quoted!", to_regnamespace(quote_ident($1)) is not null as "is_there!""#,
        schema
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(StoreError::from)?;
    if !named.is_there {
        execute(&mut tx, format!("create schema {}", named.quoted)).await?;
    }
    for table in &OLD_TABLES {
        make_one(&mut tx, account, (schema, &named.quoted), table).await?;
    }
    tx.commit().await.map_err(StoreError::from)?;
    let schema = named.quoted;
    let views: Vec<String> = OLD_TABLES.iter().map(|table| format!("{schema}.{}", table.name)).collect();
    let views = views.join(", ");
    Ok(format!("made {views}\nReaders need: grant usage on schema {schema} to …; grant select on {views} to …"))
}

async fn make_one(
    tx: &mut PgConnection,
    account: &Account,
    (schema, quoted): (&str, &str),
    table: &OldTable,
) -> Result<(), CompatError> {
    // A comment that begins so says whose view it is.
    let mark = format!("{MADE} for the account {account}: ");
    let name = table.name;
    let there = sqlx::query_scalar!(
        r#"select coalesce(c.relkind = 'v' and starts_with(obj_description(c.oid, 'pg_class'), $3), false) as "ours!"
         from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2"#,
        schema,
        name,
        mark,
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(StoreError::from)?;
    if there == Some(false) {
        return Err(CompatError::Taken(format!("{quoted}.{name}"), account.to_string()));
    }
    // From the partitioned table, whose primary key begins with the resource: a look for one tl_uuid uses it.
    let statements = sqlx::query_scalar!(
        r#"select format($sql$
create or replace view %1$I.%2$I (id, tl_uuid, tl_content, tl_type, created_at, updated_at) as
select ('x' || left(encode(sha256(uuid_send(id)), 'hex'), 15))::bit(60)::bigint, id, content, %3$L::varchar, "#
            + r#"first_seen_at, changed_at
from teamleader.record where resource = %4$L and account = %5$L and deleted_at is null;
comment on view %1$I.%2$I is %6$L;
comment on column %1$I.%2$I.id is 'A number made of tl_uuid.';
comment on column %1$I.%2$I.tl_uuid is 'Teamleader''s id.';
comment on column %1$I.%2$I.tl_content is 'The item of .list, overlaid by the record of .info.';
comment on column %1$I.%2$I.tl_type is 'What follows tl_ in the name of the view.';
comment on column %1$I.%2$I.created_at is 'When this copy first saw the record.';
comment on column %1$I.%2$I.updated_at is 'When tl_content last changed in this copy; not each time it was read.';
$sql$, $1::text, $2::text, $3::text, $4::text, $5::text, $6::text) as "sql!""#,
        schema,
        name,
        table.kind,
        table.resource,
        account.as_str(),
        format!("{mark}the records of {} that Teamleader has, as the Python service's table had them.", table.resource),
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(StoreError::from)?;
    execute(tx, statements).await
}

/// Runs statements in which the server has quoted every name.
async fn execute(tx: &mut PgConnection, sql: String) -> Result<(), CompatError> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx).await.map_err(StoreError::from)?;
    Ok(())
}
