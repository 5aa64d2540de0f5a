//! Views with a column a custom field: they follow the definitions, and what others have built on them goes on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Database, Stage, storable};
use crate::views::{rows, run};

/// The column of contacts_wide that is of this definition.
async fn column_of(database: &Database, definition: Uuid, part: &str) -> String {
    let sql = "select name from teamleader2db.custom_field_column where view = 'contacts_wide' and definition_id = $1 and part = $2";
    let name: String = sqlx::query_scalar(sql).bind(definition).bind(part).fetch_one(&database.pool).await.unwrap();
    let sql = "select count(*) from pg_attribute where attrelid = 'teamleader_views.contacts_wide'::regclass and attname = $1";
    let there: i64 = sqlx::query_scalar(sql).bind(&name).fetch_one(&database.pool).await.unwrap();
    assert_eq!(there, 1, "{name}");
    name
}

async fn comment_of(database: &Database, column: &str) -> String {
    let sql = "select col_description(attrelid, attnum) from pg_attribute
         where attrelid = 'teamleader_views.contacts_wide'::regclass and attname = $1";
    sqlx::query_scalar(sql).bind(column).fetch_one(&database.pool).await.unwrap()
}

/// Asserts that each living contact's custom fields stand in their columns, as their definitions say what they are.
async fn assert_wide_is_equal(stage: &Stage) {
    let definitions: BTreeMap<Uuid, Value> = stage
        .simulator
        .truth("customFieldDefinitions")
        .iter()
        .map(|record| (record.id, serde_json::from_str(&storable(&record.content())).unwrap()))
        .collect();
    let mut columns = BTreeMap::new();
    for (id, definition) in definitions.iter().filter(|(_, definition)| definition["context"] == "contact") {
        columns.insert(*id, (column_of(&stage.database, *id, "value").await, definition["type"].as_str().unwrap()));
    }
    assert!(columns.len() > 10, "{columns:?}");
    let contacts = stage.simulator.truth("contacts");
    let shown = rows(&stage.database, "select * from teamleader_views.contacts_wide").await;
    assert_eq!(shown.len(), contacts.len());
    for contact in contacts {
        let row = shown.iter().find(|row| row["id"] == contact.id.to_string()).unwrap();
        let content: Value = serde_json::from_str(&storable(&contact.content())).unwrap();
        for (id, (column, kind)) in &columns {
            let fields = content["custom_fields"].as_array().unwrap();
            let value = fields.iter().find(|field| field["definition"]["id"] == id.to_string());
            let value = value.map_or(&Value::Null, |field| &field["value"]);
            let expected = match *kind {
                "money" => {
                    let currency = column_of(&stage.database, *id, "currency").await;
                    assert_eq!(row[&currency], value["currency"], "{currency}");
                    &value["amount"]
                }
                "company" | "contact" | "product" | "user" => &value["id"],
                _ => value,
            };
            let equal =
                if expected.is_number() { row[column].as_f64() == expected.as_f64() } else { row[column] == *expected };
            assert!(equal, "{column} ({kind}): {} and not {expected}", row[column]);
        }
    }
}

