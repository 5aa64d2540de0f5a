//! What has to be true after each case, and at the end of a lane.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::amqp::Fate;
use crate::http::{BOUND, complaint, shown};
use crate::lane::{Lane, Owed, SERVED};
use crate::report::{Played, memory_bound};
use crate::stage::{ACCOUNT, RESOURCES, found_within};

/// A message that the broker holds back for a while has ended after this.
const HELD_BACK: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

/// What a panic and the end of a process by an overflow say.
const PANICS: [&str; 3] = ["A panic, which is a bug", "panicked at", "overflowed its stack"];

impl Lane {
    /// Looks at all that one case can have broken.
    pub async fn judge(&mut self, played: &mut Played) {
        let sound = self.stage.request(json!({ "resources": ["departments"] })).await;
        match self.final_event(sound, SERVED + played.patience, false).await {
            Ok(event) if event.kind() == "sync.completed" => self.known = sound,
            Ok(event) => played.violations.push(format!("a sound request does not complete: {}", event.body)),
            Err(why) => played.violations.push(format!("after the case {why}")),
        }
        self.judge_log(played);
        if !played.violations.is_empty() {
            return;
        }
        let within = SERVED + played.patience;
        let settled = found_within(within, POLL, async || {
            played.violations.extend(self.settle());
            self.owed.iter().all(|owed| owed.waits).then_some(())
        });
        if settled.await.is_none() {
            let owed = self.owed.iter().find(|owed| !owed.waits);
            played.violations.extend(owed.map(Owed::complaint));
        }
        let late = self.owed.iter().find(|owed| owed.since.elapsed() > HELD_BACK);
        played.violations.extend(late.map(Owed::complaint));
        self.judge_queues(played).await;
        self.judge_tokens(played).await;
        let peak = self.worker.peak();
        if peak > memory_bound() {
            played.violations.push(format!("{peak} bytes were resident"));
        }
    }

    fn judge_log(&mut self, played: &mut Played) {
        let new = self.worker.log_after(self.log_read);
        self.log_read += new.len() as u64;
        let new = String::from_utf8_lossy(&new);
        let panic = new.lines().find(|line| PANICS.iter().any(|panic| line.contains(panic)));
        played.violations.extend(panic.map(|line| format!("the log says: {line}")));
    }

    async fn judge_queues(&mut self, played: &mut Played) {
        let (broker, within) = (&self.stage.broker, SERVED + played.patience);
        for queue in [broker.requests_queue(), format!("{}.tokens.{ACCOUNT}", broker.prefix)] {
            let emptied = found_within(within, POLL, async || (broker.ready(&queue).await == Some(0)).then_some(()));
            if emptied.await.is_none() {
                played.violations.push(format!("{queue} holds a message"));
            }
        }
        let unsent = "select count(*) from teamleader2db.event_outbox where sent_at is null and reply_to is null";
        let emptied =
            found_within(within, POLL, async || (self.stage.database.value::<i64>(unsent).await == 0).then_some(()));
        if emptied.await.is_none() {
            played.violations.push("the outbox holds an event".to_owned());
        }
    }

    async fn judge_tokens(&mut self, played: &mut Played) {
        let now = self.tokens_now().await;
        if now != self.tokens || now.state != "authorized" {
            played.violations.push(format!("pairs of tokens were lost or used twice: {:?}, then {now:?}", self.tokens));
        }
        self.tokens = now;
    }

