//! Which accounts this copy has.

use sqlx::PgPool;

use super::pool::{self, StoreError};
use super::sqlstate;
use crate::ids::Account;

/// The database has a copy, and not of this account.
#[derive(Debug, thiserror::Error)]
#[error("there is no account {0:?} in this copy, which has {1}: set TEAMLEADER_ACCOUNT, or --account")]
pub struct UnknownAccount(String, String);

/// The accounts, in order. `None`: this role may not know, or there is no copy yet.
pub async fn known(pool: &PgPool) -> Result<Option<Vec<String>>, StoreError> {
    // No macro can check what no migration makes. Readers of the views may ask this, too.
    let sql = "select account from teamleader_views.account \
               union select account from teamleader_views.freshness order by 1";
    match sqlx::query_scalar(sql).fetch_all(pool).await {
        Ok(known) => Ok(Some(known)),
        Err(error) => match pool::sqlstate(&error).as_deref() {
            Some(sqlstate::FORBIDDEN | sqlstate::NO_TABLE) => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// Whether there is such an account. A copy without any yet, which no worker has served, says nothing against it.
pub async fn unknown(pool: &PgPool, account: &Account) -> Result<Option<UnknownAccount>, StoreError> {
    let known = known(pool).await?.unwrap_or_default();
    if known.is_empty() || known.iter().any(|known| known == account.as_str()) {
        return Ok(None);
    }
    Ok(Some(UnknownAccount(account.as_str().to_owned(), known.join(", "))))
}
