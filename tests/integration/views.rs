//! Schema `teamleader_views`: what the records hold, in typed columns, whatever they hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row};
use uuid::Uuid;

use crate::stage::{Database, Stage, all_resources};

/// A column of a view: its name, its type, and where its value lies in the record, as its comment says.
struct Column {
    name: String,
    kind: String,
    path: Option<String>,
}

pub async fn run(database: &Database, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&database.pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The rows that a statement gives, as JSON.
pub async fn rows(database: &Database, sql: &str) -> Vec<Value> {
    let sql = format!("select to_jsonb(q) from ({sql}) q");
    sqlx::query_scalar(AssertSqlSafe(sql.clone()))
        .fetch_all(&database.pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The columns of all views.
async fn columns(database: &Database) -> BTreeMap<String, Vec<Column>> {
    let sql = "select c.relname::text, a.attname::text, format_type(a.atttypid, -1), col_description(c.oid, a.attnum)
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
         where c.relnamespace = 'teamleader_views'::regnamespace order by c.oid, a.attnum";
    let mut columns = BTreeMap::<String, Vec<Column>>::new();
    for row in sqlx::query(sql).fetch_all(&database.pool).await.unwrap() {
        let (view, name): (String, String) = (row.get(0), row.get(1));
        let comment: Option<String> = row.get(3);
        let comment = comment.unwrap_or_else(|| panic!("{view}.{name} has no comment"));
        // "total.payable.amount. Only the detail has it."
        let path = comment
            .split(' ')
            .next()
            .unwrap()
            .strip_suffix('.')
            .filter(|path| path.starts_with(|c: char| c.is_ascii_lowercase()));
        columns.entry(view).or_default().push(Column { name, kind: row.get(2), path: path.map(str::to_owned) });
    }
    columns
}

/// The value at a path; null where there is none.
fn at<'a>(record: &'a Value, path: &str) -> &'a Value {
    record.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
}

/// The paths of all values that are not within a list, and of all lists.
fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        Value::Null => {}
        _ => _ = found.insert(path.to_owned()),
    }
}

/// Whether what a column shows is what the record holds.
fn is_shown(kind: &str, shown: &Value, held: &Value) -> bool {
    match (kind, held) {
        (_, Value::Null) => shown.is_null(),
        ("timestamp with time zone", Value::String(held)) => {
            let shown = shown.as_str().and_then(|shown| chrono::DateTime::parse_from_rfc3339(shown).ok());
            shown.is_some_and(|shown| Ok(shown) == chrono::DateTime::parse_from_rfc3339(held))
        }
        ("timestamp without time zone", Value::String(held)) => {
            shown.as_str().is_some_and(|shown| held.replace(' ', "T").starts_with(shown))
        }
        ("text", Value::Array(_) | Value::Object(_)) => {
            shown.as_str().is_some_and(|shown| serde_json::from_str::<Value>(shown).is_ok_and(|shown| shown == *held))
        }
        ("uuid" | "date" | "text" | "text[]" | "boolean" | "jsonb", held) => shown == held,
        ("numeric", Value::Number(held)) => shown.as_f64() == held.as_f64(),
        _ => false,
    }
}

/// What the comment of a view says that it shows the elements of: `grouped_lines` of `invoices`.
async fn lists(database: &Database) -> Vec<(String, String, String)> {
    let sql = "select relname::text, split_part(obj_description(oid), ' ', 4), split_part(obj_description(oid), ' ', 9)
         from pg_class where relnamespace = 'teamleader_views'::regnamespace and obj_description(oid) like 'The elements of %'";
    sqlx::query_as(sql).fetch_all(&database.pool).await.unwrap()
}

