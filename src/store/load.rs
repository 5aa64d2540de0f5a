//! Lists merged fast: what is equal is known without asking row by row, and what is new is not asked for.
//!
//! Not by `COPY`, which would load faster: a worker that is paused in its midst would hold the lease's row, and no timeout of PostgreSQL
//! ends a `COPY` that waits for its client.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use super::records::{self, Merged, count};
use crate::catalog::Resource;
use crate::ids::Account;
use crate::teamleader::answer::Record;

/// Of how many rows ids and hashes are read at once: 32 bytes each. Of larger tables they are looked up as records come.
const KNOWN_ROWS: i64 = 100_000;

/// Merges batches of a list that follow each other.
///
/// As long as all records of a batch are new, those of the next are presumed to be, and inserted without a look at what is there.
#[derive(Debug, Default)]
pub struct Loader {
    /// Ids and hashes of rows that were there when the pass or the slice began, by id.
    known: Vec<(Uuid, [u8; 16])>,
    /// Ids and hashes of the last batch, if all of it was new. Lists repeat the last records of a page on the next.
    last: Option<HashMap<Uuid, [u8; 16]>>,
}

impl Loader {
    /// For a list that tells all records of the account: reads the ids and hashes of its rows, unless they are too many.
    pub async fn for_complete_list(pool: &PgPool, account: &Account, resource: &Resource) -> Result<Self, StoreError> {
        let rows = sqlx::query!(
            "select id, list_hash from teamleader.record where resource = $1 and account = $2 and deleted_at is null
               and not exists (select from teamleader.record where resource = $1 and account = $2 offset $3 limit 1)",
            resource.name,
            account.as_str(),
            KNOWN_ROWS,
        );
        let (mut rows, mut known) = (rows.fetch(pool), Vec::new());
        while let Some(row) = rows.try_next().await? {
            // One that is to be written anew has no hash.
            known.extend(row.list_hash.try_into().ok().map(|hash| (row.id, hash)));
        }
        known.sort_unstable();
        Ok(Self { known, last: None })
    }

    /// Merges list items as [`records::merge_page`] does, which says what the arguments are.
    pub async fn merge(
        &mut self,
        tx: &mut PgConnection,
        account: &Account,
        resource: &Resource,
        items: &[Record],
        parent_resource: Option<&str>,
        touch: bool,
    ) -> Result<Merged, StoreError> {
        let told = records::newest(items);
        let last = self.last.take();
        let (mut new, mut others, mut equal, mut repeated) = (Vec::new(), Vec::new(), 0, 0);
        for record in told.values().copied() {
            let in_last = last.as_ref().map(|last| last.get(&record.id));
            repeated += usize::from(in_last.flatten().is_some());
            if self.knows(record) || in_last.flatten() == Some(&record.hash) {
                equal += 1;
            } else if in_last == Some(None) {
                new.push(record);
            } else {
                others.push(record);
            }
        }
        let mut merged = Merged { unchanged: count(equal), ..Merged::default() };
        if !new.is_empty() {
            merged.created = records::upsert(tx, account, resource, &new, parent_resource, false).await?;
        }
        if merged.created < count(new.len()) {
            // Some were there: a look at all of them tells which. Those that have just been inserted are equal by now.
            merged.unchanged -= merged.created;
            others.append(&mut new);
        }
        if !others.is_empty() {
            merged += records::merge_page(tx, account, resource, others, parent_resource, touch).await?;
        }
        let all_new = merged.created > 0 && merged.created == count(told.len() - repeated);
        self.last = all_new.then(|| told.into_values().map(|record| (record.id, record.hash)).collect());
        Ok(merged)
    }

