//! How much of an account does not add up, for metrics: `teamleader_views.reconciliation`, counted.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::ids::Account;
use crate::store::pool::{self, StoreError};

/// What is checked.
pub const CHECKS: [&str; 12] = [
    "lines",
    "lines_with_taxes",
    "total",
    "taxable",
    "tax_rate",
    "payable",
    "due",
    "paid",
    "unpaid",
    "credit_notes",
    "credit_note_customer",
    "currency",
];

/// When a sync last read all documents that are checked; `None` before the first.
pub async fn last_read(pool: &PgPool, account: &Account) -> Result<Option<DateTime<Utc>>, StoreError> {
    let at = sqlx::query_scalar!(
        "select max(last_full_at) from teamleader2db.cursor
         where account = $1 and resource in ('invoices', 'creditNotes')",
        account.as_str()
    );
    Ok(at.fetch_one(pool).await?)
}

/// How many findings there are of each check. The server ends it after a minute: the view reads all documents.
pub async fn count(pool: &PgPool, account: &Account) -> Result<Vec<(&'static str, i64)>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    sqlx::query("set local statement_timeout = '60s'").execute(&mut *tx).await?;
    // Views are not there when statements are prepared.
    let sql = "select \"check\", count(*) from teamleader_views.reconciliation where account = $1 group by 1";
    let found: Vec<(String, i64)> = sqlx::query_as(sql).bind(account.as_str()).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    let of = |check: &str| found.iter().find(|(name, _)| name == check).map_or(0, |(_, count)| *count);
    Ok(CHECKS.map(|check| (check, of(check))).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_are_those_of_the_view() {
        let sql = include_str!("joined/reconciliation.sql");
        let first = |line: &str| Some(line.trim().strip_prefix("('")?.split_once('\'')?.0.to_owned());
        let mut of_view: Vec<String> = sql.lines().filter_map(first).collect();
        let mut known = CHECKS.map(str::to_owned).to_vec();
        of_view.sort();
        known.sort();
        assert_eq!(of_view, known);
    }
}