    /// Accounts for what has ended. Gives what nobody has asked for.
    fn settle(&mut self) -> Vec<String> {
        let events = self.stage.broker.events_after(self.events_read);
        self.events_read += events.len();
        for event in events.iter().filter(|event| event.is_final() && event.kind() != "sync.failed") {
            let ends = |owed: &Owed| match owed.fate {
                Fate::Dead => false,
                Fate::Ended(Some(id)) => event.subject() == id.to_string(),
                Fate::Ended(None) => event.subject() != self.known.to_string(),
            };
            if let Some(at) = self.owed.iter().position(ends) {
                self.owed.swap_remove(at);
            }
        }
        let mut unasked = Vec::new();
        for letter in std::mem::take(&mut *self.dead.lock().unwrap()) {
            match self.owed.iter().position(|owed| owed.body == letter.data) {
                Some(at) => drop(self.owed.swap_remove(at)),
                None => unasked.push(format!(
                    "a dead letter that nobody sent ({}): {}",
                    reason(&letter),
                    shown(&letter.data)
                )),
            }
            if reason(&letter).is_empty() {
                unasked.push(format!("a dead letter without a reason: {:?}", letter.properties));
            }
        }
        unasked
    }

    /// What a lane has to be like when all its cases were played. Ends it.
    pub async fn end(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let settled = found_within(HELD_BACK, POLL, async || {
            wrong.extend(self.settle());
            self.owed.is_empty().then_some(())
        });
        if settled.await.is_none() {
            wrong.extend(self.owed.iter().map(Owed::complaint));
        }
        for held in std::mem::take(&mut self.held) {
            let (mut stream, mut answer) = (held.stream, Vec::new());
            let left = BOUND.saturating_sub(held.since.elapsed());
            if tokio::time::timeout(left, stream.read_to_end(&mut answer)).await.is_err() {
                wrong.push(format!("case {}: the connection is open after {} s", held.case, BOUND.as_secs()));
            }
            wrong.extend(complaint(&answer).map(|why| format!("case {}: {why}", held.case)));
        }
        let requests = self.stage.broker.requests_queue();
        for queue in
            [format!("{requests}.undelivered"), self.stage.broker.delay_queue(10), self.stage.broker.dead_queue()]
        {
            let ready = async || (self.stage.broker.ready(&queue).await == Some(0)).then_some(());
            if found_within(SERVED, POLL, ready).await.is_none() {
                wrong.push(format!("{queue} holds a message"));
            }
        }
        // Replies that no queue takes are given up after 31 s.
        let untried =
            "select count(*) from teamleader2db.event_outbox where sent_at is null and (reply_to is null or tries = 0)";
        let tried = async || (self.stage.database.value::<i64>(untried).await == 0).then_some(());
        if found_within(SERVED, POLL, tried).await.is_none() {
            wrong.push("the outbox holds what was never tried".to_owned());
        }
        wrong.extend(self.copy().await);
        if !self.worker.terminate().await.success() {
            wrong.push("the worker does not end in order".to_owned());
        }
        wrong
    }

    /// What was copied wrongly is right after a full sync, and what never was is marked as deleted.
    async fn copy(&mut self) -> Vec<String> {
        let full = self.stage.request(json!({ "mode": "full", "refetch": true, "allow_deletions": true })).await;
        match self.final_event(full, 4 * SERVED, false).await {
            Ok(event) if event.kind() == "sync.completed" => {}
            Ok(event) => return vec![format!("a full sync does not complete: {}", event.body)],
            Err(why) => return vec![why],
        }
        let mut wrong = Vec::new();
        for resource in RESOURCES {
            wrong.extend(self.stage.database.difference(&self.stage.simulator, resource).await);
        }
        let broker = &self.stage.broker;
        if std::panic::catch_unwind(AssertUnwindSafe(|| broker.assert_messages_fit())).is_err() {
            wrong.push("an event is not as docs/schemas says, see above".to_owned());
        }
        wrong
    }
}

impl Owed {
    fn complaint(&self) -> String {
        let (case, seconds, fate) = (self.case, Instant::now().duration_since(self.since).as_secs(), self.fate);
        format!(
            "the message of case {case} has not ended after {seconds} s, as it has to ({fate:?}): {}",
            shown(&self.body)
        )
    }
}

/// Why a message is among the dead letters.
fn reason(letter: &Delivery) -> String {
    match letter.properties.headers().as_ref().and_then(|headers| headers.inner().get("x-reason")) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}