#[tokio::test]
async fn every_value_of_every_record_is_in_a_column_of_a_view() {
    let stage = Stage::small().await.of_everything();
    let _worker = stage.worker().await;
    // An account has projects of one kind; what was read of the other stays.
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.set_projects_v2(true);
    stage.complete(json!({ "mode": "full" })).await;
    let (columns, lists) = (columns(&stage.database).await, lists(&stage.database).await);
    let sql = "select resource, \"view\" from teamleader_views.freshness where last_success_at is not null";
    let resources: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&stage.database.pool).await.unwrap();
    assert_eq!(resources.len(), all_resources().len());
    let mut compared = 0;
    for (resource, view) in &resources {
        let known: BTreeSet<&str> = columns[view].iter().filter_map(|column| column.path.as_deref()).collect();
        let lists: BTreeSet<&str> =
            lists.iter().filter(|(_, _, of)| of == resource).map(|(_, path, _)| path.as_str()).collect();
        let sql = format!(
            "select v.*, r.content as _content from teamleader_views.{view} v join teamleader.record r using (account, id)
             where r.resource = '{resource}'"
        );
        let shown = rows(&stage.database, &sql).await;
        assert!(!shown.is_empty(), "{view}");
        assert_eq!(shown.len() as i64, stage.database.rows(resource).await, "{view}");
        for row in &shown {
            let content = &row["_content"];
            compared += compare(view, &columns[view], row, content);
            let mut held = BTreeSet::new();
            leaves(content, "", &mut held);
            for path in held {
                let (of, name) = path.rsplit_once('.').unwrap_or(("", &path));
                // What a reference is to goes without saying where it is always the same.
                let is_reference = name == "type" && known.contains(format!("{of}.id").as_str());
                let is_elsewhere = ["id", "custom_fields"].contains(&path.as_str()) || lists.contains(path.as_str());
                assert!(
                    known.contains(path.as_str()) || is_elsewhere || is_reference,
                    "no column of {view} shows {path}"
                );
            }
        }
    }
    for (view, path, resource) in &lists {
        compared += compare_elements(&stage.database, view, path, resource, &columns[view]).await;
    }
    assert!(compared > 7000, "{compared}");
    let problems = rows(&stage.database, "select * from teamleader_views.problems").await;
    assert!(problems.is_empty(), "{problems:?}");
}

/// Asserts that the columns show what is held, and gives their number.
fn compare(view: &str, columns: &[Column], row: &Value, held: &Value) -> usize {
    let paths = columns.iter().filter_map(|column| Some((column, column.path.as_ref()?)));
    for (column, path) in paths.clone() {
        let (shown, held) = (&row[&column.name], at(held, path));
        assert!(is_shown(&column.kind, shown, held), "{view}.{} shows {shown} of {held}", column.name);
    }
    paths.count()
}

async fn compare_elements(database: &Database, view: &str, path: &str, resource: &str, columns: &[Column]) -> usize {
    let parent = columns[1].name.as_str();
    let sql = format!("select id, content from teamleader.record where resource = '{resource}' and deleted_at is null");
    let mut held = BTreeMap::new();
    // What lies in an element of another list.
    let outer = match path {
        "line_items" => Some("grouped_lines"),
        "periods" => Some("schedule"),
        _ => None,
    };
    for record in rows(database, &sql).await {
        let groups = match outer {
            Some(outer) => at(&record["content"], outer).clone(),
            None => json!([record["content"]]),
        };
        for (group, of) in groups.as_array().into_iter().flatten().enumerate() {
            for (position, element) in at(of, path).as_array().into_iter().flatten().enumerate() {
                let group = if outer.is_some() { json!(group + 1) } else { Value::Null };
                held.insert((record["id"].to_string(), group.to_string(), position + 1), element.clone());
            }
        }
    }
    let shown = rows(database, &format!("select * from teamleader_views.{view}")).await;
    assert_eq!(shown.len(), held.len(), "{view}");
    let mut compared = 0;
    for row in &shown {
        let key =
            (row[parent].to_string(), row["group_position"].to_string(), row["position"].as_u64().unwrap() as usize);
        let element = held.get(&key).unwrap_or_else(|| panic!("{view} shows {row}"));
        if element.is_object() {
            // What is told of the group lies in it.
            let of_element: Vec<&Column> = columns.iter().filter(|column| !column.name.starts_with("group_")).collect();
            for column in of_element {
                let Some(path) = &column.path else { continue };
                let (shown, held) = (&row[&column.name], at(element, path));
                assert!(is_shown(&column.kind, shown, held), "{view}.{} shows {shown} of {held}", column.name);
                compared += 1;
            }
        } else {
            assert!(columns.iter().any(|column| row[&column.name] == *element), "{view} shows {row} of {element}");
            compared += 1;
        }
    }
    compared
}

