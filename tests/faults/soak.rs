//! Nothing but refreshes, and kills in between: several accounts at a time, each with a worker of its own, access tokens that live
//! two seconds, and work without end. Half of the kills are aimed at the moment at which a refresh token has just been traded.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use uuid::Uuid;

use crate::dice::Dice;
use crate::judge;
use crate::plan::Plan;
use crate::play::{Play, Story, column};
use crate::report::{Played, Report};
use crate::servers::{Servers, USERS, alone};
use crate::stage::found_within;
use crate::{Outcome, block_on, watched};

/// Accounts at a time.
const ACCOUNTS: u64 = 12;

/// How long an access token lives. It is refreshed 0.2 s before its end.
const LIFE: Duration = Duration::from_secs(2);

/// How often the world is looked at: a kill has to fall between the answer of the token endpoint and the store.
const TICK: Duration = Duration::from_millis(3);

/// How often it is looked whether there is still something to do, and whether a person has to authorize.
const LOOK: Duration = Duration::from_millis(250);

/// Refreshes so often, all accounts together, and judges each of them.
pub fn run(refreshes: u64) -> ExitCode {
    let begun = Utc::now();
    let _alone = alone();
    let servers = block_on(Servers::up("soak"));
    let (done, report) = (AtomicU64::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for account in 1..=ACCOUNTS {
            let (servers, done, report) = (&servers, &done, &report);
            scope.spawn(move || {
                let played = soak(account, servers, done, refreshes);
                played.print();
                report.lock().unwrap().add(played);
            });
        }
    });
    block_on(servers.down());
    report.into_inner().unwrap().end(begun)
}

fn soak(account: u64, servers: &Servers, done: &AtomicU64, refreshes: u64) -> Played {
    let (name, again) = (format!("account {account}"), format!("make soak REFRESHES={refreshes}"));
    let story_name = name.clone();
    watched(name, again, |story: Story| async move {
        let mut dice = Dice::of(account);
        let mut play = Play::set(&story_name, Plan::of_soak(), servers, story).await;
        play.simulator.set_access_token_ttl(LIFE);
        play.slow_down();
        let mut kills = 0;
        while done.load(Ordering::Relaxed) < refreshes {
            let before = play.simulator.counters().refreshes;
            let wanted = before + dice.from(1..=4);
            while play.simulator.counters().refreshes < wanted && done.load(Ordering::Relaxed) < refreshes {
                keep_busy(&mut play).await;
                play.authorize_if_asked().await;
                let traded = async || (play.simulator.counters().refreshes >= wanted).then_some(());
                found_within(LOOK, TICK, traded).await;
            }
            done.fetch_add(play.simulator.counters().refreshes - before, Ordering::Relaxed);
            if !dice.one_in(2) {
                found_within(Duration::from_millis(dice.from(0..=1_500)), TICK, async || None::<()>).await;
            }
            if kills < USERS - 2 && !is_near_giving_up(&play).await {
                play.slots[0].kill();
                play.note("kill".to_owned());
                kills += 1;
                found_within(Duration::from_millis(dice.from(1..=300)), TICK, async || None::<()>).await;
                play.start(0);
            }
        }
        let verdict = judge::settle(&mut play).await;
        let faults = vec!["worker: kill -9"; kills as usize];
        Outcome { verdict, faults, ended_by_themselves: play.strike(false).await }
    })
}

/// Whether a run would be given up if its worker were killed once or twice more before it gets on: that is by design, and no matter
/// of tokens.
async fn is_near_giving_up(play: &Play) -> bool {
    let attempts =
        column::<i32>(&play.database, "select attempts from teamleader2db.sync_run where status = 'running'");
    attempts.await.iter().any(|attempts| *attempts >= 3)
}

/// There is always something to do.
async fn keep_busy(play: &mut Play) {
    if play.published.last().is_none_or(|last| play.watch.is_answered(last.id, false)) {
        let id = Uuid::new_v4();
        play.ask(id, json!({ "request_id": id, "mode": "full", "refetch": true }), false).await;
    }
}
