//! The move from the Python service: views like its tables, a comparison with them, and its refresh token.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::stage::{Database, Stage, storable};

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

/// The Python service has just synced: its tables are as Teamleader is.
async fn the_service_has_synced(pool: &PgPool, stage: &Stage) {
    for (table, resource) in TABLES {
        run(
            pool,
            format!(
                "drop table if exists public.{table};
                 create table public.{table} (id serial primary key, tl_uuid uuid not null unique, tl_content jsonb not null, tl_type varchar,
                     created_at timestamptz not null default now(), updated_at timestamptz not null default now())"
            ),
        )
        .await;
        let truth = stage.simulator.truth(resource);
        let ids: Vec<Uuid> = truth.iter().map(|record| record.id).collect();
        let contents: Vec<String> = truth.iter().map(|record| storable(&record.content())).collect();
        let sql = format!(
            "insert into public.{table} (tl_uuid, tl_content, tl_type) select id, content::jsonb, $3 from unnest($1, $2) as t (id, content)"
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
    the_service_has_synced(pool, &stage).await;

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
    // Those of one account are not quietly made those of another.
    let ended = stage.run(&["compat", "views", "--schema", "old", "--account", "another"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("for the account another"), "{ended:?}");
}

#[tokio::test]
async fn a_comparison_says_what_keeps_from_moving() {
    let mut stage = Stage::small().await;
    let old = Database::create().await;
    let _worker = stage.worker().await;
    the_service_has_synced(&old.pool, &stage).await;
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
    old.execute("drop table tl_projects").await;
    stage.complete(json!({ "mode": "full" })).await;
    let ended = stage.run(&["compat", "compare", "--json"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let compared: Value = serde_json::from_str(&ended.out).expect("JSON");
    let table = |name: &str| {
        let tables = compared["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {compared}")).clone()
    };
    let contacts = table("tl_contacts");
    let told: Vec<&Value> =
        ["older_there", "gone", "only_here", "newer_there", "differs"].map(|what| &contacts[what]).into();
    assert_eq!(told, [2, 1, 3, 0, 0], "{contacts}");
    assert_eq!(contacts["rows_here"], stage.simulator.count("contacts"), "{contacts}");
    assert_eq!(contacts["equal"].as_i64().unwrap(), contacts["rows_there"].as_i64().unwrap() - 3, "{contacts}");
    let companies = table("tl_companies");
    assert_eq!((&companies["differs"], &companies["fields"]), (&json!(1), &json!({ "name": 1 })), "{companies}");
    assert_eq!(companies["ids"]["differs"], json!([changed]), "{companies}");
    assert_eq!(table("tl_events")["newer_there"], 1);
    assert_eq!((&compared["absent"], &compared["ready"]), (&json!(["tl_projects"]), &json!(false)));
    let ended = stage.run(&["compat", "compare"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    for said in [
        "teamleader2db audit companies",
        "teamleader2db request events --wait",
        "Teamleader has them no more",
        "not yet",
    ] {
        assert!(ended.out.contains(said), "{said}: {}", ended.out);
    }

    // The service syncs for the last time, and this program after it.
    the_service_has_synced(&old.pool, &stage).await;
    stage.complete(json!({ "mode": "full" })).await;
    let ended = stage.run(&["compat", "compare"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("nothing keeps you from moving"), "{ended:?}");
}

#[tokio::test]
async fn the_old_refresh_token_is_moved_and_works_once() {
    let stage = Stage::small().await.unauthorized();
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

    let token = stage.simulator.grant().refresh_token;
    run(pool, format!("insert into shared.tl_auth (code, auth_token, refresh_token) values ('used', 'lives an hour', '{token}'), ('', '', 'older')")).await;
    let ended = stage.run(&take).await;
    assert!(ended.code == 1 && ended.err.contains("2 different refresh tokens"), "{ended:?}");
    stage.database.execute("delete from shared.tl_auth where refresh_token = 'older'").await;
    let ended = stage.run(&take).await;
    assert_eq!(ended.code, 0, "{ended:?}");
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
}
