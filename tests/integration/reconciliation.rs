//! `teamleader_views.reconciliation`: it finds what does not add up, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::AssertSqlSafe;
use teamleader_simulator::Config;
use uuid::Uuid;

use crate::stage::{Database, Stage};

/// How many documents each error is planted in.
const EACH: usize = 12;

/// A way in which a document can be wrong.
struct Error {
    /// The check that has to find it.
    check: &'static str,
    resource: &'static str,
    /// Which documents can have it, in SQL over `r.content`.
    among: &'static str,
    /// The new content, in SQL.
    content: &'static str,
    /// Whether the finding is one of the invoice that the credit note names.
    of_invoice: bool,
}

const fn of_invoices(check: &'static str, among: &'static str, content: &'static str) -> Error {
    Error { check, resource: "invoices", among, content, of_invoice: false }
}

const fn of_credit_notes(check: &'static str, content: &'static str, of_invoice: bool) -> Error {
    Error { check, resource: "creditNotes", among: "r.content #>> '{invoice,id}' is not null", content, of_invoice }
}

const BOOKED: &str = "r.content ->> 'status' <> 'draft'";
const MATCHED: &str = "r.content ->> 'status' = 'matched'";
const OUTSTANDING: &str = "r.content ->> 'status' = 'outstanding'";
const WITHOUT_CREDIT: &str = "r.content ->> 'status' = 'matched' and not exists (select from teamleader.credit_notes c \
                              where c.content #>> '{invoice,id}' = r.id::text)";

#[rustfmt::skip]
const ERRORS: [Error; 24] = [
    of_invoices("lines", BOOKED, "pg_temp.more(content, '{grouped_lines,0,line_items,0,total,tax_exclusive,amount}', 1.5)"),
    of_invoices("lines", BOOKED, "pg_temp.more(content, '{grouped_lines,0,line_items,0,total,tax_exclusive,amount}', -1.5)"),
    of_invoices("lines", BOOKED, "jsonb_set(content, '{grouped_lines,0,line_items}', (content #> '{grouped_lines,0,line_items}') || (content #> '{grouped_lines,0,line_items,0}'))"),
    of_invoices("lines_with_taxes", BOOKED, "pg_temp.more(content, '{grouped_lines,0,line_items,0,total,tax_inclusive,amount}', 1.5)"),
    of_invoices("lines", BOOKED, "pg_temp.more(content, '{total,tax_exclusive,amount}', -2)"),
    of_invoices("total", BOOKED, "pg_temp.more(content, '{total,tax_inclusive,amount}', 2)"),
    of_invoices("total", BOOKED, "pg_temp.more(content, '{total,taxes,0,tax,amount}', 0.5)"),
    of_invoices("tax_rate", BOOKED, "pg_temp.more(content, '{total,taxes,0,tax,amount}', -0.5)"),
    of_invoices("tax_rate", BOOKED, "jsonb_set(content, '{total,taxes,0,rate}', '0.06')"),
    of_invoices("taxable", BOOKED, "pg_temp.more(content, '{total,taxes,0,taxable,amount}', 5)"),
    of_invoices("payable", BOOKED, "pg_temp.more(content, '{total,payable,amount}', -0.4)"),
    of_invoices("due", OUTSTANDING, "pg_temp.more(content, '{total,due,amount}', 0.7)"),
    of_invoices("due", MATCHED, "pg_temp.more(content, '{total,due,amount}', 0.7)"),
    of_invoices("due", WITHOUT_CREDIT, "pg_temp.more(content, '{payments,0,payment,amount}', -0.6)"),
    of_invoices("due", WITHOUT_CREDIT, "jsonb_set(content, '{payments}', '[]')"),
    of_invoices("paid", OUTSTANDING, "jsonb_set(content, '{paid}', 'true')"),
    of_invoices("unpaid", WITHOUT_CREDIT, "jsonb_set(content, '{paid}', 'false')"),
    of_invoices("currency", BOOKED, "jsonb_set(content, '{grouped_lines,0,line_items,0,total,tax_exclusive,currency}', '\"JPY\"')"),
    of_invoices("currency", BOOKED, "jsonb_set(content, '{total,taxes,0,tax,currency}', '\"JPY\"')"),
    of_invoices("currency", MATCHED, "jsonb_set(content, '{payments,0,payment,currency}', '\"JPY\"')"),
    of_invoices("currency", BOOKED, "jsonb_set(content, '{total,due,currency}', '\"JPY\"')"),
    of_credit_notes("lines", "pg_temp.more(content, '{grouped_lines,0,line_items,0,total,tax_exclusive,amount}', 1.5)", false),
    of_credit_notes("credit_note_customer", "jsonb_set(content, '{invoicee,customer,id}', to_jsonb(gen_random_uuid()))", true),
    of_credit_notes("credit_notes", "pg_temp.more(pg_temp.more(content, '{total,tax_inclusive,amount}', 100000000), '{total,payable,amount}', 100000000)", true),
];

