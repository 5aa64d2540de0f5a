//! Fields that come and go: a row has those that the API gave last, whichever endpoint gave them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::json;
use serde_json::value::RawValue;

use crate::stage::{Fields, Stage, proxy_of_answers, with_records};

/// Fields that are put into records, by endpoint.
type Added = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

/// Puts fields into records, and takes documented ones away where the name begins with `-`.
async fn meddle(stage: &mut Stage) -> Added {
    let added = Added::default();
    let fields = Arc::clone(&added);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        let mine: Vec<&str> =
            fields.lock().unwrap().iter().filter(|(at, _)| *at == endpoint).map(|(_, name)| *name).collect();
        if !mine.is_empty() && answer.status().is_success() {
            *answer.body_mut() = with_records(answer.body(), |record: &mut Fields| {
                for name in &mine {
                    match name.strip_prefix('-') {
                        Some(name) => drop(record.remove(name)),
                        None => {
                            record.insert((*name).to_owned(), RawValue::from_string("1".to_owned()).unwrap());
                        }
                    }
                }
            });
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    added
}

/// Which of these fields the rows of a resource have, if all have the same.
async fn have(stage: &Stage, resource: &str, names: &[&str]) -> BTreeSet<String> {
    let sql = "select distinct array(select f from unnest($2::text[]) f where content ? f) from teamleader.record
               where resource = $1 and deleted_at is null";
    let found: Vec<Vec<String>> =
        sqlx::query_scalar(sql).bind(resource).bind(names).fetch_all(&stage.database.pool).await.unwrap();
    assert_eq!(found.len(), 1, "{resource}: {found:?}");
    found.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_field_that_the_api_gives_no_more_goes_from_the_row() {
    const NAMES: [&str; 5] = ["of_list", "of_both", "of_info", "website", "email"];
    let mut stage = Stage::small().await;
    let added = meddle(&mut stage).await;
    let _worker = stage.worker().await;
    let all = [
        ("departments.list", "of_list"),
        ("departments.list", "of_both"),
        ("departments.info", "of_both"),
        ("departments.info", "of_info"),
        ("events.list", "of_list"),
    ];
    let expect = async |fields: &[(&'static str, &'static str)], request, departments: &[&str], events: &[&str]| {
        *added.lock().unwrap() = fields.to_vec();
        stage.complete(request).await;
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        assert_eq!(have(&stage, "departments", &NAMES).await, names(departments), "departments, with {fields:?}");
        assert_eq!(have(&stage, "events", &NAMES).await, names(events), "events, with {fields:?}");
    };
    let full = || json!({ "mode": "full" });
    let refetch = || json!({ "mode": "full", "refetch": true });
    // From the first on, and as what changes later.
    expect(&all, full(), &["of_list", "of_both", "of_info", "website"], &["of_list"]).await;
    expect(&all[1..4], full(), &["of_both", "of_info", "website"], &[]).await;
    expect(&[], full(), &["website"], &[]).await;
    expect(&all, full(), &["of_list", "of_both", "of_info", "website"], &["of_list"]).await;
    // The list stays as it is; only details are fetched again.
    expect(&all[..3], refetch(), &["of_list", "of_both", "website"], &[]).await;
    expect(&all[..2], refetch(), &["of_list", "of_both", "website"], &[]).await;
    expect(&all[..2], full(), &["of_list", "of_both", "website"], &[]).await;
    // A documented field, of the detail alone.
    let without = [all[0], all[1], ("departments.info", "-website")];
    expect(&without, refetch(), &["of_list", "of_both"], &[]).await;
    expect(&[], full(), &["website"], &[]).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn an_audit_sees_a_field_that_the_api_gives_no_more() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // As an earlier version kept them.
    let kept = r#"update teamleader.record set content = content || '{"of_old": 1}' where resource = $1"#;
    for resource in ["departments", "events"] {
        sqlx::query(kept).bind(resource).execute(&stage.database.pool).await.unwrap();
    }
    let found = stage.run(&["audit", "departments", "events"]).await;
    assert_eq!(found.code, 3, "{found:?}");
    let repaired = stage.run(&["audit", "departments", "events", "--repair"]).await;
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let clean = stage.run(&["audit", "departments", "events"]).await;
    assert_eq!(clean.code, 0, "{clean:?}");
    stage.assert_copy_is_equal().await;
}
