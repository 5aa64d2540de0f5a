//! An audit says what the copy lacks or holds wrongly, and mends it only when told to.

use std::collections::BTreeSet;

use serde_json::json;
use teamleader_simulator::{ChangeKind, Config};

use crate::stage::{Event, RESOURCES, Stage};

/// Spoils the copy of an account of 60 in known ways: so many rows are missing, stale and wrong then.
async fn spoil(stage: &Stage) -> [(&'static str, [i64; 3]); 5] {
    let database = &stage.database;
    // Two rows are lost, and one is marked deleted though the record lives.
    let lost = "delete from teamleader.contacts where id in (select id from teamleader.contacts order by id limit 2)";
    assert_eq!(database.execute(lost).await, 2);
    let marked = "update teamleader.contacts set deleted_at = now() where id = (select max(id::text)::uuid from teamleader.contacts)";
    assert_eq!(database.execute(marked).await, 1);
    // Somebody wrote to a table; in a field that the list tells, too, and in one that only details have.
    let edited = "update teamleader.companies set content = content || '{\"name\": \"edited\"}'
        where id = (select min(id::text)::uuid from teamleader.companies)";
    assert_eq!(database.execute(edited).await, 1);
    let edited = "update teamleader.users set content = content || '{\"time_zone\": \"edited\"}'
        where id = (select min(id::text)::uuid from teamleader.users)";
    assert_eq!(database.execute(edited).await, 1);
    let edited = "update teamleader.events set content = content || '{\"title\": \"edited\"}'
        where id = (select min(id::text)::uuid from teamleader.events)";
    assert_eq!(database.execute(edited).await, 1);
    // The account went on: three changed invoices, and one that is gone.
    assert_eq!(stage.simulator.update("invoices", 3).len(), 3);
    let changed: BTreeSet<_> = stage.simulator.delete("invoices", 1).into_iter().collect();
    assert_eq!(changed.len(), 1);
    [
        ("contacts", [2, 0, 1]),
        ("companies", [0, 0, 1]),
        ("users", [0, 0, 1]),
        ("events", [0, 0, 1]),
        ("invoices", [0, 3, 1]),
    ]
}

fn found(event: &Event, resource: &str) -> [i64; 3] {
    ["missing", "stale", "wrong"].map(|what| event.count(resource, what))
}

#[tokio::test]
async fn an_audit_of_everything_finds_what_differs_and_writes_nothing() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let quiet = stage.complete(json!({ "mode": "audit" })).await;
    for resource in RESOURCES {
        assert_eq!(found(&quiet, resource), [0, 0, 0], "{resource}");
        assert_eq!(quiet.count(resource, "listed"), stage.simulator.count(resource) as i64, "{resource}");
    }
    let differing = spoil(&stage).await;
    let before = stage.database.versions().await;
    let cursors = "select string_agg(c::text, ' ' order by resource) from teamleader2db.cursor c";
    let cursors_before: String = stage.database.value(cursors).await;

    let event = stage.complete(json!({ "mode": "audit" })).await;
    for resource in RESOURCES {
        let expected = differing.iter().find(|(name, _)| *name == resource).map_or([0, 0, 0], |(_, counts)| *counts);
        assert_eq!(found(&event, resource), expected, "{resource}: missing, stale, wrong");
    }
    assert_eq!(stage.database.versions().await, before, "nothing is mended unasked");
    assert_eq!(stage.database.value::<String>(cursors).await, cursors_before, "an audit is no sync");
    assert_eq!(event.body["data"]["mode"], "audit");
}

#[tokio::test]
async fn an_audit_mends_what_it_finds_when_told_to() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let differing = spoil(&stage).await;
    let before = stage.database.versions().await;

    let event = stage.complete(json!({ "mode": "audit", "repair": true })).await;
    for (resource, expected) in differing {
        assert_eq!(found(&event, resource), expected, "{resource}: missing, stale, wrong");
    }
    assert_eq!(event.count("contacts", "created"), 2);
    assert_eq!(event.count("invoices", "deleted"), 1);
    stage.assert_copy_is_equal().await;
    let after = stage.database.versions().await;
    let written = after.iter().filter(|(key, version)| before.get(key) != Some(version)).count();
    let differed: i64 = differing.iter().flat_map(|(_, counts)| counts).sum();
    assert_eq!(written as i64, differed, "no other row is written");
    let event = stage.complete(json!({ "mode": "audit" })).await;
    assert!(RESOURCES.iter().all(|resource| found(&event, resource) == [0, 0, 0]), "{}", event.body);
}

#[tokio::test]
async fn a_sample_takes_few_requests_and_finds_what_is_common() {
    let counts = [("contacts", 1000), ("companies", 400), ("events", 300)];
    let counts = counts.map(|(resource, count)| (resource.to_owned(), count)).into();
    let stage = Stage::with(Config { counts, ..Config::default() }).await;
    let _worker = stage.worker().await;
    let synced = ["contacts", "companies", "events"];
    stage.complete(json!({ "resources": synced })).await;
    let edited =
        "update teamleader.record set content = content || '{\"title\": \"edited\", \"last_name\": \"edited\"}'
        where resource in ('contacts', 'events')";
    assert_eq!(stage.database.execute(edited).await, 1300);
    assert_eq!(stage.database.execute("delete from teamleader.companies").await, 400);
    stage.simulator.reset_counters();

    let ended = stage.run(&["audit", "contacts", "companies", "events", "--sample", "100", "--json"]).await;
    assert_eq!(ended.code, 3, "something is missing and wrong: {ended:?}");
    let event: serde_json::Value = serde_json::from_str(&ended.out).expect("the event");
    let found = |resource: &str, what: &str| event["data"]["resources"][resource][what].as_i64().unwrap();
    assert!((100..=200).contains(&found("events", "wrong")), "those of a page, and 100 rows: {event}");
    assert_eq!(found("contacts", "wrong"), 100, "100 details");
    assert_eq!(found("companies", "missing"), 100);
    let asked = stage.simulator.counters().requests;
    assert_eq!(asked["contacts.list"], 2, "a page, and 100 rows by id");
    assert_eq!(asked["contacts.info"], 100);
    assert_eq!(asked["companies.list"], 1, "there is no row to ask for");
}

#[tokio::test]
async fn the_command_shows_a_table_and_leaves_the_deletion_guard_on() {
    let stage = Stage::of(100).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let clean = stage.run(&["audit", "contacts"]).await;
    assert_eq!(clean.code, 0, "{clean:?}");
    assert!(clean.out.lines().next().unwrap().contains("missing"), "{}", clean.out);

    assert_eq!(stage.simulator.delete("contacts", 30).len(), 30);
    stage.simulator.change("contacts", ChangeKind::Touch, 1);
    let found = stage.run(&["audit", "contacts"]).await;
    assert_eq!(found.code, 3, "{found:?}");
    let guarded = stage.run(&["audit", "contacts", "--repair"]).await;
    assert_eq!(guarded.code, 1, "{guarded:?}");
    assert!(guarded.out.contains("30 of 100") && guarded.out.contains("allow_deletions"), "{}", guarded.out);
    assert!(stage.database.deleted("contacts").await.is_empty());
    let mended = stage.run(&["audit", "contacts", "--repair", "--allow-deletions"]).await;
    assert_eq!(mended.code, 0, "{mended:?}");
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    assert_eq!(stage.run(&["audit", "contacts"]).await.code, 0);
}
