//! The move from the Python service: views like its tables, a comparison with them, and its refresh token.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use teamleader_simulator::TruthRecord;
use uuid::Uuid;

use crate::stage::{Database, Stage, storable, until};

/// The names that the service has for its tables, and the resources that it copied to them.
const TABLES: [(&str, &str); 8] = [
    ("tl_companies", "companies"),
    ("tl_contacts", "contacts"),
    ("tl_custom_fields", "customFieldDefinitions"),
    ("tl_departments", "departments"),
    ("tl_events", "events"),
    ("tl_invoices", "invoices"),
    ("tl_projects", "projects"),
    ("tl_users", "users"),
];

async fn run(pool: &PgPool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// What the versions of the Python service stored of a record.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    ListItem,
    Detail,
}

/// The Python service has just synced: its tables are as Teamleader is.
async fn the_service_has_synced(pool: &PgPool, stage: &Stage, stored: Stored) {
    for (table, resource) in TABLES {
        run(
            pool,
            format!(
                "drop table if exists public.{table};
                 create table public.{table} (id serial primary key, tl_uuid uuid not null unique, tl_content jsonb not null,
                     tl_type varchar, created_at timestamptz not null default now(), updated_at timestamptz not null default now())"
            ),
        )
        .await;
        let truth = stage.simulator.truth(resource);
        let ids: Vec<Uuid> = truth.iter().map(|record| record.id).collect();
        let content = |record: &TruthRecord| match stored {
            Stored::ListItem => storable(&record.list),
            // Its list gives more than its details, which nobody asks for.
            Stored::Detail if resource == "customFieldDefinitions" => storable(&record.list),
            Stored::Detail => storable(&record.content()),
        };
        let contents: Vec<String> = truth.iter().map(content).collect();
        let sql = format!(
            "insert into public.{table} (tl_uuid, tl_content, tl_type)
             select id, content::jsonb, $3 from unnest($1, $2) as t (id, content)"
        );
        let insert = sqlx::query(AssertSqlSafe(sql)).bind(ids).bind(contents).bind(table.trim_start_matches("tl_"));
        insert.execute(pool).await.unwrap();
    }
}

