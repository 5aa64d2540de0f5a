//! What each process of an account does for the always-on audit beside taking its turns.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::account::AccountServices;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::process::telemetry;
use crate::store::draws::Finding;
use crate::store::pool;
use crate::store::report;
use crate::wake_up::WakeUp;

/// How often it is looked whether a turn is due that nobody was woken for.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How often metrics are brought up to date.
const KEEPS_EVERY: Duration = Duration::from_secs(5);

/// Keeps the audit going, where there is one.
#[derive(Clone, Debug)]
pub(super) struct AuditKeeper {
    pool: PgPool,
    account: Account,
    wake_up: WakeUp,
    synced: Vec<&'static Resource>,
}

impl AuditKeeper {
    /// `None`: there is no audit.
    pub(super) fn of(account: &AccountServices, pool: &PgPool) -> Option<Self> {
        let wake_up = account.worker.wake_up.clone();
        (wake_up.audit_rate > 0).then(|| Self {
            pool: pool.clone(),
            account: account.name.clone(),
            wake_up,
            synced: account.worker.engine.settings.resources.clone(),
        })
    }

    /// Wakes the consumer when a turn is due, and brings metrics up to date.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let mut shown: Option<Instant> = None;
        while !stop.is_cancelled() {
            if shown.is_none_or(|at| at.elapsed() >= KEEPS_EVERY) {
                shown = Some(Instant::now());
                stop.run_until_cancelled(self.show()).await;
            }
            stop.run_until_cancelled(self.wake_up.wake()).await;
            stop.run_until_cancelled(sleep(LOOKS_EVERY)).await;
        }
    }

    /// The bounds of each resource. A database that is away is reported by the parts that need it.
    async fn show(&self) {
        let Ok(audited) = pool::with_deadline(report::audited_resources(&self.pool, &self.account)).await else {
            return;
        };
        for resource in &self.synced {
            let known = audited.iter().find(|known| known.resource == resource.name);
            for finding in Finding::ALL {
                let share =
                    known.map_or_else(|| report::unknown_share(resource, finding), |known| known.share(finding));
                if let Some(share) = share {
                    let share = (share.at_most, share.drawn, share.found);
                    telemetry::audit_share(resource.name, finding.as_str(), share);
                }
            }
        }
    }
}