/// JSON of every kind, so that each field meets those that it is not.
fn odd_values() -> Vec<Value> {
    let huge = "é".repeat(100_000);
    let mut deep = json!("deep");
    for _ in 0..500 {
        deep = json!([{ "a": deep }]);
    }
    vec![
        Value::Null,
        json!(""),
        json!({}),
        json!([]),
        json!(true),
        json!(-0.0),
        json!("2023-02-30"),
        json!("2023-02-31 10:00:00"),
        json!("2017-04-26T10:01:4912Z"),
        json!("2017-04-26T10:01:49x12Z"),
        json!("0001-01-01T00:00:00+14:00"),
        json!("9999-12-31T23:59:59-14:59"),
        json!("2023-1-1"),
        json!("20230-01-1"),
        json!("0000-00-00"),
        json!("99999-01-01"),
        json!("2023-02-28T24:61:00+00:00"),
        json!("2023-02-28T10:00:00+99:99"),
        json!("--------------------------------"),
        json!("2a39e420-3ba3-4384-8024-fa702ef99c9g"),
        json!("2a39e420-3ba3-4384-8024--fa702ef99c9"),
        json!("' or 1=1; --\u{1}\u{fffd}\n\t\\"),
        json!([null, 1, "x", [], {}]),
        json!([[["x"]]]),
        json!({ "type": 1, "id": 2, "amount": "x", "currency": [], "definition": 3, "value": null }),
        json!([{ "type": {}, "id": [], "email": 5, "number": {}, "definition": { "id": "x" }, "value": { "amount": [] } }]),
        deep,
        json!(huge),
        serde_json::from_str(&format!("1{}", "0".repeat(300))).unwrap(),
    ]
}

#[tokio::test]
async fn the_views_answer_whatever_a_record_holds() {
    let stage = Stage::small().await.of_everything();
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    for resource in ["contacts", "invoices", "customFieldDefinitions", "users", "timeTracking", "projects-v2/projects"]
    {
        for value in odd_values() {
            // Every field of one record is this; another is nothing but this.
            let sql = "insert into teamleader.record (resource, account, id, content, list_hash)
                 select resource, account, gen_random_uuid(),
                     (select jsonb_object_agg(key, $2::jsonb) from jsonb_each(content)), ''::bytea from (
                     select * from teamleader.record where resource = $1 and list_hash <> '' order by id limit 1) one
                 union all select $1, 'test', gen_random_uuid(), $2::jsonb, ''";
            sqlx::query(sql).bind(resource).bind(&value).execute(&stage.database.pool).await.unwrap();
        }
    }
    // With such definitions, too, the run ends well.
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    let views: Vec<String> = columns(&stage.database).await.into_keys().collect();
    assert!(views.len() > 180, "{}", views.len());
    // What a backslash in a text, a date and a time mean depends on these.
    let mut session = sqlx::PgConnection::connect(&stage.database.url).await.unwrap();
    let settings =
        "set standard_conforming_strings = off; set datestyle = 'sql, dmy'; set timezone = 'Pacific/Chatham'";
    sqlx::raw_sql(settings).execute(&mut session).await.unwrap();
    for view in &views {
        // Whole rows, so that no column goes unread.
        let sql = format!("select count(*), sum(length(v::text)) from teamleader_views.{view} v");
        sqlx::query(AssertSqlSafe(sql.clone()))
            .fetch_one(&mut session)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let sql =
        "select \"column\", sum(\"values\")::integer from teamleader_views.problems where view = 'contacts' group by 1";
    let problems: BTreeMap<String, i32> =
        sqlx::query_as(sql).fetch_all(&stage.database.pool).await.unwrap().into_iter().collect();
    // All but null.
    let odd = odd_values().len() as i32 - 1;
    assert_eq!(problems["birthdate"], odd);
    assert_eq!(problems["added_at"], odd);
    assert_eq!(problems["marketing_mails_consent"], odd - 1, "one is a boolean");
    assert_eq!(
        problems["emails"],
        odd_values().iter().filter(|value| !value.is_array() && !value.is_null()).count() as i32
    );
    assert_eq!(problems["custom_fields"], problems["emails"]);
    // Values of each type that are of another.
    let sql =
        "select count(*), count(distinct type) from teamleader_views.contact_custom_fields where type is not null";
    let (values, types): (i64, i64) = sqlx::query_as(sql).fetch_one(&stage.database.pool).await.unwrap();
    assert!(types > 10, "{types}");
    let sql = "update teamleader.contacts set content = jsonb_set(content, '{custom_fields}',
             (select jsonb_agg(jsonb_set(field, '{value}', '{\"no\": [\"such thing\"]}')) from jsonb_array_elements(content -> 'custom_fields') field))
         where id in (select contact_id from teamleader_views.contact_custom_fields where type is not null)";
    run(&stage.database, sql).await;
    let sql = "select \"values\" from teamleader_views.problems where view = 'contact_custom_fields' and \"column\" = 'value'";
    assert_eq!(stage.database.value::<i64>(sql).await, values);
    let sql =
        "select \"values\" from teamleader_views.problems where view = 'contact_emails' and \"column\" = 'emails'";
    // `[null, 1, "x", [], {}]` and `[[["x"]]]`.
    assert_eq!(stage.database.value::<i64>(sql).await, 5, "elements that are no objects");
}

