//! Versions of records are kept where that was asked for; what is old goes, and the content of deleted rows if told so.

use serde_json::json;
use teamleader_simulator::ChangeKind;

use crate::stage::{Stage, until};

#[tokio::test]
async fn each_changed_version_is_kept_with_its_interval() {
    let mut stage = Stage::small().await;
    stage.set("HISTORY", "on");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["companies", "contacts"] })).await;
    // A list item first and its detail then are two versions of a row; nothing was before them.
    let first: i64 = stage.database.value("select count(*) from teamleader.record_history").await;
    let rows = stage.database.rows("contacts").await + stage.database.rows("companies").await;
    assert_eq!(first, rows, "the row before its detail came");
    stage.complete(json!({ "mode": "full", "resources": ["companies", "contacts"] })).await;
    assert_eq!(stage.database.value::<i64>("select count(*) from teamleader.record_history").await, first);

    let changed = stage.simulator.update("contacts", 2);
    let gone = stage.simulator.delete("companies", 1);
    stage.complete(json!({ "mode": "full", "resources": ["companies", "contacts"] })).await;
    let versions = "select count(*) from teamleader.record_history where id = $1 and valid_from < valid_to";
    let count =
        async |id| sqlx::query_scalar::<_, i64>(versions).bind(id).fetch_one(&stage.database.pool).await.unwrap();
    assert!(count(changed[0]).await >= 2, "its first detail is written over");
    assert_eq!(count(gone[0]).await, 2, "it lived until it was marked deleted");
    let gaps: i64 = stage
        .database
        .value(
            "select count(*) from (
                 select valid_to,
                     coalesce(lead(valid_from) over w,
                         (select changed_at from teamleader.record r where r.id = h.id)) as next
                 from teamleader.record_history h window w as (partition by id order by valid_from)) as v
             where next is distinct from valid_to",
        )
        .await;
    assert_eq!(gaps, 0, "the intervals meet, and end where the row begins");
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}

#[tokio::test]
async fn without_being_told_to_no_version_is_kept() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["contacts"] })).await;
    stage.simulator.update("contacts", 3);
    stage.complete(json!({ "resources": ["contacts"] })).await;
    assert_eq!(stage.database.value::<i64>("select count(*) from teamleader.record_history").await, 0);
}

#[tokio::test]
async fn what_is_old_goes_and_the_content_of_deleted_rows_is_erased() {
    let mut stage = Stage::small().await;
    stage.set("HISTORY", "on");
    let mut worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.completed(id).await;
    let gone = stage.simulator.delete("contacts", 2);
    stage.simulator.change("companies", ChangeKind::Update, 2);
    stage.complete(json!({ "mode": "full" })).await;
    worker.terminate().await;
    // One of the two has been deleted for long; so has a run been finished, and a version been written over.
    let aged = "update teamleader.contacts set deleted_at = now() - interval '40 days'
        where id = (select min(id::text)::uuid from teamleader.contacts where deleted_at is not null)";
    assert_eq!(stage.database.execute(aged).await, 1);
    let versions = "select count(*) from teamleader.record_history where resource = 'companies'";
    let kept_before: i64 = stage.database.value(versions).await;
    let aged = "update teamleader.record_history set valid_from = now() - interval '120 days',
        valid_to = now() - interval '100 days'
        where (resource, id, valid_from) = (select resource, id, valid_from from teamleader.record_history
                                            where resource = 'companies' order by valid_from limit 1)";
    assert_eq!(stage.database.execute(aged).await, 1);
    let aged = "update teamleader2db.sync_run set finished_at = now() - interval '100 days'
        where started_at = (select min(started_at) from teamleader2db.sync_run)";
    assert_eq!(stage.database.execute(aged).await, 1);

    stage.set("ERASE_DELETED_AFTER", "30d");
    let _worker = stage.worker().await;
    let erased = "select count(*) from teamleader.contacts where deleted_at is not null and content = '{}'";
    until("the content is erased", async || (stage.database.value::<i64>(erased).await == 1).then_some(())).await;
    let left = "select count(*) from teamleader.contacts where deleted_at is not null and content <> '{}'";
    assert_eq!(stage.database.value::<i64>(left).await, 1, "the other is not old enough");
    let of_erased =
        "select count(*) from teamleader.record_history h join teamleader.contacts c using (id) where c.content = '{}'";
    assert_eq!(stage.database.value::<i64>(of_erased).await, 0, "nor is it in any version");
    until("the old version is gone", async || {
        (stage.database.value::<i64>(versions).await == kept_before - 1).then_some(())
    })
    .await;
    assert_eq!(stage.database.run_status(id).await, None, "the old run is gone");
    assert_eq!(stage.database.rows("contacts").await as usize, stage.simulator.count("contacts") + gone.len());
    // A run over the erased rows brings nothing back.
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.value::<i64>(erased).await, 1);
    stage.assert_copy_is_equal().await;
}
