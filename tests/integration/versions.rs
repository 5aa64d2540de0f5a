//! Accounts that answer as they did before: in the shapes of older versions of the API, and without ids that came
//! later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use teamleader_simulator::{Config, Quirks};
use uuid::Uuid;

use crate::stage::{Database, Stage, proxy_of_answers, with_records};
use crate::views::rows;

/// A version before those that renamed fields of meetings and subscriptions, and the options of custom fields.
const OLD: &str = "2021-09-01";

/// What the API of today has in these columns, and an older one under other names.
const RENAMED: [(&str, &str); 4] = [
    ("meetings", "title"),
    ("subscriptions", "note"),
    ("subscriptions", "billing_cycle_periodicity_unit"),
    ("custom_field_definition_options", "value"),
];

/// The number that a statement gives.
async fn count(database: &Database, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap()
}

/// How many rows of a view have a value in a column.
async fn filled(database: &Database, (view, column): (&str, &str)) -> i64 {
    count(database, &format!("select count({column}) from teamleader_views.{view}")).await
}

/// The fields of a record as schema `teamleader` has them.
async fn has(database: &Database, table: &str, field: &str) -> i64 {
    count(database, &format!("select count(*) from teamleader.{table} where content ? '{field}'")).await
}

#[tokio::test]
async fn columns_of_renamed_fields_are_filled_whatever_version_answers() {
    let resources = json!(["customFieldDefinitions", "meetings", "subscriptions"]);
    let mut filled_by = Vec::new();
    for version in [None, Some(OLD)] {
        let mut stage = Stage::small().await;
        if let Some(version) = version {
            stage.set("TEAMLEADER_API_VERSION", version);
        }
        let _worker = stage.worker().await;
        stage.complete(json!({ "mode": "full", "resources": resources })).await;
        // The old names are in the records, or the new ones: what is compared is not twice the same.
        let (old, new) =
            (has(&stage.database, "meetings", "name").await, has(&stage.database, "meetings", "title").await);
        assert_eq!((old > 0, new > 0), (version.is_some(), version.is_none()), "{old} and {new}");
        let mut counts = Vec::new();
        for column in RENAMED {
            counts.push(filled(&stage.database, column).await);
        }
        // Before, the location was a text and not an object: that is reported.
        let problems = "select * from teamleader_views.problems
            where view in ('meetings', 'subscriptions', 'custom_field_definition_options') and \"column\" <> 'location'";
        let problems = rows(&stage.database, problems).await;
        assert!(problems.is_empty(), "{problems:?}");
        filled_by.push(counts);
    }
    assert!(filled_by[0].iter().all(|filled| *filled > 0), "{filled_by:?}");
    assert_eq!(filled_by[0], filled_by[1]);
}

/// How many values each column of the views has, without the columns of custom fields.
async fn values(database: &Database) -> BTreeMap<String, i64> {
    let columns = "select table_name::text, string_agg(format('count(%1$I) as %1$I', column_name), ', ')
        from information_schema.columns where table_schema = 'teamleader_views' and table_name not like '%\\_wide'
            and table_name not in ('problems', 'custom_fields') group by 1";
    let views: Vec<(String, String)> = sqlx::query_as(columns).fetch_all(&database.pool).await.unwrap();
    let mut values = BTreeMap::new();
    for (view, counts) in views {
        let sql = format!("select to_jsonb(c) from (select {counts} from teamleader_views.{view}) as c");
        let counts: Value = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap();
        let counts = counts.as_object().unwrap().iter();
        values.extend(counts.map(|(column, count)| (format!("{view}.{column}"), count.as_i64().unwrap())));
    }
    values
}

/// The views read old names as well. What an older version does not say has no value: this is what the header is for.
#[tokio::test]
async fn an_integration_of_old_has_the_columns_that_its_version_left_out() {
    let mut values_of = Vec::new();
    for version in ["2018-06-30", "2023-09-26"] {
        let mut stage = Stage::of(60).await;
        // What the API takes an integration for that says nothing, and was made before any other version.
        stage.set("TEAMLEADER_API_VERSION", version);
        let _worker = stage.worker().await;
        stage.complete(json!({ "mode": "full" })).await;
        values_of.push(values(&stage.database).await);
    }
    let [old, now] = [&values_of[0], &values_of[1]];
    let of_old = |column: &str| old.get(column).copied().unwrap_or_default();
    let differing: BTreeMap<&str, (i64, i64)> = now
        .iter()
        .filter(|(column, values)| of_old(column) != **values && !column.contains("_with_deleted."))
        .map(|(column, values)| (column.as_str(), (of_old(column), *values)))
        .collect();
    // docs/views.md has the same table.
    let left_out = [
        ("companies.national_identification_number", (0, 30)),
        ("contacts.national_identification_number", (0, 60)),
        ("custom_field_definition_options.id", (0, 24)),
        ("customers.national_identification_number", (0, 90)),
        ("invoice_lines.tax_id", (0, 102)),
    ];
    assert_eq!(differing, left_out.into());
}

