//! Taking over the refresh token of the Python service.

use std::collections::BTreeSet;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgPool};

use super::{CompatError, resolved};
use crate::ids::Account;
use crate::store::pool;
use crate::store::tokens::Tokens;

/// Stores the refresh token of `table` here, if the account is not authorized, and clears it there, so that no forgotten copy of the Python
/// service can use it up. That one's row stays locked meanwhile.
pub async fn take_over(old: &PgPool, table: &str, tokens: &Tokens, account: &Account) -> Result<(), CompatError> {
    let name = resolved(old, table).await?.ok_or_else(|| CompatError::NoTable(table.to_owned()))?;
    let mut tx = pool::begin(old).await?;
    let rows: Vec<Option<String>> =
        sqlx::query_scalar(AssertSqlSafe(format!("select refresh_token from {name} for update")))
            .fetch_all(&mut *tx)
            .await
            .map_err(CompatError::Old)?;
    let mut held: BTreeSet<String> = rows.into_iter().flatten().map(|token| token.trim().to_owned()).collect();
    held.remove("");
    let token: SecretString = match (held.pop_first(), held.len()) {
        (None, _) => return Err(CompatError::NoToken(name)),
        (Some(token), 0) => token.into(),
        (Some(_), others) => return Err(CompatError::SeveralTokens(name, others + 1)),
    };
    // Before it is stored here: whoever may not clear it there is told so while nothing has happened.
    sqlx::query(AssertSqlSafe(format!("update {name} set code = '', auth_token = '', refresh_token = ''")))
        .execute(&mut *tx)
        .await
        .map_err(CompatError::Old)?;
    if !tokens.take_over(&token).await? {
        return Err(CompatError::Authorized(account.to_string()));
    }
    tx.commit().await.map_err(|error| CompatError::NotCleared(name, error))
}
