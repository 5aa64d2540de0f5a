//! A database of the test's own, and looks into it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::Value;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Row};
use teamleader_simulator::{Simulator, TruthRecord};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::waiting::{DEADLINE, until};
use super::worker::{path, run};
use super::{RESOURCES, from_make};

/// A database that the test made.
pub struct Database {
    /// Its URL, for the worker.
    pub url: String,
    /// Connections of the test.
    pub pool: PgPool,
    name: String,
}

/// A version of a row: changes whenever the row is written, whatever is written.
pub type Version = (String, String);

impl Database {
    /// Makes an empty database on the server of `DATABASE_URL`.
    pub async fn create() -> Self {
        Self::create_on(&from_make("DATABASE_URL")).await
    }

    /// Makes one that is migrated already, on the server of `DATABASE_URL`: a copy of one that the program has migrated
    /// once for all tests.
    pub async fn migrated() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let server = from_make("DATABASE_URL");
        let template = TEMPLATE.get_or_init(async || template(&server).await).await;
        Self::create_from(&server, &format!("template {template}")).await
    }

    /// Makes an empty database on the server of this URL.
    pub async fn create_on(server: &str) -> Self {
        Self::create_from(server, "").await
    }

    async fn create_from(server: &str, template: &str) -> Self {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let url = url_of(server, &name);
        let admin = PgPoolOptions::new()
            .max_connections(1)
            .connect(server)
            .await
            .expect("PostgreSQL, as `make test` starts it");
        // The template may be in use by another test that makes its database at this moment.
        until("a database can be made", async || {
            sqlx::query(AssertSqlSafe(format!("create database {name} {template}"))).execute(&admin).await.ok()
        })
        .await;
        admin.close().await;
        let pool = PgPoolOptions::new().max_connections(3).acquire_timeout(5 * DEADLINE).connect_lazy(&url).unwrap();
        Self { url, pool, name }
    }

    /// Drops one on the server of this URL. In a runtime of its own, for `Drop`.
    pub async fn drop(server: &str, name: &str) {
        if let Ok(admin) = PgPoolOptions::new().max_connections(1).connect(server).await {
            let sql = format!("drop database if exists {name} with (force)");
            if let Err(error) = sqlx::query(AssertSqlSafe(sql)).execute(&admin).await {
                eprintln!("the database {name} could not be dropped: {error}");
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The one value that a query gives.
    pub async fn value<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a statement and gives the number of its rows.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
    }

    /// Waits until the views of custom fields have followed their definitions. Returns the views with a problem, as text.
    pub async fn views_with_problems(&self) -> String {
        let follow = "select coalesce((select definitions like '% ' || teamleader2db.view_definitions()
            from teamleader2db.view_refresh), false)";
        until("the views of custom fields follow", async || self.value::<bool>(follow).await.then_some(())).await;
        self.value("select coalesce(string_agg(view || ': ' || problem, '; '), '') from teamleader2db.view_problem")
            .await
    }

    /// The status of a run; `None` before its first claim.
    pub async fn run_status(&self, id: Uuid) -> Option<String> {
        let status = sqlx::query_scalar("select status from teamleader2db.sync_run where id = $1").bind(id);
        // Before the worker has made the schema there is no such table.
        status.fetch_optional(&self.pool).await.ok().flatten()
    }

    /// The slice of a run; 0 before its first claim.
    pub async fn run_slice(&self, id: Uuid) -> i32 {
        let slice = sqlx::query_scalar("select slice from teamleader2db.sync_run where id = $1").bind(id);
        slice.fetch_optional(&self.pool).await.ok().flatten().unwrap_or(0)
    }

    /// The versions of all rows of schema `teamleader`, by resource and id.
    pub async fn versions(&self) -> BTreeMap<(String, Uuid), Version> {
        let sql = "select resource, id, xmin::text, ctid::text from teamleader.record";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.unwrap();
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect()
    }

    /// From now on the first statement that a trigger of this kind sees waits, in its open transaction, until the hold
    /// is released. `event` is like `insert on schema.table`, `when` a condition on `old` and `new`.
    pub async fn hold_before(&self, event: &str, when: &str) -> Hold {
        let mut holder = self.pool.acquire().await.unwrap();
        sqlx::query("select pg_advisory_lock(1)").execute(&mut *holder).await.unwrap();
        self.trigger(event, when, "perform pg_advisory_xact_lock(1)").await;
        Hold { holder }
    }

    /// From now on each statement that a trigger of this kind sees fails, as when the disk is full.
    pub async fn fail_before(&self, event: &str, when: &str) {
        self.fail_with("disk_full", event, when).await;
    }

    /// The same with another of PostgreSQL's conditions, such as `internal_error`.
    pub async fn fail_with(&self, condition: &str, event: &str, when: &str) {
        self.trigger(event, when, &format!("raise exception 'the test wants it so' using errcode = '{condition}'"))
            .await;
    }

    /// From now on it is recorded when a trigger of this kind saw a statement; see [`Self::gaps_seen`].
    pub async fn watch(&self, event: &str, when: &str) {
        sqlx::raw_sql("create table public.seen (at timestamptz not null)").execute(&self.pool).await.unwrap();
        self.trigger(event, when, "insert into public.seen values (clock_timestamp())").await;
    }

    /// The seconds between one statement that was watched for and the next.
    pub async fn gaps_seen(&self) -> Vec<f64> {
        let sql =
            "select extract(epoch from at - lag(at) over (order by at))::float8 from public.seen order by at offset 1";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.unwrap()
    }

    /// The function is named like the worker's own: what fails in any other is taken for a fault of a user's.
    async fn trigger(&self, event: &str, when: &str, what: &str) {
        let sql = format!(
            "create function teamleader2db.keep_version() returns trigger language plpgsql as $$ \
             begin {what}; return new; end $$;
             create trigger interfere before {event} for each row when ({when}) \
             execute function teamleader2db.keep_version()"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    /// Statements that were made to wait or to fail do so no more.
    pub async fn interfere_no_more(&self) {
        sqlx::raw_sql("drop function teamleader2db.keep_version cascade").execute(&self.pool).await.unwrap();
    }

    /// Ends every session of the worker; what it has not committed is rolled back. Gives the number of sessions.
    pub async fn cut_sessions(&self) -> usize {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'teamleader2db'";
        sqlx::query(sql).fetch_all(&self.pool).await.unwrap().len()
    }

    /// The ids of a resource that are marked deleted.
    pub async fn deleted(&self, resource: &str) -> BTreeSet<Uuid> {
        let sql = "select id from teamleader.record where resource = $1 and deleted_at is not null";
        sqlx::query_scalar(sql).bind(resource).fetch_all(&self.pool).await.unwrap().into_iter().collect()
    }

    /// How many rows of a resource there are, deleted ones too.
    pub async fn rows(&self, resource: &str) -> i64 {
        let sql = "select count(*) from teamleader.record where resource = $1";
        sqlx::query_scalar(sql).bind(resource).fetch_one(&self.pool).await.unwrap()
    }

    /// Asserts that the tables hold what the account holds: each living record, equal in all that the API gives of it,
    /// and nothing else but rows that are marked deleted.
    pub async fn assert_equals(&self, simulator: &Simulator) {
        for resource in RESOURCES {
            self.assert_table_equals(simulator, resource).await;
        }
        self.assert_typed_columns().await;
    }

    /// Asserts that the typed columns are what the documents give.
    pub async fn assert_typed_columns(&self) {
        let differences = self.untyped().await;
        assert!(differences.is_empty(), "typed columns differ from documents: {differences:?}");
    }

    /// How many rows of which tables of typed columns are not what the documents give.
    pub async fn untyped(&self) -> Vec<(String, i64)> {
        let found = until("typed columns are compared", async || {
            let sql = r#"select "table", "rows" from teamleader_typed.differences()"#;
            sqlx::query_as(sql).fetch_all(&self.pool).await.ok()
        });
        found.await
    }

    /// The same for one resource.
    pub async fn assert_table_equals(&self, simulator: &Simulator, resource: &str) {
        if let Some(difference) = self.difference(simulator, resource).await {
            panic!("{difference}");
        }
    }

    /// The same for one resource, but for records that belong to a parent of these kinds.
    pub async fn assert_table_equals_but(&self, simulator: &Simulator, resource: &str, kinds: &[&str]) {
        let mut found = self.differences(simulator, resource).await;
        let of = |record: &TruthRecord| record.parent.as_ref().is_some_and(|(kind, _)| kinds.contains(&kind.as_str()));
        let left_out: BTreeSet<Uuid> = simulator.truth(resource).iter().filter(|r| of(r)).map(|r| r.id).collect();
        found.retain(|difference| !left_out.contains(&difference.id));
        if let Some(difference) = described(resource, simulator.count(resource), found) {
            panic!("{difference}");
        }
    }

    /// How the table of a resource differs from the account, as text.
    pub async fn difference(&self, simulator: &Simulator, resource: &str) -> Option<String> {
        let found = self.differences(simulator, resource).await;
        described(resource, simulator.count(resource), found)
    }

    /// The same for what the account holds alone: rows of records that it does not have do not matter.
    pub async fn lack(&self, simulator: &Simulator, resource: &str) -> Option<String> {
        let mut found = self.differences(simulator, resource).await;
        found.retain(|difference| difference.truth.is_some());
        described(resource, simulator.count(resource), found)
    }

    /// How many of these records have no row, or one that holds other than the account.
    pub async fn lacking(&self, simulator: &Simulator, resource: &str, ids: &[Uuid]) -> usize {
        let ids: BTreeSet<&Uuid> = ids.iter().collect();
        let found = self.differences(simulator, resource).await;
        found.iter().filter(|difference| ids.contains(&difference.id)).count()
    }

    async fn differences(&self, simulator: &Simulator, resource: &str) -> Vec<Difference> {
        let truth = if resource == "userSchedules" { schedules(simulator) } else { simulator.truth(resource) };
        let ids: Vec<Uuid> = truth.iter().map(|record| record.id).collect();
        // What a sync asks for: the detail of these adds next to nothing.
        let content = |record: &TruthRecord| match resource {
            "timeTracking" | "customFieldDefinitions" => record.list.clone(),
            _ => record.content(),
        };
        let contents: Vec<String> = truth.iter().map(|record| storable(&content(record))).collect();
        // The ids of these are made by the worker: they are known by what they say.
        let nameless = ["tags", "commercialDiscounts", "expenses", "userSchedules"].contains(&resource);
        let sql = "select coalesce(r.id, t.id), r.content, t.content
             from (select id, content, case when $4 then content::text else id::text end as key
                   from teamleader.record where resource = $1 and deleted_at is null) r
             full join (select id, content::jsonb, case when $4 then content::jsonb::text else id::text end as key
                        from unnest($2::uuid[], $3::text[]) as u (id, content)) t on t.key = r.key
             where r.content is distinct from t.content";
        // A machine that is busy enough resets connections.
        let rows = until("the rows are compared", async || {
            let query = sqlx::query(sql).bind(resource).bind(&ids).bind(&contents).bind(nameless);
            query.fetch_all(&self.pool).await.ok()
        });
        rows.await.iter().map(|row| Difference { id: row.get(0), row: row.get(1), truth: row.get(2) }).collect()
    }
}

/// The weeks that the worker reads, from the one before the current one to the eighth after it: the API does not say of
/// which week a schedule is, so the worker adds it.
fn schedules(simulator: &Simulator) -> Vec<TruthRecord> {
    let today = chrono::Utc::now().date_naive();
    let this_week = today.week(chrono::Weekday::Mon).first_day();
    let weeks = (-1..=8).map(|weeks| this_week + chrono::TimeDelta::weeks(weeks));
    let of_week = |from: chrono::NaiveDate| {
        let until = from + chrono::Days::new(6);
        simulator.schedules(from, until).into_iter().map(move |record| {
            let mut list: serde_json::Value = serde_json::from_str(&record.list).unwrap();
            list["from"] = from.to_string().into();
            list["until"] = until.to_string().into();
            TruthRecord { list: list.to_string(), ..record }
        })
    };
    weeks.flat_map(of_week).collect()
}

/// The URL of another database of the same server.
fn url_of(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, String::new()), |(b, q)| (b, format!("?{q}")));
    format!("{}/{name}{query}", base.rsplit_once('/').expect("a database's name in DATABASE_URL").0)
}

