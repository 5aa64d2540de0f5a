//! What keeps the worker from consuming, and how it waits until that is over: no authorization, or an obstacle that
//! only an operator can remove.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::api_client::token_store::TokenStore as _;
use crate::ids::Account;
use crate::process::consumer_state::ConsumerState;
use crate::process::telemetry;
use crate::store::pool::{StoreError, with_deadline};
use crate::store::schema;
use crate::store::tokens::Tokens;

/// How often the row of the account's tokens is looked at.
pub const LOOK_AT_AUTHORIZATION: Duration = Duration::from_secs(5);

/// One in this many looks at that row is also one for escrowed token pairs, which takes a connection to the broker.
const LOOKS_AT_ESCROW: u32 = 12;

/// Waits until the schema and the keys fit, or until stopped. Requests wait in the queue, and another worker may be
/// better off.
pub async fn wait_for_an_operator(
    pool: &PgPool,
    tokens: &Tokens,
    consuming: &ConsumerState,
    obstacle: &'static str,
    stop: &CancellationToken,
) {
    consuming.set_obstacle(Some(obstacle));
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_AT_AUTHORIZATION)).await.is_some() {
        let fits = async {
            schema::check(pool).await?;
            tokens.check_key().await
        };
        if with_deadline(fits).await.is_ok() {
            break;
        }
    }
    consuming.set_obstacle(None);
}

/// Whether there is a refresh token to use; sets the metric, too.
pub async fn is_authorized(tokens: &Tokens) -> Result<bool, StoreError> {
    let authorized = with_deadline(tokens.authorization()).await?.authorized;
    telemetry::authorized(authorized);
    Ok(authorized)
}

/// Waits until the account is authorized. False when stopped meanwhile.
pub async fn wait_for_authorization(
    tokens: &Tokens,
    account: &Account,
    stop: &CancellationToken,
) -> Result<bool, StoreError> {
    let mut warned = false;
    for look in 0_u32.. {
        if is_authorized(tokens).await? {
            break;
        }
        // With a pair that came too late for its refresh, no operator is needed.
        if look.is_multiple_of(LOOKS_AT_ESCROW) {
            match stop.run_until_cancelled(tokens.recover_escrowed()).await {
                Some(Ok(())) if is_authorized(tokens).await? => break,
                Some(Ok(())) => {}
                Some(Err(error)) => debug!(%error, "Escrowed token pairs cannot be looked for"),
                None => return Ok(false),
            }
        }
        if !warned {
            warned = true;
            warn!(%account, "The account is not authorized: open /sync/authorize. Requests wait in the queue");
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_AT_AUTHORIZATION)).await.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