    /// Whether the row of the record is known to be equal. A record with a parent may have moved.
    fn knows(&self, record: &Record) -> bool {
        let place = self.known.binary_search_by_key(&record.id, |(id, _)| *id);
        record.parent.is_none() && place.is_ok_and(|place| self.known[place].1 == record.hash)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Executor;

    use super::*;
    use crate::store::{details, pool};
    use crate::teamleader::answer;

    const ACCOUNT: &str = "acme";

    /// A migrated database of its own, with connections to it. Deleted by [`Scratch::drop`].
    struct Scratch {
        pool: PgPool,
        server: PgPool,
        name: String,
    }

    impl Scratch {
        async fn create(connections: u32) -> Self {
            let url = std::env::var("DATABASE_URL").expect("DATABASE_URL: run `make test`, which starts a PostgreSQL");
            let server = pool::connect(&url.into()).expect("a URL");
            let name = format!("load_{}", Uuid::new_v4().simple());
            server.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.expect("created");
            let options = (*server.connect_options()).clone().database(&name);
            let pool = server.options().clone().max_connections(connections).connect_lazy_with(options);
            pool::migrate(&pool).await.expect("migrated");
            Self { pool, server, name }
        }

        async fn drop(self) {
            self.pool.close().await;
            let drop = format!("drop database {} with (force)", self.name);
            self.server.execute(sqlx::AssertSqlSafe(drop)).await.expect("dropped");
        }

        /// Merges a batch, and commits it.
        async fn merge(&self, loader: &mut Loader, items: &[Record]) -> Merged {
            let mut tx = pool::begin(&self.pool).await.expect("begun");
            let merged =
                loader.merge(&mut tx, &account(), contacts(), items, Some("companies"), false).await.expect("merged");
            tx.commit().await.expect("committed");
            merged
        }

        /// All that the rows hold, but for the clocks.
        async fn rows(&self) -> Vec<String> {
            let sql = "select (to_jsonb(r) - '{first_seen_at,changed_at,listed_at}'::text[])::text from teamleader.record r order by id";
            sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("PostgreSQL answers")
        }
    }

    fn account() -> Account {
        ACCOUNT.parse().expect("an account")
    }

    fn contacts() -> &'static Resource {
        crate::catalog::find("contacts").expect("known")
    }

    /// A contact, the newer the later; every other one has a parent.
    fn contact(id: u128, second: u32) -> Record {
        let uuid = Uuid::from_u128(id);
        let body = format!(
            r#"{{"data":{{"id":"{uuid}","name":"Zoë \u00e9 {id}","updated_at":"1999-12-31T23:59:{second:02}+00:00"}}}}"#
        );
        let record = answer::parse_info(contacts(), body.as_bytes()).expect("valid").0;
        Record { parent: (id.is_multiple_of(2)).then(|| Uuid::from_u128(id << 64)), ..record }
    }

    fn created(created: i64) -> Merged {
        Merged { created, ..Merged::default() }
    }

    #[tokio::test]
    async fn rows_that_are_inserted_are_as_rows_that_are_merged() {
        let (loaded, merged) = (Scratch::create(2).await, Scratch::create(2).await);
        let batches = [[contact(1, 1), contact(2, 2)], [contact(3, 3), contact(4, 4)]];
        let mut loader = Loader::default();
        for batch in &batches {
            assert_eq!(loaded.merge(&mut loader, batch).await, created(2));
            assert!(loader.last.is_some(), "the next are presumed to be new");
            // One that knows of no batch before presumes nothing.
            assert_eq!(merged.merge(&mut Loader::default(), batch).await, created(2));
        }
        assert_eq!(loaded.rows().await, merged.rows().await);
        assert_eq!(loaded.rows().await.len(), 4);
        let clocks = "select bool_and(first_seen_at = changed_at and changed_at = listed_at and listed_at <= now()) from teamleader.record";
        assert_eq!(sqlx::query_scalar(clocks).fetch_one(&loaded.pool).await.ok(), Some(true));
        loaded.drop().await;
        merged.drop().await;
    }