#[tokio::test]
async fn custom_fields_come_go_and_change_their_names_under_views_of_others() {
    let mut stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    assert_wide_is_equal(&stage).await;
    let sql = "select id from teamleader.custom_field_definitions where content ->> 'context' = 'contact' and content ->> 'type' = 'single_line'";
    let text: Uuid = stage.database.value(sql).await;
    let sql = "select id from teamleader.custom_field_definitions where content ->> 'context' = 'contact' and content ->> 'type' = 'boolean'";
    let flag: Uuid = stage.database.value(sql).await;
    let (old, gone) =
        (column_of(&stage.database, text, "value").await, column_of(&stage.database, flag, "value").await);
    run(&stage.database, &format!("create view public.mine as select id, \"{old}\" as what, \"{gone}\" as flag from teamleader_views.contacts_wide")).await;
    run(&stage.database, "create materialized view public.kept as select id, name from teamleader_views.companies")
        .await;
    let before = rows(&stage.database, "select * from public.mine order by id").await;

    // A new label, a definition that is gone, and some that are new.
    assert!(stage.simulator.update_record("customFieldDefinitions", text));
    assert!(stage.simulator.delete_record("customFieldDefinitions", flag));
    let added = stage.simulator.add("customFieldDefinitions", 3);
    stage.complete(json!({ "mode": "full", "allow_deletions": true })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    let new = column_of(&stage.database, text, "value").await;
    assert_ne!(new, old);
    assert!(comment_of(&stage.database, &new).await.contains(&format!("Formerly {old}.")));
    assert!(comment_of(&stage.database, &gone).await.ends_with("Deleted in Teamleader."));
    assert_eq!(rows(&stage.database, "select * from public.mine order by id").await, before);
    let sql =
        "select count(distinct definition_id) from teamleader2db.custom_field_column where definition_id = any($1)";
    let with_column: i64 = sqlx::query_scalar(sql).bind(&added).fetch_one(&stage.database.pool).await.unwrap();
    assert_eq!(with_column, added.len() as i64);
    assert_wide_is_equal(&stage).await;

    // Equal labels, long ones, and what would be SQL.
    let hostile = "\"; drop schema teamleader cascade; -- 'été' ".repeat(5);
    let sql = "update teamleader.custom_field_definitions set content = content || jsonb_build_object('label', case when id = $1 then 'Sector' else $2 end)
         where content ->> 'context' = 'contact' and id <> $3";
    sqlx::query(sql).bind(text).bind(&hostile).bind(flag).execute(&stage.database.pool).await.unwrap();
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    assert_eq!(column_of(&stage.database, text, "value").await, "cf_sector");
    let sql =
        "select name from teamleader2db.custom_field_column where view = 'contacts_wide' and label = $1 order by 1";
    let names: Vec<String> = sqlx::query_scalar(sql).bind(&hostile).fetch_all(&stage.database.pool).await.unwrap();
    assert!(
        names.len() > 10
            && names.iter().all(|name| name.len() <= 63 && name.starts_with("cf_drop_schema_teamleader_cascade_été")),
        "{names:?}"
    );
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert_wide_is_equal(&stage).await;
    assert_eq!(rows(&stage.database, "select * from public.mine order by id").await, before);

    // Somebody reads the view while it is to be changed: not now, and the run ends well.
    let sql =
        "update teamleader.custom_field_definitions set content = content || '{\"label\": \"Branche\"}' where id = $1";
    sqlx::query(sql).bind(text).execute(&stage.database.pool).await.unwrap();
    let mut reader = stage.database.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; select count(*) from teamleader_views.contacts_wide").execute(&mut *reader).await.unwrap();
    stage.complete(json!({ "resources": ["teams"] })).await;
    let problems = stage.database.views_with_problems().await;
    assert!(
        problems.contains("contacts_wide: ")
            && problems.contains("somebody reads it just now: the next sync tries again"),
        "{problems}"
    );
    let ended = stage.run(&["status"]).await;
    assert!(ended.out.contains("the view contacts_wide is not as it should be since "), "{ended:?}");
    // The label is what it was: nothing is wrong any more, though there is nothing to do.
    let relabel = "update teamleader.custom_field_definitions set content = content || jsonb_build_object('label', $2) where id = $1";
    sqlx::query(relabel).bind(text).bind("Sector").execute(&stage.database.pool).await.unwrap();
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    sqlx::raw_sql("commit").execute(&mut *reader).await.unwrap();
    drop(reader);
    sqlx::query(relabel).bind(text).bind("Branche").execute(&stage.database.pool).await.unwrap();
    // Erased is the record of the definition, and not the column.
    sqlx::query("update teamleader.custom_field_definitions set content = '{}' where id = $1")
        .bind(flag)
        .execute(&stage.database.pool)
        .await
        .unwrap();
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    assert_eq!(column_of(&stage.database, text, "value").await, "cf_branche");
    assert!(!stage.run(&["status"]).await.out.contains("contacts_wide"));
    assert!(comment_of(&stage.database, &gone).await.ends_with("(boolean). Deleted in Teamleader."));
    assert_eq!(rows(&stage.database, "select * from public.mine order by id").await, before);

    // A column cannot have another type while the view stands.
    let sql =
        "update teamleader.custom_field_definitions set content = content || '{\"type\": \"date\"}' where id = $1";
    sqlx::query(sql).bind(text).execute(&stage.database.pool).await.unwrap();
    stage.complete(json!({ "resources": ["teams"] })).await;
    let problems = stage.database.views_with_problems().await;
    assert!(problems.contains("cf_branche is text still and not date"), "{problems}");
    assert_eq!(rows(&stage.database, "select * from public.mine order by id").await, before);
    run(&stage.database, "drop view teamleader_views.contacts_wide cascade").await;
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    let kind: String =
        stage.database.value("select pg_typeof(cf_branche)::text from teamleader_views.contacts_wide limit 1").await;
    assert_eq!(kind, "date");

    // Something else has the name of a view: reported by the migration and after a sync, and fixed by hand.
    run(
        &stage.database,
        "drop view teamleader_views.deals_wide; create table teamleader_views.deals_wide (mine text);
         drop view teamleader_views.contact_emails; create table teamleader_views.contact_emails (mine text);
         comment on schema teamleader_views is 'of another version'",
    )
    .await;
    stage.complete(json!({ "resources": ["teams"] })).await;
    let problems = stage.database.views_with_problems().await;
    assert!(problems.contains("deals_wide: ") && problems.contains("something else has its name"), "{problems}");
    worker.terminate().await;
    let ended = stage.run(&["migrate"]).await;
    assert!(ended.code == 3 && ended.out.contains("the view contact_emails is not as it should be"), "{ended:?}");
    let ended = stage.run(&["status"]).await;
    assert!(ended.out.contains("the view contact_emails is not as it should be"), "{ended:?}");
    run(&stage.database, "drop table teamleader_views.deals_wide, teamleader_views.contact_emails").await;
    stage.set("MIGRATE_ON_START", "true");
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["teams"] })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    rows(&stage.database, "select * from teamleader_views.contact_emails").await;
    rows(&stage.database, "select * from public.kept").await;
}
