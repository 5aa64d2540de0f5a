//! What a slice does beside its work: it looks whether its run was cancelled, notes that it waits for the budget, and
//! reports progress.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use super::forecast;
use super::slice::Slice;
use crate::messages::RunReport;
use crate::store::pool::{self, StoreError};
use crate::store::runs::cancel;
use crate::store::state;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Progress is reported at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A wait for the budget that is shorter is not noted: it is over before anybody reads it.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// A look that takes longer is given up: the next one may see more.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns once the run was cancelled. `progress` gets a report now and then; a full channel is no harm.
pub async fn until_cancelled(slice: &Slice<'_>, progress: &mpsc::Sender<RunReport>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reported, mut noted) = (Instant::now(), None);
    loop {
        looks.tick().await;
        match pool::with_deadline_of(LOOK_TIMEOUT, look(slice, &mut noted)).await {
            Ok(true) => return,
            Ok(false) => {}
            // Whatever is to be written meets it, too, and reports it.
            Err(error) => debug!(%error, "It is not known whether the run was cancelled"),
        }
        if reported.elapsed() >= PROGRESS_EVERY {
            reported = Instant::now();
            report(slice, progress).await;
        }
    }
}

/// Whether the run was cancelled. Notes until when it waits for the budget, if that is not what `noted` says.
async fn look(slice: &Slice<'_>, noted: &mut Option<Instant>) -> Result<bool, StoreError> {
    let (pool, account, run) = (slice.pool, &slice.settings.account, slice.id);
    if let Some(wait) = slice.client.waits_for_budget().filter(|wait| *wait >= SHORTEST_WAIT) {
        let until = Instant::now() + wait;
        let is_known = noted.is_some_and(|noted| noted.max(until) - noted.min(until) < SHORTEST_WAIT);
        if !is_known {
            state::note_budget(pool, account, run, wait).await?;
            *noted = Some(until);
        }
    }
    cancel::is_asked(pool, account, run).await
}

/// Lost when the publisher is behind: the next one reports more.
async fn report(slice: &Slice<'_>, progress: &mpsc::Sender<RunReport>) {
    let state = pool::with_deadline_of(LOOK_TIMEOUT, state::of(slice.pool, &slice.settings.account)).await;
    // This process reads the queue.
    let state = state.ok().map(|state| state.with_consumer(Some(true)));
    let _ = progress.try_send(RunReport { state, ..forecast::report(slice) });
}