async fn count(pool: &PgPool, of: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {of}"))).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn views_have_the_columns_of_the_old_tables_and_the_rows_of_the_new() {
    let stage = Stage::small().await;
    let pool = &stage.database.pool;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    the_service_has_synced(pool, &stage, Stored::Detail).await;

    let ended = stage.run(&["compat", "views"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("public.tl_companies is there already") && ended.err.contains("--schema"), "{ended:?}");
    let ended = stage.run(&["compat", "views", "--schema", "Old \"names\""]).await;
    assert_eq!(ended.code, 0, "a name that has to be quoted: {ended:?}");
    let granted = ended.out.split_once("Readers need: ").expect("what readers need").1.replace('…', "public");
    run(pool, granted).await;
    let ended = stage.run(&["compat", "views", "--schema", "old"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let columns = |schema: &'static str| async move {
        let sql = "select column_name::text || ' ' || data_type from information_schema.columns
                   where table_schema = $1 and table_name = 'tl_contacts' order by ordinal_position";
        sqlx::query_scalar::<_, String>(sql).bind(schema).fetch_all(pool).await.unwrap()
    };
    let (mut theirs, ours) = (columns("public").await, columns("old").await);
    theirs[0] = "id bigint".to_owned();
    assert_eq!(ours, theirs, "in the same order: the service itself reads them by it");
    for (table, _) in TABLES {
        let differing = format!(
            "public.{table} o full join old.{table} n using (tl_uuid) where (o.tl_type, o.tl_content) is distinct from (n.tl_type, n.tl_content)"
        );
        assert_eq!((count(pool, &differing).await, table), (0, table));
        assert_eq!(
            count(pool, &format!("(select distinct id from old.{table}) d")).await,
            count(pool, &format!("public.{table}")).await
        );
    }

    // Somebody builds on a view; a deleted record leaves it; the views are made anew.
    run(pool, "create view mine as select tl_content->>'first_name' as name from old.tl_contacts".to_owned()).await;
    stage.simulator.delete("contacts", 2);
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    let ended = stage.run(&["compat", "views", "--schema", "old"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(count(pool, "mine").await, stage.simulator.count("contacts") as i64);
    // A name that PostgreSQL would cut means another schema.
    let ended = stage.run(&["compat", "views", "--schema", &"y".repeat(64)]).await;
    assert!(ended.code == 2 && ended.err.contains("1 to 63 bytes"), "{ended:?}");
    // Those of one account are not quietly made those of another.
    let ended = stage.run(&["compat", "views", "--schema", "old", "--account", "another"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("for the account another"), "{ended:?}");
}

/// The comparison that a command printed as JSON.
struct Compared(Value);

impl Compared {
    async fn of(stage: &Stage, arguments: &[&str]) -> Self {
        let ended = stage.run(&[&["compat", "compare", "--json"], arguments].concat()).await;
        let compared: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(ended.code, if compared["ready"] == true { 0 } else { 3 }, "{compared}");
        Self(compared)
    }

    fn is_ready(&self) -> bool {
        self.0["ready"] == true
    }

    fn table(&self, name: &str) -> &Value {
        let tables = self.0["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {}", self.0))
    }

    /// What is not nothing, of the counts of a table.
    fn counts(&self, name: &str) -> Value {
        let counted = self.table(name).as_object().unwrap().iter();
        counted
            .filter(|(_, count)| count.is_u64() && **count != 0)
            .map(|(what, count)| (what.clone(), count.clone()))
            .collect()
    }
}

#[tokio::test]
async fn a_comparison_says_what_keeps_from_moving() {
    let mut stage = Stage::small().await;
    let old = Database::create().await;
    let _worker = stage.worker().await;
    the_service_has_synced(&old.pool, &stage, Stored::Detail).await;
    let ended = stage.run(&["compat", "compare"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("COMPAT_DATABASE_URL"), "there is nothing in this program's own database: {ended:?}");
    stage.set("COMPAT_DATABASE_URL", &old.url);
    let ended = stage.run(&["compat", "compare"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.out.contains("teamleader2db request contacts --full --wait"), "nothing was synced yet: {ended:?}");

    stage.simulator.update("contacts", 2);
    stage.simulator.delete("contacts", 1);
    stage.simulator.add("contacts", 3);
    let changed: Uuid = old
        .value(
            "update tl_companies set tl_content = tl_content || '{\"name\": \"Other\"}' where id = 1 returning tl_uuid",
        )
        .await;
    old.execute("insert into tl_events (tl_uuid, tl_content, updated_at) values (gen_random_uuid(), '{}', now() + interval '1 h')").await;
    old.execute("update tl_users set tl_content = to_jsonb(tl_content::text) where id = 1").await;
    old.execute("truncate tl_departments").await;
    old.execute("drop table tl_projects").await;
    old.execute("alter table tl_invoices rename to bills").await;
    stage.complete(json!({ "mode": "full" })).await;
    let compared = Compared::of(&stage, &[]).await;
    let (contacts, here) = (stage.simulator.count("contacts"), stage.simulator.count("companies"));
    assert_eq!(
        compared.counts("tl_contacts"),
        json!({ "rows_there": contacts - 2, "rows_here": contacts, "equal": contacts - 5, "older_there": 2, "unknown": 1, "only_here": 3 })
    );
    assert_eq!(
        compared.counts("tl_companies"),
        json!({ "rows_there": here, "rows_here": here, "equal": here - 1, "differs": 1 })
    );
    let companies = compared.table("tl_companies");
    assert_eq!((&companies["fields"], &companies["ids"]["differs"]), (&json!({ "name": 1 }), &json!([changed])));
    assert_eq!(compared.counts("tl_events")["newer_there"], 1);
    assert_eq!(compared.counts("tl_users")["unreadable"], 1);
    assert_eq!(compared.0["absent"], json!(["tl_invoices", "tl_projects"]));
    let ended = stage.run(&["compat", "compare"]).await;
    for said in [
        "teamleader2db audit companies",
        "FIRST  tl_events: 1 newer there",
        "teamleader2db request events --full --wait",
        "FIRST  tl_users: 1 whose content is no object",
        "FIRST  tl_departments: empty there",
        "FIRST  not there: tl_invoices, tl_projects",
    ] {
        assert!(ended.out.contains(said), "{said}: {}", ended.out);
    }
    // Whoever names the tables says that there are no others.
    assert!(Compared::of(&stage, &["tl_contacts", "tl_companies", "tl_invoices=bills"]).await.is_ready());
    let ended = stage.run(&["compat", "compare", "tl_deals"]).await;
    assert!(ended.code == 2 && ended.err.contains("tl_companies, tl_contacts"), "{ended:?}");

    // The service syncs for the last time, and this program after it: whichever version it was.
    for stored in [Stored::ListItem, Stored::Detail] {
        the_service_has_synced(&old.pool, &stage, stored).await;
        // Lists and details differ about the language of users, and no list tells when a detail changes.
        stage.complete(json!({ "mode": "full", "refetch": true })).await;
        let compared = Compared::of(&stage, &[]).await;
        assert!(compared.is_ready(), "{}", compared.0);
        for (table, resource) in TABLES {
            assert_eq!(compared.table(table)["rows_there"], stage.simulator.count(resource), "{table}");
            assert!(
                stored == Stored::ListItem || compared.table(table)["equal"] == stage.simulator.count(resource),
                "{table}"
            );
        }
    }
}

#[tokio::test]
async fn a_comparison_is_not_fooled_by_when_a_row_was_read() {
    let stage = Stage::small().await;
    let pool = &stage.database.pool;
    let _worker = stage.worker().await;
    // The service syncs while this program is at another list, and meets what came meanwhile.
    stage.slow_down("users.list", 3000);
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 1).await;
    stage.simulator.add("contacts", 2);
    the_service_has_synced(pool, &stage, Stored::Detail).await;
    stage.completed(id).await;
    stage.simulator.clear_faults();
    let compared = Compared::of(&stage, &["tl_contacts"]).await;
    assert!(!compared.is_ready(), "{}", compared.0);
    assert_eq!(compared.counts("tl_contacts")["newer_there"], 2, "they are not called gone: {}", compared.0);

    // A record that was marked deleted here, and that the service has met since.
    stage.complete(json!({ "mode": "full" })).await;
    run(
        pool,
        format!(
            "update teamleader.record set deleted_at = now() where id = '{}'",
            stage.simulator.truth("contacts")[0].id
        ),
    )
    .await;
    the_service_has_synced(pool, &stage, Stored::Detail).await;
    assert_eq!(Compared::of(&stage, &["tl_contacts"]).await.counts("tl_contacts")["newer_there"], 1);

    // Many that were never here are more than what has come and gone.
    stage.complete(json!({ "mode": "full" })).await;
    run(
        pool,
        "insert into public.tl_users (tl_uuid, tl_content, updated_at)
         select gen_random_uuid(), '{\"id\": 1}', now() - interval '1 day' from generate_series(1, 21)"
            .to_owned(),
    )
    .await;
    let compared = Compared::of(&stage, &["tl_users"]).await;
    assert_eq!((compared.counts("tl_users")["unknown"].as_u64(), compared.is_ready()), (Some(21), false));
    run(pool, "delete from public.tl_users where tl_uuid in (select tl_uuid from public.tl_users where tl_content->>'id' = '1' limit 1)".to_owned()).await;
    assert!(Compared::of(&stage, &["tl_users"]).await.is_ready());

    // Another account's rows: each is unknown, and few enough to have come and gone.
    run(
        pool,
        "update public.tl_users set tl_uuid = gen_random_uuid(), updated_at = now() - interval '1 day'".to_owned(),
    )
    .await;
    run(pool, "delete from public.tl_users where id > (select min(id) + 4 from public.tl_users)".to_owned()).await;
    let ended = stage.run(&["compat", "compare", "tl_users"]).await;
    assert!(ended.code == 3 && ended.out.contains("not one of its records is here"), "{ended:?}");
    the_service_has_synced(pool, &stage, Stored::Detail).await;
    stage.complete(json!({ "mode": "full" })).await;

    // Details that are still to come.
    run(pool, "update teamleader.record set detail_at = null where resource = 'users'".to_owned()).await;
    let compared = Compared::of(&stage, &["tl_users"]).await;
    assert_eq!(compared.counts("tl_users")["lacks_detail"], stage.simulator.count("users"));
    assert!(!compared.is_ready());

    // Its own views are no tables of the service.
    run(pool, TABLES.map(|(table, _)| format!("drop table public.{table};")).concat()).await;
    assert_eq!(stage.run(&["compat", "views"]).await.code, 0);
    let ended = stage.run(&["compat", "compare"]).await;
    assert!(ended.code == 1 && ended.err.contains("is a view that `compat views` made"), "{ended:?}");
}

#[tokio::test]
async fn the_old_refresh_token_is_moved_and_works_once() {
    let mut stage = Stage::small().await.unauthorized();
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let pool = &stage.database.pool;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "resources": ["users"] })).await;
    run(
        pool,
        "create schema shared; create table shared.tl_auth (id serial primary key, code varchar, auth_token varchar, refresh_token varchar,
             created_at timestamptz not null default now(), updated_at timestamptz not null default now())"
            .to_owned(),
    )
    .await;
    let take = ["compat", "tokens", "--table", "shared.tl_auth"];
    let ended = stage.run(&["compat", "tokens"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("no table tl_auth") && ended.err.contains("--table"), "{ended:?}");
    let ended = stage.run(&take).await;
    assert!(ended.code == 1 && ended.err.contains("holds no refresh token"), "{ended:?}");

    run(
        pool,
        "insert into shared.tl_auth (code, auth_token, refresh_token) values ('used', 'lives an hour', 'revoked')"
            .to_owned(),
    )
    .await;
    let ended = stage.run(&take).await;
    assert!(ended.code == 1 && ended.err.contains("refused the token"), "{ended:?}");
    let left: String = stage.database.value("select refresh_token from shared.tl_auth").await;
    assert_eq!(left, "revoked", "what does not work is left where it was");
    stage.database.execute("delete from shared.tl_auth").await;

    let token = stage.simulator.grant().refresh_token;
    run(pool, format!("insert into shared.tl_auth (code, auth_token, refresh_token) values ('used', 'lives an hour', '{token}'), ('', '', 'older')")).await;
    let ended = stage.run(&take).await;
    assert!(ended.code == 1 && ended.err.contains("2 different refresh tokens"), "{ended:?}");
    stage.database.execute("delete from shared.tl_auth where refresh_token = 'older'").await;
    let ended = stage.run(&take).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("taken over: authorized by "), "{ended:?}");
    assert!(!ended.out.contains(&token) && !ended.err.contains(&token), "{ended:?}");
    let left: String = stage.database.value("select code || auth_token || refresh_token from shared.tl_auth").await;
    assert_eq!(left, "", "a copy of the service that was forgotten has nothing to use up");
    stage.completed(id).await;
    let counters = stage.simulator.counters();
    assert_eq!((counters.refreshes, counters.refused_refresh_reuse), (1, 0), "{counters:?}");

    // Whoever calls it again does not lose the pair that was made of it.
    run(pool, "update shared.tl_auth set refresh_token = 'another'".to_owned()).await;
    let ended = stage.run(&take).await;
    assert!(ended.code == 1 && ended.err.contains("is authorized already"), "{ended:?}");
    let left: String = stage.database.value("select refresh_token from shared.tl_auth").await;
    assert_eq!(left, "another", "what is not taken stays");
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "resources": ["users"] })).await;

    // A token of another Teamleader account is left alone, as long as its access token tells whose it is.
    stage.simulator.revoke_refresh_tokens();
    stage.simulator.expire_access_tokens();
    stage.request(json!({ "resources": ["users"] })).await;
    until("a person has to authorize", async || {
        let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
        (state == "reauthorization_required").then_some(())
    })
    .await;
    stage.simulator.set_account(Uuid::new_v4());
    let grant = stage.simulator.grant();
    run(
        pool,
        format!(
            "update shared.tl_auth set auth_token = '{}', refresh_token = '{}'",
            grant.access_token, grant.refresh_token
        ),
    )
    .await;
    let traded = stage.simulator.counters().refreshes;
    let ended = stage.run(&take).await;
    assert!(
        ended.code == 1 && ended.err.contains("another Teamleader account") && ended.err.contains("nothing was done"),
        "{ended:?}"
    );
    let left: String = stage.database.value("select refresh_token from shared.tl_auth").await;
    assert_eq!((left, stage.simulator.counters().refreshes), (grant.refresh_token, traded));
}