#[tokio::test]
async fn readers_have_a_role_that_sees_the_records_and_nothing_of_the_machinery() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let mut reader = stage.database.pool.acquire().await.unwrap();
    sqlx::raw_sql("set role teamleader_reader").execute(&mut *reader).await.unwrap();
    let views: Vec<String> = columns(&stage.database).await.into_keys().collect();
    for relation in views
        .iter()
        .map(|view| format!("teamleader_views.{view}"))
        .chain(["teamleader.contacts".to_owned(), "teamleader.record".to_owned()])
    {
        let sql = format!("select from {relation} limit 1");
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut *reader)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    for sql in [
        "select from teamleader2db.oauth_token",
        "select from teamleader2db.view_problem",
        "select from teamleader_typed.contacts",
        "delete from teamleader.contacts",
        "update teamleader_views.teams_with_deleted set account = ''",
        "create view teamleader_views.mine as select 1",
    ] {
        let error = sqlx::raw_sql(sql).execute(&mut *reader).await.expect_err(sql);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{sql}");
    }
    sqlx::raw_sql("reset role").execute(&mut *reader).await.unwrap();
}

#[tokio::test]
async fn a_view_of_an_earlier_version_gains_columns_and_keeps_its_own() {
    let stage = Stage::small().await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    run(
        &stage.database,
        "drop view teamleader_views.contacts, teamleader_views.teams cascade;
         create view teamleader_views.contacts as
             select last_name, id from teamleader_views.contacts_with_deleted where _deleted_at is null;
         create view public.mine as select * from teamleader_views.contacts;
         create view teamleader_views.teams as select 1 as of_a_newer_version;
         comment on schema teamleader_views is 'of another version'",
    )
    .await;
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    let sql = "select string_agg(attname, ' ' order by attnum) from pg_attribute where attrelid = 'teamleader_views.contacts'::regclass and attnum < 5";
    assert_eq!(stage.database.value::<String>(sql).await, "last_name id account first_name");
    let mine = stage.database.value::<i64>("select count(last_name) from public.mine").await;
    assert_eq!(mine, stage.simulator.count("contacts") as i64);
    let told = event.body["data"]["view_problems"].to_string();
    assert!(told.contains("teams: it has a column that this version does not know, of_a_newer_version"), "{told}");
    assert_eq!(event.body["data"]["view_problems"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(stage.database.value::<i32>("select of_a_newer_version from teamleader_views.teams").await, 1);
    let ended = stage.run(&["migrate"]).await;
    assert!(ended.code == 3 && ended.out.contains("the view teams is not as it should be"), "{ended:?}");
    run(&stage.database, "drop view teamleader_views.teams cascade").await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let event = stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(event.body["data"]["view_problems"], Value::Null, "{}", event.body);
}

#[tokio::test]
async fn a_schema_that_was_dropped_is_made_anew_and_what_a_newer_version_made_is_left_alone() {
    let stage = Stage::small().await;
    // What a deployment does that gives nothing to everybody.
    run(
        &stage.database,
        "alter default privileges revoke execute on functions from public; drop schema teamleader_views cascade",
    )
    .await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(event.body["data"]["view_problems"], Value::Null, "{}", event.body);
    assert_eq!(stage.database.views_with_problems().await, "");
    let count = "select count(*) from teamleader_views.contacts_wide";
    assert_eq!(stage.database.value::<i64>(count).await, stage.simulator.count("contacts") as i64);
    let mut reader = sqlx::PgConnection::connect(&stage.database.url).await.unwrap();
    let sql = "set role teamleader_reader; select sum(length(c::text)) from teamleader_views.contacts c";
    sqlx::raw_sql(sql).execute(&mut reader).await.unwrap();

    // Somebody's options and rights stay as they are, while the views change.
    run(
        &stage.database,
        "alter view teamleader_views.contacts set (security_barrier = true);
         alter view teamleader_views.contacts_wide set (security_barrier = true);
         revoke select on teamleader_views.contacts_wide from teamleader_reader;
         update teamleader.custom_field_definitions set content = content || '{\"label\": \"Anders\"}' where content ->> 'context' = 'contact';
         insert into teamleader2db.view_problem (view, problem) values ('of_a_version_before', 'it is not there any more');
         comment on schema teamleader_views is 'Made by teamleader2db 0.0.9, definition 0.'",
    )
    .await;
    let ended = stage.run(&["migrate"]).await;
    assert_eq!((ended.code, ended.out.trim()), (0, "the schema is up to date"), "{ended:?}");
    let event = stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(event.body["data"]["view_problems"], Value::Null, "{}", event.body);
    assert_eq!(stage.database.views_with_problems().await, "");
    let sql = "select count(*) from teamleader_views.contacts_wide where cf_anders is not null";
    assert!(stage.database.value::<i64>(sql).await > 0, "it has the new names");
    let options = "select string_agg(reloptions::text, ' ') from pg_class where reloptions is not null
         and oid in ('teamleader_views.contacts'::regclass, 'teamleader_views.contacts_wide'::regclass)";
    assert_eq!(stage.database.value::<String>(options).await, "{security_barrier=true} {security_barrier=true}");
    let may = "select has_table_privilege('teamleader_reader', 'teamleader_views.contacts_wide', 'select')";
    assert!(!stage.database.value::<bool>(may).await);

    // Rolled back: what the newer version has made stays.
    let newer = "Records. Made by teamleader2db 99.0.0, definition 0.";
    run(
        &stage.database,
        &format!(
            "comment on schema teamleader_views is '{newer}';
             create or replace view teamleader_views.account as
                 select account, teamleader_id, authorized_by, time_zone, 1 as of_a_newer_version
                 from (select account, null::uuid as teamleader_id, ''::text as authorized_by, ''::text as time_zone from teamleader2db.oauth_token) a"
        ),
    )
    .await;
    let ended = stage.run(&["migrate"]).await;
    assert_eq!((ended.code, ended.out.trim()), (0, "the schema is up to date"), "{ended:?}");
    let comment = "select obj_description('teamleader_views'::regnamespace, 'pg_namespace')";
    assert_eq!(stage.database.value::<String>(comment).await, newer);
    assert_eq!(stage.database.value::<i32>("select of_a_newer_version from teamleader_views.account").await, 1);
}

#[tokio::test]
async fn whoever_reads_a_view_on_a_view_needs_no_right_to_what_it_stands_on() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    let role = format!("t_{}", Uuid::new_v4().simple());
    run(
        &stage.database,
        &format!(
            "create role {role}; create view public.mine as select * from teamleader_views.contacts_wide;
             create view public.history as select * from teamleader_views.deal_phase_history; grant usage on schema public to {role};
             grant select on public.mine, public.history to {role}"
        ),
    )
    .await;
    // A session in which no function of the schema has run yet.
    let mut session = sqlx::PgConnection::connect(&stage.database.url).await.unwrap();
    let sql = format!(
        "set role {role}; select sum(length(m::text)) from public.mine m; select sum(length(h::text)) from public.history h"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
    run(&stage.database, &format!("drop owned by {role}; drop role {role}")).await;
}
