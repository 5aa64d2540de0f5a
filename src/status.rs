//! `status`: a table, a resource a row.

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;
use sqlx::PgPool;

use crate::ids::Account;
use crate::store::pool::{self, StoreError};
use crate::store::{authorization, report};

/// The tables of an account and whether it is authorized, for people or as JSON.
pub async fn show(pool: &PgPool, account: &Account, as_json: bool) -> Result<String, StoreError> {
    pool::check_schema(pool).await?;
    let tables = report::tables(pool, account).await?;
    let known = authorization::authorization(pool, account).await?;
    if as_json {
        let shown = json!({
            "account": account,
            "authorized": known.authorized,
            "reason": known.reason,
            "resources": tables,
        });
        return Ok(shown.to_string());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["resource", "rows", "last success", "watermark", "stale details", "deleted"]);
    for column in [1, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in tables {
        table.add_row([
            row.resource,
            row.rows.to_string(),
            time(row.last_success_at),
            time(row.watermark),
            row.stale_details.to_string(),
            row.deleted.to_string(),
        ]);
    }
    let authorized = match (known.authorized, known.authorized_by, known.reason) {
        (true, Some(by), _) => format!("authorized by {by}"),
        (true, None, _) => "authorized".to_owned(),
        (false, _, reason) => format!("NOT authorized ({}): open /sync/authorize", reason.unwrap_or_default()),
    };
    Ok(format!("account {account}: {authorized}\n{table}"))
}

fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}