    #[tokio::test]
    async fn a_row_that_is_there_after_all_costs_no_other_its_place() {
        let scratch = Scratch::create(2).await;
        scratch.merge(&mut Loader::default(), &[contact(4, 1)]).await;
        let mut loader = Loader::default();
        assert_eq!(scratch.merge(&mut loader, &[contact(1, 1), contact(2, 2)]).await, created(2));
        // The last page's last record comes once more; 4 is there, and older.
        let batch = [contact(2, 2), contact(3, 3), contact(4, 4)];
        assert_eq!(scratch.merge(&mut loader, &batch).await, Merged { created: 1, updated: 1, unchanged: 1 });
        // Not all of that batch were new.
        assert_eq!(
            scratch.merge(&mut loader, &[contact(4, 4), contact(5, 5)]).await,
            Merged { created: 1, updated: 0, unchanged: 1 }
        );
        // One that was told with the last batch has changed since.
        assert_eq!(scratch.merge(&mut loader, &[contact(6, 6)]).await, created(1));
        assert_eq!(
            scratch.merge(&mut loader, &[contact(6, 7), contact(7, 7)]).await,
            Merged { created: 1, updated: 1, unchanged: 0 }
        );
        let merged = Scratch::create(2).await;
        let all = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 7), (7, 7)].map(|(id, second)| contact(id, second));
        merged.merge(&mut Loader::default(), &all).await;
        assert_eq!(scratch.rows().await, merged.rows().await);
        scratch.drop().await;
        merged.drop().await;
    }

    #[tokio::test]
    async fn rows_that_are_known_are_not_looked_at() {
        let scratch = Scratch::create(2).await;
        let all = [contact(1, 1), contact(3, 3), contact(5, 5)];
        scratch.merge(&mut Loader::default(), &all).await;
        sqlx::query("update teamleader.record set deleted_at = now() where id = $1")
            .bind(all[2].id)
            .execute(&scratch.pool)
            .await
            .expect("marked");
        let mut loader = Loader::for_complete_list(&scratch.pool, &account(), contacts()).await.expect("read");
        assert_eq!(loader.known.len(), 2, "one is marked deleted");
        // A look at the row would now tell that it differs.
        let behind = "update teamleader.record set list_hash = '' where id = $1";
        sqlx::query(behind).bind(all[0].id).execute(&scratch.pool).await.expect("written");
        let told = [contact(1, 1), contact(3, 4), contact(5, 5), contact(7, 7)];
        assert_eq!(scratch.merge(&mut loader, &told).await, Merged { created: 1, updated: 2, unchanged: 1 });
        let living = "select count(*) from teamleader.record where deleted_at is null";
        assert_eq!(sqlx::query_scalar(living).fetch_one(&scratch.pool).await.ok(), Some(4_i64));
        scratch.drop().await;
    }

    /// Rows of contacts that the transaction has read so far.
    async fn read(tx: &mut PgConnection) -> i64 {
        let sql = "select coalesce(idx_tup_fetch, 0) + seq_tup_read from pg_stat_xact_user_tables where relid = 'teamleader.contacts'::regclass";
        sqlx::query_scalar(sql).fetch_one(tx).await.expect("PostgreSQL answers")
    }

    #[tokio::test]
    async fn a_table_that_was_just_filled_is_not_read_through_for_each_batch() {
        let scratch = Scratch::create(2).await;
        // As it is until PostgreSQL has counted the rows.
        scratch.pool.execute("alter table teamleader.contacts set (autovacuum_enabled = off)").await.expect("altered");
        let all: Vec<Record> = (0..2_000).map(|n| contact(2 * n + 1, 1)).collect();
        scratch.merge(&mut Loader::default(), &all).await;
        let changed: Vec<Record> = (0..10).map(|n| contact(2 * n + 1, 2)).collect();
        let mut tx = pool::begin(&scratch.pool).await.expect("begun");
        let merged =
            Loader::default().merge(&mut tx, &account(), contacts(), &changed, None, false).await.expect("merged");
        assert_eq!(merged, Merged { updated: 10, ..Merged::default() });
        let by_items = read(&mut tx).await;
        assert!(by_items < 100, "{by_items} rows read for 10 list items");
        let asked_at = records::clock(&scratch.pool).await.expect("a clock");
        assert_eq!(details::merge_details(&mut tx, &account(), contacts(), &changed, asked_at).await.ok(), Some(10));
        let by_details = read(&mut tx).await - by_items;
        assert!(by_details < 100, "{by_details} rows read for 10 details");
        tx.rollback().await.expect("rolled back");
        scratch.drop().await;
    }
}
