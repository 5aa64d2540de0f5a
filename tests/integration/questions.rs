//! The questions of docs/questions.md, and what the account itself says to them; and all other SQL of the pages.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use teamleader_simulator::Config;

use crate::answers::{Account, answers};
use crate::controller_answers;
use crate::stage::{Stage, storable};

const QUESTIONS: &str = include_str!("../../docs/questions.md");

/// The resources that are asked about.
const ASKED: &str = "departments,users,customFieldDefinitions,workTypes,dealPhases,dealSources,lostReasons,companies,contacts,deals,\
                     invoices,creditNotes,subscriptions,projects,milestones,timeTracking,projects-v2/projects,projects-v2/tasks,\
                     calls,meetings,tasks,tickets,events,notes,quotations,orders,expenses,products";

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
async fn thirty_questions_have_the_answers_that_the_account_gives() {
    let mut stage = Stage::with(Config { seed: 8, ..Config::scaled(600) }).await;
    stage.set("TEAMLEADER_RESOURCES", ASKED);
    let _worker = stage.worker().await;
    // An account has projects of one kind; what was read of the other stays.
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.set_projects_v2(true);
    stage.complete(json!({ "mode": "full" })).await;
    let records = ASKED.split(',').map(|resource| {
        let truth = stage.simulator.truth(resource);
        (resource, truth.iter().map(|record| serde_json::from_str(&storable(&record.content())).unwrap()).collect())
    });
    let account = Account { records: records.collect(), today: stage.database.value("select current_date").await };
    let statements: Vec<&str> =
        QUESTIONS.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let answers = [answers(&account), controller_answers::answers(&account)].concat();
    assert_eq!((statements.len(), answers.len()), (30, 30));
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
        let documents = documents_read(&stage, statement).await;
        assert!(documents.is_empty(), "question {number} reads documents: {documents:#?}");
    }
}

/// What a statement reads from documents, but for those of definitions (`d`), which are few. That a plan has a table of
/// documents says nothing: PostgreSQL does not leave out each join of which it needs no column.
async fn documents_read(stage: &Stage, statement: &str) -> BTreeSet<String> {
    let sql = format!("explain (verbose) {}", statement.trim().trim_end_matches(';'));
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap();
    let mut read = BTreeSet::new();
    for line in &plan {
        let mut parts = line.split(".content").peekable();
        while let (Some(before), Some(after)) = (parts.next(), parts.peek()) {
            let alias = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            let is_read = [" #", " -", ", '"].iter().any(|sign| after.starts_with(sign));
            if is_read && !alias.starts_with('d') {
                read.insert(line.trim().to_owned());
            }
        }
    }
    read
}

/// A block of SQL in a page.
struct Block {
    page: String,
    sql: String,
    /// Why it cannot run as it stands, by the comment before it.
    is_marked: bool,
}

/// The blocks of SQL of all pages but the questions, in the order of the pages.
fn blocks() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "docs", "integrations/airflow", "integrations/dbt"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let mut pages: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|end| end == "md") && !page.ends_with("questions.md"));
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let parts: Vec<&str> = text.split("```sql\n").collect();
        for pair in parts.windows(2) {
            blocks.push(Block {
                page: page.strip_prefix(root).unwrap().display().to_string(),
                sql: pair[1].split("```").next().unwrap().to_owned(),
                is_marked: pair[0]
                    .trim_end()
                    .lines()
                    .last()
                    .is_some_and(|line| line.trim().starts_with("<!-- Not run: ")),
            });
        }
    }
    blocks
}

#[tokio::test]
async fn every_statement_of_the_pages_runs() {
    let mut stage = Stage::small().await;
    stage.set("HISTORY", "on");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    worker.terminate().await;
    // What docs/migrating.md begins with: another copy, and a schema of the reader's.
    let before =
        "create schema old; create table old.contacts as select id from teamleader.contacts; create schema crm";
    sqlx::raw_sql(before).execute(&stage.database.pool).await.unwrap();
    let (marked, blocks): (Vec<Block>, Vec<Block>) = blocks().into_iter().partition(|block| block.is_marked);
    for Block { page, sql, .. } in &blocks {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&stage.database.pool).await;
        done.unwrap_or_else(|error| panic!("{page}: {error}:\n{sql}"));
    }
    println!("{} blocks of SQL in pages besides the questions, {} marked as not run", blocks.len(), marked.len());
    assert!(blocks.len() >= 9 && marked.len() == 2, "{} and {}", blocks.len(), marked.len());
}
