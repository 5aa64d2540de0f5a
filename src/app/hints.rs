//! What each process of an account does for hints beside taking and serving them.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::account::{AccountConfig, AccountServices};
use crate::api_client::webhooks::Webhooks;
use crate::catalog::Resource;
use crate::catalog::webhooks::announce;
use crate::http::intake::{self, Gatherer, Receiver};
use crate::ids::Account;
use crate::process::telemetry;
use crate::store::hints::{self, loss, registration};
use crate::store::pool::{self, StoreError};
use crate::sync::registration as registrar;
use crate::wake_up::WakeUp;

/// How often it is looked for hints that nobody was woken for.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How often all else is looked at.
const KEEPS_EVERY: Duration = Duration::from_secs(5);

/// How long after listening has failed it is tried again.
const LISTENS_AGAIN: Duration = Duration::from_secs(10);

/// What takes calls, and what keeps hints going; nothing where no webhooks are wanted.
pub(super) fn parts(
    config: &AccountConfig,
    database_url: SecretString,
    account: &AccountServices,
    pool: &PgPool,
) -> Option<(Receiver, (HintKeeper, Gatherer))> {
    let webhooks = account.webhooks.clone()?;
    let keeper = HintKeeper {
        pool: pool.clone(),
        database_url,
        account: account.name.clone(),
        wake_up: account.worker.wake_up.clone(),
        came: account.hints_came.clone(),
        webhooks: webhooks.clone(),
        synced: config.settings.resources.clone(),
        patience: config.webhook_patience,
    };
    let (name, came) = (account.name.clone(), account.hints_came.clone());
    let (intake, gatherer) = intake::open(pool.clone(), name, &keeper.synced, came);
    Some((Receiver { webhooks, intake }, (keeper, gatherer)))
}

/// Keeps hints going.
#[derive(Clone, Debug)]
pub(super) struct HintKeeper {
    pub(super) pool: PgPool,
    pub(super) database_url: SecretString,
    pub(super) account: Account,
    pub(super) wake_up: WakeUp,
    pub(super) came: Arc<Notify>,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) synced: Vec<&'static Resource>,
    pub(super) patience: Duration,
}

impl HintKeeper {
    /// Wakes the consumer when hints have come that nobody serves, and for those that were left.
    pub(super) async fn wake(self, stop: CancellationToken) {
        let (mut kept, mut is_new): (Option<Instant>, bool) = (None, true);
        while !stop.is_cancelled() {
            let came = self.came.notified();
            if kept.is_none_or(|at| at.elapsed() >= KEEPS_EVERY) {
                kept = Some(Instant::now());
                // A database that is away is reported by the parts that need it.
                let done = stop.run_until_cancelled(pool::with_deadline(self.keep(is_new))).await;
                is_new &= !matches!(done, Some(Ok(())));
            }
            stop.run_until_cancelled(self.wake_up.wake()).await;
            tokio::select! {
                () = came => {}
                () = sleep(LOOKS_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Asks for the registration where it is due, settles the loss meter, and brings metrics up to date.
    /// `is_new`: the process has just started, maybe with other settings than those of the process before.
    async fn keep(&self, is_new: bool) -> Result<(), StoreError> {
        let known = registration::read(&self.pool, &self.account).await?;
        let types = registrar::wanted_types(&self.synced);
        let due = match is_new {
            true => registrar::due(&known, &self.webhooks.fingerprint(), &types),
            false => registrar::due_by_time(&known),
        };
        if known.wanted_at.is_none()
            && let Some(want) = due
        {
            registration::ask(&self.pool, &self.account, want).await?;
        }
        loss::settle(&self.pool, &self.account, self.patience).await?;
        let (waiting, seconds) = hints::waiting(&self.pool, &self.account).await?;
        telemetry::hints_waiting(waiting, seconds);
        let losses = loss::all(&self.pool, &self.account).await?;
        for loss in &losses {
            telemetry::webhook_loss(&loss.resource, loss.shown, loss.late, loss.missed);
        }
        // Each is there from the beginning, so that its first change is an increase.
        let is_counted = |name: &str| losses.iter().any(|loss| loss.resource == name);
        for resource in self.synced.iter().filter(|resource| announce(resource) && !is_counted(resource.name)) {
            telemetry::webhook_loss(resource.name, 0, 0, 0);
        }
        let last = hints::last_call(&self.pool, &self.account).await?;
        telemetry::webhook_state(last, known.confirmed_at.filter(|_| known.address.is_some()));
        Ok(())
    }

    /// Notes hints that other processes have stored. Where that fails, they are found by looking.
    pub(super) async fn listen(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Some(Err(error)) = stop.run_until_cancelled(self.listen_once()).await {
                debug!(%error, "Notices of hints cannot be listened to");
            }
            stop.run_until_cancelled(sleep(LISTENS_AGAIN)).await;
        }
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        // A session of its own, beside the pool.
        let mut listener = PgListener::connect(self.database_url.expose_secret()).await?;
        listener.listen(hints::CHANNEL).await?;
        loop {
            match listener.try_recv().await? {
                Some(notice) if notice.payload() == self.account.as_str() => self.came.notify_waiters(),
                Some(_) => {}
                // The session was lost, and what came meanwhile with it.
                None => return Ok(()),
            }
        }
    }
}