/// Adds to a number in a document.
const MORE: &str = "create function pg_temp.more(content jsonb, path text[], number numeric) returns jsonb language sql as \
                    'select jsonb_set(content, path, to_jsonb((content #>> path)::numeric + number))'";

/// The checks that found something, by document.
async fn findings(database: &Database) -> BTreeMap<Uuid, BTreeSet<String>> {
    let sql = "select document_id, array_agg(distinct \"check\") from teamleader_views.reconciliation group by 1";
    let rows: Vec<(Uuid, Vec<String>)> = sqlx::query_as(sql).fetch_all(&database.pool).await.unwrap();
    rows.into_iter().map(|(id, checks)| (id, checks.into_iter().collect())).collect()
}

async fn copied(contacts: usize) -> (Stage, crate::stage::Worker) {
    let mut stage = Stage::with(Config { seed: 5, ..Config::scaled(contacts) }).await;
    stage.set("TEAMLEADER_RESOURCES", "invoices,creditNotes");
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    (stage, worker)
}

#[tokio::test]
async fn each_planted_error_is_found_and_nothing_else() {
    let (stage, _worker) = copied(2000).await;
    assert!(stage.simulator.count("invoices") == 1000 && stage.simulator.count("creditNotes") == 100);
    assert_eq!(findings(&stage.database).await, BTreeMap::new(), "the account's documents add up");
    let mut session = stage.database.pool.acquire().await.unwrap();
    sqlx::raw_sql(MORE).execute(&mut *session).await.unwrap();
    let mut planted: BTreeMap<Uuid, &str> = BTreeMap::new();
    // What an error touches: a document has one, and so has an invoice with its credit note.
    let mut taken: Vec<Uuid> = Vec::new();
    for error in &ERRORS {
        let sql = format!(
            "update teamleader.record r set content = {} where r.resource = '{}' and r.id in (
                 select r.id from teamleader.record r where r.resource = '{}' and {}
                     and r.id <> all($1) and coalesce(r.content #>> '{{invoice,id}}', '') <> all($1::text[])
                     and not exists (select from teamleader.credit_notes c where c.content #>> '{{invoice,id}}' = r.id::text and c.id = any($1))
                 order by r.id limit {EACH})
             returning r.id, (r.content #>> '{{invoice,id}}')::uuid",
            error.content, error.resource, error.resource, error.among
        );
        let rows: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(AssertSqlSafe(sql.clone()))
            .bind(&taken)
            .fetch_all(&mut *session)
            .await
            .unwrap_or_else(|problem| panic!("{sql}: {problem}"));
        assert_eq!(rows.len(), EACH, "{sql}");
        for (document, invoice) in rows {
            let found_at = if error.of_invoice { invoice.unwrap() } else { document };
            planted.insert(found_at, error.check);
            taken.extend([Some(document), invoice].into_iter().flatten());
        }
    }
    let found = findings(&stage.database).await;
    for (document, check) in &planted {
        let checks = found.get(document).unwrap_or_else(|| panic!("{check} of {document} is not found"));
        assert!(checks.contains(*check), "{check} of {document} is found as {checks:?}");
    }
    // A credit note whose amount was raised does not add up itself.
    let alarms: Vec<_> = found.keys().filter(|document| !taken.contains(document)).collect();
    println!(
        "{} errors planted in {} ways, {} documents found, {} of others",
        planted.len(),
        ERRORS.len(),
        found.len(),
        alarms.len()
    );
    assert!(alarms.is_empty(), "false alarms: {alarms:?}");
    assert_eq!(planted.len(), EACH * ERRORS.len());
    let checks: BTreeSet<&String> = found.values().flatten().collect();
    assert_eq!(checks.len(), 12, "{checks:?}");
}

#[tokio::test]
async fn documents_add_up_after_changes_too_and_rounding_is_no_finding() {
    let (stage, _worker) = copied(300).await;
    for (resource, count) in [("invoices", 40), ("creditNotes", 10)] {
        stage.simulator.update(resource, count);
        stage.simulator.add(resource, count);
        stage.simulator.delete(resource, 5);
    }
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(findings(&stage.database).await, BTreeMap::new());
    // A cent is rounding.
    let mut session = stage.database.pool.acquire().await.unwrap();
    sqlx::raw_sql(MORE).execute(&mut *session).await.unwrap();
    for path in ["{total,taxes,0,tax,amount}", "{grouped_lines,0,line_items,0,total,tax_exclusive,amount}"] {
        let sql = format!("update teamleader.invoices set content = pg_temp.more(content, '{path}', 0.01)");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *session).await.unwrap();
    }
    assert_eq!(findings(&stage.database).await, BTreeMap::new());
    // Without the detail there are no lines and no payments to compare with.
    let sql = "update teamleader.invoices set content = content - 'grouped_lines' - 'payments' - 'discounts', detail_at = null";
    sqlx::query(sql).execute(&mut *session).await.unwrap();
    assert_eq!(findings(&stage.database).await, BTreeMap::new());
}
