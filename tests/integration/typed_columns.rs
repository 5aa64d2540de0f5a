//! Schema `teamleader_typed`: the columns that views read in place of documents, no matter who writes the records.

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::stage::{Database, Stage};
use crate::views::run;

/// Whether a view reads the typed columns.
async fn is_typed(database: &Database, view: &str) -> bool {
    let sql = format!("select pg_get_viewdef('teamleader_views.{view}'::regclass) like '%teamleader_typed%'");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap()
}

async fn count(database: &Database, table: &str) -> i64 {
    let sql = format!("select count(*) from {table}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn whoever_writes_a_record_writes_its_typed_columns() {
    let stage = Stage::small().await.of_everything();
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    drop(worker);
    let all = ["companies", "contacts", "deals", "invoices", "time_tracking", "contact_emails", "invoice_lines"];
    for table in all.iter().chain(&["company_custom_fields", "deal_phase_history", "meeting_attendees"]) {
        assert!(count(&stage.database, &format!("teamleader_typed.{table}")).await > 0, "{table}");
    }
    let one = |table: &str| format!("(select id from teamleader.{table} where deleted_at is null limit 1)");
    let copied = |table: &str, of: &str| {
        format!(
            "insert into teamleader.{table} (resource, account, id, content, list_hash)
             select resource, account, gen_random_uuid(), content, list_hash from teamleader.{of}"
        )
    };
    for sql in [
        "update teamleader.invoices set content = jsonb_set(content, '{status}', '\"odd\"')".to_owned(),
        "update teamleader.record set content = content - 'emails' where resource = 'contacts'".to_owned(),
        "update teamleader.contacts set content = content || '{\"tags\": [\"a\", \"b\"]}'".to_owned(),
        "update teamleader.record set content = '[1]' where resource = 'companies'".to_owned(),
        format!("update teamleader.record set deleted_at = now() where id = {}", one("invoices")),
        "update teamleader.invoices set deleted_at = null".to_owned(),
        format!("update teamleader.contacts set id = gen_random_uuid() where id = {}", one("contacts")),
        "update teamleader.record set account = 'other' where resource = 'deals'".to_owned(),
        "update teamleader.record set detail_at = null, changed_at = now()".to_owned(),
        copied("record", "contacts"),
        copied("invoices", "invoices"),
        format!("delete from teamleader.contacts where id = {}", one("contacts")),
        format!("delete from teamleader.record where id = {}", one("invoices")),
        "truncate teamleader.meetings".to_owned(),
        "delete from teamleader.record where resource = 'timeTracking'".to_owned(),
    ] {
        run(&stage.database, &sql).await;
        let differences = stage.database.untyped().await;
        assert!(differences.is_empty(), "{sql}: {differences:?}");
    }
    let odd = "select count(*) from teamleader_views.invoices where status = 'odd'";
    assert!(stage.database.value::<i64>(odd).await > 0);
    run(&stage.database, "truncate teamleader.record").await;
    for table in all {
        assert_eq!(count(&stage.database, &format!("teamleader_typed.{table}")).await, 0, "{table}");
    }
}

#[tokio::test]
async fn what_no_trigger_has_seen_is_named_and_written_anew() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let unseen = "set session_replication_role = replica;
        update teamleader.contacts set content = jsonb_set(content, '{status}', '\"unseen\"'), list_hash = '';
        delete from teamleader.invoices where id = (select min(id::text)::uuid from teamleader.invoices);
        set session_replication_role = origin";
    run(&stage.database, unseen).await;
    let named: Vec<String> = stage.database.untyped().await.into_iter().map(|(table, _)| table).collect();
    assert!(named.contains(&"contacts".to_owned()) && named.contains(&"invoices".to_owned()), "{named:?}");
    run(&stage.database, "select teamleader_typed.refill()").await;
    stage.database.assert_typed_columns().await;
    // A sync that meets the rows of a record that is not there writes them.
    run(&stage.database, unseen).await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_trigger_that_was_disabled_is_enabled_and_what_it_missed_is_written() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    worker.terminate().await;
    let change = "update teamleader.contacts set content = jsonb_set(content, '{status}', to_jsonb(gen_random_uuid()))";
    for (trigger, table) in [("typed_update", "teamleader.contacts"), ("typed_delete", "teamleader.record")] {
        run(&stage.database, &format!("alter table {table} disable trigger {trigger}; {change}")).await;
        let ended = stage.run(&["migrate"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(is_typed(&stage.database, "contacts_with_deleted").await);
        stage.database.assert_typed_columns().await;
        run(&stage.database, change).await;
        stage.database.assert_typed_columns().await;
    }
}

#[tokio::test]
async fn tables_are_filled_beside_a_sync_and_read_once_they_are_complete() {
    let stage = Stage::of(3_000).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // One of another version; one that was being filled when the program ended.
    let sql = "comment on table teamleader_typed.contacts is 'of another version';
        do $$ begin
            execute format('comment on table teamleader_typed.companies is %L',
                replace(obj_description('teamleader_typed.companies'::regclass, 'pg_class'), ' Complete.', ''));
        end $$;
        delete from teamleader_typed.companies
            where id in (select id from teamleader_typed.companies order by id desc limit 500)";
    run(&stage.database, sql).await;
    stage.simulator.update("contacts", 500);
    let sync = stage.request(json!({ "mode": "full" })).await;
    let ended = stage.run(&["migrate"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.completed(sync).await;
    assert!(is_typed(&stage.database, "contacts_with_deleted").await);
    assert!(is_typed(&stage.database, "companies_with_deleted").await);
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_view_that_reads_with_the_rights_of_its_reader_reads_documents() {
    let stage = Stage::small().await;
    if stage.database.value::<i32>("select current_setting('server_version_num')::integer").await < 150_000 {
        return;
    }
    let sql = "alter view teamleader_views.invoices_with_deleted set (security_invoker = true);
        comment on schema teamleader_views is 'of another version'";
    run(&stage.database, sql).await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    assert!(!is_typed(&stage.database, "invoices_with_deleted").await);
    assert!(is_typed(&stage.database, "contacts_with_deleted").await);
}
