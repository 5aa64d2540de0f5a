//! A database and records for the tests of the store.

use sqlx::{Executor, PgPool};
use uuid::Uuid;

use super::records::load::Loader;
use super::records::newest::Origin;
use super::records::{Merged, Source};
use super::{pool, schema};
use crate::api_client::answer::{self, Record};
use crate::catalog::{self, Resource};
use crate::ids::Account;

/// A migrated database of its own, with connections to it. Deleted by [`Scratch::drop`].
pub(super) struct Scratch {
    pub(super) pool: PgPool,
    server: PgPool,
    name: String,
}

impl Scratch {
    pub(super) async fn create(connections: u32) -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL: run `make test`, which starts a PostgreSQL");
        let server = pool::connect(&url.into()).expect("a URL");
        let name = format!("scratch_{}", Uuid::new_v4().simple());
        server.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.expect("created");
        let options = (*server.connect_options()).clone().database(&name);
        let pool = server.options().clone().max_connections(connections).connect_lazy_with(options);
        schema::migrate(&pool).await.expect("migrated");
        Self { pool, server, name }
    }

    pub(super) async fn drop(self) {
        self.pool.close().await;
        let drop = format!("drop database {} with (force)", self.name);
        self.server.execute(sqlx::AssertSqlSafe(drop)).await.expect("dropped");
    }

    /// Merges a batch, and commits it.
    pub(super) async fn merge(&self, loader: &mut Loader, items: &[Record]) -> Merged {
        let tx = pool::begin(&self.pool).await.expect("a transaction");
        let (tx, merged) = loader
            .merge(
                tx,
                &account(),
                contacts(),
                items,
                Source { parent_resource: Some("companies"), origin: Origin::List },
            )
            .await
            .expect("merged");
        tx.commit().await.expect("committed");
        merged
    }

    /// All that the rows hold, but for the clocks.
    pub(super) async fn rows(&self) -> Vec<String> {
        let sql = "select (to_jsonb(r) - '{first_seen_at,changed_at,listed_at}'::text[])::text \
                    from teamleader.record r order by id";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("PostgreSQL answers")
    }
}

pub(super) fn account() -> Account {
    "acme".parse().expect("an account")
}

pub(super) fn contacts() -> &'static Resource {
    catalog::find("contacts").expect("known")
}

/// A contact, the newer the later; every other one has a parent.
pub(super) fn contact(id: u128, second: u32) -> Record {
    let uuid = Uuid::from_u128(id);
    let body = format!(
        r#"{{"data":{{"id":"{uuid}","name":"Zoë \u00e9 {id}","updated_at":"1999-12-31T23:59:{second:02}+00:00"}}}}"#
    );
    let record = answer::parse_info(contacts(), body.as_bytes()).expect("valid").0;
    Record { parent: (id.is_multiple_of(2)).then(|| Uuid::from_u128(id << 64)), ..record }
}
