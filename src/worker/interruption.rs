//! What the log says of consuming: which worker is active, and why it was interrupted.

use std::time::Duration;

use sqlx::PgPool;
use tracing::{error, info, warn};

use super::settlement::SessionError;
use crate::broker::link::AmqpError;
use crate::ids::Account;
use crate::process::log_lines::{self, Seldom};
use crate::store::lease::{self, Holding};
use crate::store::pool;

/// Says that this worker consumes, and whether it is the active one.
pub fn report_role(queue: &str, on_standby: bool) {
    match on_standby {
        true => info!(queue, role = "standby", "Waiting for requests on standby: another worker is active"),
        false => info!(queue, role = "active", "Waiting for requests"),
    }
}

/// Why consuming was interrupted: at once, and then once a minute for as long as it lasts.
pub async fn report(
    pool: &PgPool,
    (account, holder): (&Account, &str),
    error: &SessionError,
    delay: Duration,
    seldom: &mut Seldom,
) {
    if !seldom.lets_through(&error.to_string()) {
        return;
    }
    let delay = log_lines::seconds(delay);
    if matches!(error, SessionError::Amqp(AmqpError::Topology { .. })) {
        return error!(%error, "The queues cannot be used");
    }
    if error.is_fenced()
        && let Ok(Some(by)) = pool::with_deadline(lease::holding(pool, account)).await
        && by.holder != holder
    {
        let Holding { holder, seconds } = by;
        return warn!(
            holder,
            delay, "Consuming was interrupted: another worker has taken over, {holder}, {seconds} s ago"
        );
    }
    warn!(%error, delay, "Consuming was interrupted and begins again");
}
