//! The questions of docs/questions.md, and what the account itself says to them.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use teamleader_simulator::Config;

use crate::answers::{Account, answers};
use crate::stage::{Stage, storable};

const QUESTIONS: &str = include_str!("../../docs/questions.md");

/// The resources that are asked about.
const ASKED: &str = "departments,users,customFieldDefinitions,workTypes,dealPhases,dealSources,lostReasons,companies,contacts,deals,\
                     invoices,creditNotes,subscriptions,projects,milestones,timeTracking";

/// Whether two rows say the same. Amounts are summed in binary here.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| equal(value, other)))
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() < 1e-4 + one.abs() * 1e-12
        }
        _ => one == other,
    }
}

/// Something to sort by that does not depend on how a number is written.
fn order(row: &Value) -> String {
    let shown = |value: &Value| value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:020.3}"));
    row.as_object().unwrap().iter().map(|(name, value)| format!("{name}={};", shown(value))).collect()
}

#[tokio::test]
async fn twenty_questions_have_the_answers_that_the_account_gives() {
    let mut stage = Stage::with(Config { seed: 8, ..Config::scaled(600) }).await;
    stage.set("TEAMLEADER_RESOURCES", ASKED);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let records = ASKED.split(',').map(|resource| {
        let truth = stage.simulator.truth(resource);
        (resource, truth.iter().map(|record| serde_json::from_str(&storable(&record.content())).unwrap()).collect())
    });
    let account = Account { records: records.collect(), today: stage.database.value("select current_date").await };
    let statements: Vec<&str> =
        QUESTIONS.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let answers = answers(&account);
    assert_eq!((statements.len(), answers.len()), (20, 20));
    for (number, (statement, mut expected)) in statements.into_iter().zip(answers).enumerate() {
        let number = number + 1;
        assert!(!["->", "#>", "jsonb", "json_"].iter().any(|sign| statement.contains(sign)), "{number} needs JSON");
        let sql = format!("select to_jsonb(q) from ({}) q", statement.trim().trim_end_matches(';'));
        let mut answer: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&stage.database.pool)
            .await
            .unwrap_or_else(|error| panic!("question {number}: {error}"));
        assert!(!answer.is_empty(), "question {number} has no answer");
        answer.sort_by_cached_key(order);
        expected.sort_by_cached_key(order);
        for (row, expected) in answer.iter().zip(&expected) {
            assert!(equal(row, expected), "question {number} says {row}, the account {expected}");
        }
        assert_eq!(answer.len(), expected.len(), "question {number}");
    }
}