#[tokio::test]
async fn rows_of_records_that_get_an_id_go_by_it_and_keep_their_history() {
    let quirks = Quirks { discounts_without_ids: true, equal_discounts: true, ..Quirks::default() };
    let mut stage = Stage::with(Config { quirks: quirks.clone(), ..Config::default() }).await;
    stage.set("HISTORY", "on");
    let _worker = stage.worker().await;
    let full = json!({ "mode": "full", "resources": ["commercialDiscounts"] });
    let made = stage.complete(full.clone()).await.count("commercialDiscounts", "created");
    assert!(made > 0);

    stage.simulator.set_quirks(Quirks { discounts_without_ids: false, ..quirks });
    let before = stage.database.versions().await;
    stage.complete(json!({ "mode": "audit", "resources": ["commercialDiscounts"] })).await;
    assert_eq!(stage.database.versions().await, before, "an audit writes no row");
    let event = stage.complete(full).await;
    assert_eq!(event.resource("commercialDiscounts")["verified"], Value::Bool(true), "{}", event.body);
    assert_eq!(event.count("commercialDiscounts", "deleted"), 0, "{}", event.body);
    let truth: BTreeSet<Uuid> = stage.simulator.truth("commercialDiscounts").iter().map(|record| record.id).collect();
    let rows: Vec<Uuid> = sqlx::query_scalar("select id from teamleader.commercial_discounts")
        .fetch_all(&stage.database.pool)
        .await
        .unwrap();
    assert_eq!(rows.len(), truth.len(), "none is doubled");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), truth, "they go by the API's ids");
    let kept: i64 = stage
        .database
        .value(
            "select count(distinct h.id) from teamleader.record_history h
             join teamleader.commercial_discounts d on d.id = h.id where h.resource = 'commercialDiscounts'",
        )
        .await;
    assert_eq!(kept, made, "each has its earlier version");
}

#[tokio::test]
async fn custom_fields_have_columns_whatever_their_context_is_called() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.views_with_problems().await, "");
    for (context, view) in [
        ("sale", "deals_wide"),
        ("todo", "tasks_wide"),
        ("callback", "calls_wide"),
        ("meeting", "meetings_wide"),
        ("contact", "contacts_wide"),
    ] {
        let of_context = format!(
            "select count(*) from teamleader.custom_field_definitions where content ->> 'context' = '{context}'"
        );
        let columns = format!(
            "select count(distinct definition_id) from teamleader2db.custom_field_column c
             join pg_attribute a on a.attrelid = 'teamleader_views.{view}'::regclass and a.attname = c.name
             where c.view = '{view}'"
        );
        let (wanted, made): (i64, i64) =
            (count(&stage.database, &of_context).await, count(&stage.database, &columns).await);
        assert!(wanted > 0, "{context}");
        assert_eq!(made, wanted, "{view}");
    }
    let drift = event.resource("customFieldDefinitions")["drift"].to_string();
    for context in ["meeting_report", "pro_external_cost", "werkbonnen"] {
        assert!(drift.contains(&format!("the context {context} is of no resource")), "{drift}");
    }
}

#[tokio::test]
async fn tags_that_older_answers_give_in_lower_case_keep_their_rows() {
    let mut stage = Stage::small().await;
    stage.set("HISTORY", "on");
    let old = Arc::new(AtomicBool::new(true));
    let is_old = Arc::clone(&old);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        if endpoint != "tags.list" {
            return;
        }
        *answer.body_mut() = with_records(answer.body(), |record| {
            let tag: String = serde_json::from_str(record["tag"].get()).unwrap();
            let tag = format!("Été {tag}");
            let tag = if is_old.load(Ordering::Relaxed) { tag.to_lowercase() } else { tag };
            record.insert("tag".to_owned(), RawValue::from_string(json!(tag).to_string()).unwrap());
        });
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let full = json!({ "mode": "full", "resources": ["tags"] });
    let made = stage.complete(full.clone()).await.count("tags", "created");
    assert!(made > 0);

    old.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        let event = stage.complete(full.clone()).await;
        assert_eq!(event.resource("tags")["verified"], Value::Bool(true), "{}", event.body);
        assert_eq!((event.count("tags", "deleted"), event.count("tags", "created")), (0, 0), "{}", event.body);
    }
    let rows = "select count(*) from teamleader.tags where deleted_at is null and content ->> 'tag' like 'Été %'";
    assert_eq!(count(&stage.database, rows).await, made);
    let kept = "select count(distinct h.id) from teamleader.record_history h join teamleader.tags t on t.id = h.id
        where h.resource = 'tags' and h.content ->> 'tag' like 'été %'";
    assert_eq!(count(&stage.database, kept).await, made, "each has its earlier version");
}

#[tokio::test]
async fn nothing_stays_in_a_row_that_only_older_answers_have() {
    let mut stage = Stage::small().await;
    let newest = stage.set("TEAMLEADER_API_VERSION", OLD);
    let full = json!({ "mode": "full", "resources": ["meetings", "subscriptions", "customFieldDefinitions"] });
    let mut worker = stage.worker().await;
    stage.complete(full.clone()).await;
    assert!(has(&stage.database, "meetings", "name").await > 0);
    worker.terminate().await;
    stage.restore("TEAMLEADER_API_VERSION", newest);
    let _worker = stage.worker().await;
    stage.complete(full).await;
    // A view would show the old note of a subscription whose note was emptied since.
    for resource in ["meetings", "subscriptions", "customFieldDefinitions"] {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
}
