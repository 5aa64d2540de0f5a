//! Whether a used refresh token came again, and whether that could not be helped.
//!
//! There are three reasons that no client can do anything about: the answer of the first use was lost; the process was ended between
//! its request and the store; or it was paused just before sending. The simulator's log tells which token came when, and on which
//! connection, hence from which worker; the suite knows what it has done to that worker; and the worker's log tells when a pair was
//! stored or escrowed, after which none of these is an excuse.

use chrono::{DateTime, TimeDelta, Utc};
use teamleader_simulator::{Refresh, RefreshOutcome};

use crate::judge::Verdict;
use crate::play::{Play, column};
use crate::slot::{HarmKind, Slot};

/// How long an answer may be under way, from the moment at which the simulator has made it: the machine may be busy, and the body slow.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(6);

/// How long a request may be under way: it arrives although the process that sent it, or its connection, has ended meanwhile. The next one
/// takes longer than that to start and to refresh.
const SENT_BEFORE: TimeDelta = TimeDelta::milliseconds(500);

/// How long after the end of a pause the request may come that was held up by it.
const LATE_AFTER_PAUSE: TimeDelta = TimeDelta::seconds(4);

/// What a worker logs when a pair is safe.
const SAFE: [&str; 2] = ["Refreshed the access token", "The new token pair is escrowed"];

/// Judges every refresh token that came.
pub async fn judge(play: &Play, verdict: &mut Verdict) {
    let log = play.simulator.refreshes();
    for (number, refresh) in log.iter().enumerate() {
        match refresh.outcome {
            RefreshOutcome::Traded(_) => verdict.refreshes += 1,
            RefreshOutcome::Revoked if play.revoked => {}
            RefreshOutcome::Reused => match excuse(play, &log[..number], refresh).await {
                Ok(()) => verdict.excused_reuses += 1,
                Err(why) => verdict.violations.push(format!("refresh tokens: {why}")),
            },
            RefreshOutcome::Revoked | RefreshOutcome::Unknown => {
                verdict.violations.push(format!("refresh tokens: {refresh:?}"));
            }
        }
    }
}

/// Why a used token came again; an error where it should not have.
async fn excuse(play: &Play, earlier: &[Refresh], again: &Refresh) -> Result<(), String> {
    let first = earlier
        .iter()
        .find(|refresh| refresh.token == again.token && matches!(refresh.outcome, RefreshOutcome::Traded(_)))
        .ok_or_else(|| format!("{again:?} was never traded"))?;
    let (first_slot, second_slot) = (slot_of(play, first), slot_of(play, again));
    let was_held_up = second_slot
        .harms
        .iter()
        .any(|harm| harm.kind != HarmKind::Ended && harm.from <= again.at && harm.to >= again.at - LATE_AFTER_PAUSE);
    // Somebody else has used it meanwhile: nobody can look again between the last look and the request.
    if was_held_up && !std::ptr::eq(first_slot, second_slot) {
        return Ok(());
    }
    if first.answer_lost {
        return Ok(());
    }
    let stored = stored_after(play, first, again.at).await;
    if stored {
        return Err(format!("{again:?}, although the pair of {first:?} had been stored"));
    }
    let excused = first_slot.harms.iter().any(|harm| match harm.kind {
        HarmKind::Api => harm.from <= first.at + UNDER_WAY && harm.to >= first.at - SENT_BEFORE,
        HarmKind::Ended => {
            harm.to >= first.at - SENT_BEFORE
                && harm.from <= again.at
                && !was_safe(first_slot, first.at, harm.from.max(first.at))
        }
        HarmKind::Paused => false,
    });
    if excused {
        Ok(())
    } else {
        Err(format!("{again:?}, after {first:?}, whose answer nothing has kept from being stored"))
    }
}

fn slot_of<'a>(play: &'a Play, refresh: &Refresh) -> &'a Slot {
    let port = refresh.from.port();
    play.slots.iter().find(|slot| slot.api.has_used(port)).expect("every request comes over a worker's cable")
}

/// Whether the row of the tokens moved to the next generation after the pair was made, and before the old token came again.
async fn stored_after(play: &Play, first: &Refresh, before: DateTime<Utc>) -> bool {
    let sql = format!(
        "select count(*) from faults.token t where t.at > '{}' and t.at < '{}' and t.state = 'authorized'
           and t.generation > (select coalesce(max(generation), 0) from faults.token where at <= '{}')",
        first.at.to_rfc3339(),
        before.to_rfc3339(),
        first.at.to_rfc3339()
    );
    column::<i64>(&play.database, &sql).await[0] > 0
}

/// Whether a worker has logged, in this time, that a pair was stored or escrowed.
fn was_safe(slot: &Slot, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
    slot.logs.iter().any(|log| {
        let text = std::fs::read(log).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|line| {
            let at = line.split_whitespace().next().and_then(|time| time.parse::<DateTime<Utc>>().ok());
            at.is_some_and(|at| (from..=to).contains(&at)) && SAFE.iter().any(|safe| line.contains(safe))
        })
    })
}