/// The name of a database that this build of the program has migrated. Other processes of the tests use it, too; those
/// of earlier builds go.
async fn template(server: &str) -> String {
    const PREFIX: &str = "teamleader2db_migrated_";
    let built = std::fs::metadata(path()).and_then(|program| program.modified()).expect("the program is built");
    let built = built.duration_since(SystemTime::UNIX_EPOCH).expect("it was built after 1970").as_nanos();
    let name = format!("{PREFIX}{built}");
    let mut admin = PgConnection::connect(server).await.expect("PostgreSQL, as `make test` starts it");
    sqlx::query("select pg_advisory_lock(hashtext('teamleader2db_migrated'))").execute(&mut admin).await.unwrap();
    let sql = "select datname from pg_database where starts_with(datname, $1)";
    let there: Vec<String> = sqlx::query_scalar(sql).bind(PREFIX).fetch_all(&mut admin).await.unwrap();
    let is_done: Option<bool> = sqlx::query_scalar("select datistemplate from pg_database where datname = $1")
        .bind(&name)
        .fetch_optional(&mut admin)
        .await
        .unwrap();
    if is_done != Some(true) {
        for old in there {
            for sql in [format!("alter database {old} is_template false"), format!("drop database {old} with (force)")]
            {
                sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
            }
        }
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
        let ended = run(&[("DATABASE_URL", url_of(server, &name))].into(), &["migrate"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let sql = format!("alter database {name} is_template true");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    admin.close().await.unwrap();
    name
}

/// A record of which the row holds other than the account.
struct Difference {
    id: Uuid,
    row: Option<Value>,
    truth: Option<Value>,
}

fn described(resource: &str, of: usize, found: Vec<Difference>) -> Option<String> {
    let count = found.len();
    let Difference { id, row, truth } = found.into_iter().next()?;
    let what = match (row, truth) {
        (Some(row), Some(truth)) => {
            let mut fields = Vec::new();
            differing(&row, &truth, "", &mut fields);
            fields.join("; ")
        }
        (row, truth) => {
            let shown = |content: Option<Value>| content.map_or("nothing".to_owned(), |content| content.to_string());
            format!("the row holds {}, the account {}", shown(row), shown(truth))
        }
    };
    Some(format!("{count} of {of} {resource} differ from the account; {id}: {what}"))
}

/// The fields in which a row differs from the account's record, each with both values.
fn differing(row: &Value, truth: &Value, path: &str, fields: &mut Vec<String>) {
    match (row, truth) {
        (Value::Object(row), Value::Object(truth)) => {
            let names: BTreeSet<&String> = row.keys().chain(truth.keys()).collect();
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                differing(&of(row), &of(truth), &format!("{path}.{name}"), fields);
            }
        }
        _ if row == truth => {}
        _ => fields.push(format!("{path} is {row} in the row, {truth} in the account")),
    }
}

/// A statement that waits.
pub struct Hold {
    holder: PoolConnection<Postgres>,
}

impl Hold {
    /// Waits until a statement waits.
    pub async fn reached(&mut self) {
        until("the worker is held", async || self.holds().await.then_some(())).await;
    }

    /// Rolls back what waits. The next one waits again.
    pub async fn roll_back(&mut self, database: &Database) {
        database.cut_sessions().await;
        until("nothing is held", async || (!self.holds().await).then_some(())).await;
    }

    /// Rolls back what waits, and holds nothing any more.
    pub async fn forget(mut self, database: &Database) {
        self.roll_back(database).await;
        sqlx::query("select pg_advisory_unlock(1)").execute(&mut *self.holder).await.unwrap();
        database.interfere_no_more().await;
    }

    async fn holds(&mut self) -> bool {
        let sql = "select exists (
             select from pg_locks l join pg_database d on d.oid = l.database
             where d.datname = current_database() and l.locktype = 'advisory' and not l.granted)";
        sqlx::query_scalar(sql).fetch_one(&mut *self.holder).await.unwrap()
    }
}

/// The JSON text as jsonb can hold it: `\u0000` and halves of surrogate pairs become U+FFFD.
pub fn storable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match unit(rest) {
            None => 2,
            Some(high @ 0xd800..=0xdbff) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => {
                debug_assert!(high >= 0xd800);
                12
            }
            Some(0 | 0xd800..=0xdfff) => {
                out.push('\u{fffd}');
                rest = &rest[6..];
                continue;
            }
            Some(_) => 6,
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out + rest
}

/// The code unit of the `\uXXXX` that the text begins with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[test]
fn the_truth_is_made_storable_as_the_worker_must_make_it() {
    assert_eq!(storable(r#"{"a":"x\u0000y"}"#), "{\"a\":\"x\u{fffd}y\"}");
    assert_eq!(storable(r#""\ud83d""#), "\"\u{fffd}\"");
    assert_eq!(storable(r#""\ud83d\ude00 \\u0000 \n""#), r#""\ud83d\ude00 \\u0000 \n""#);
}
