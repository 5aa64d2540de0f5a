//! When an answer was asked for, and which answers came while other requests were on their way.
//!
//! A row stores the time of the request it was last written from, and not when the answer was there; and an answer that
//! equals its row writes nothing. So both times are remembered here, for as long as a request of the same resource that
//! was sent before the answer was there has not been merged: its answer may be the older one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

/// Answers of a resource that are remembered at most. At 200 requests a minute, of 100 records and a minute each, there
/// are 20,000.
const MOST_REMEMBERED: usize = 200_000;

/// As many are looked through at the end of each request.
const FEW: usize = 1_000;

/// When a request was sent and when its answer was there, by the database's clock, in microseconds as PostgreSQL has
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Just before it was sent.
    pub at: DateTime<Utc>,
    /// When all of the answer was there.
    pub answered_at: DateTime<Utc>,
}

/// When an answer was asked for; unknown where nobody has read the database's clock. Its clones, one in each record,
/// hold the request's place among those that are not merged yet.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    times: Option<Times>,
    ticket: Option<Arc<Ticket>>,
}

/// The answers that came while older requests were on their way. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<HashMap<&'static str, OfResource>>>);

#[derive(Debug, Default)]
struct OfResource {
    /// Requests that are sent or about to be, and whose answer is not merged yet: since when, and a number.
    under_way: BTreeSet<(DateTime<Utc>, u64)>,
    sent: u64,
    newest: HashMap<Uuid, Times>,
    /// How many were left when it was last pruned.
    left: usize,
}

/// A request that is under way until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    answers: Answers,
    resource: &'static str,
    at: DateTime<Utc>,
    number: u64,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.times == other.times
    }
}

impl Asked {
    /// When it was sent and answered.
    pub fn times(&self) -> Option<Times> {
        self.times
    }

    /// When it was sent.
    pub fn at(&self) -> Option<DateTime<Utc>> {
        self.times.map(|times| times.at)
    }

    /// An answer with these times, which holds no place.
    #[cfg(test)]
    pub fn between(at: DateTime<Utc>, answered_at: DateTime<Utc>) -> Self {
        Self { times: Some(Times { at, answered_at }), ticket: None }
    }

    /// The newest answer for the record that is remembered, itself included.
    pub fn newest(&self, id: Uuid) -> Option<Times> {
        let ticket = self.ticket.as_deref()?;
        ticket.answers.lock().get(ticket.resource)?.newest.get(&id).copied()
    }

    /// Whether an answer for the record was there that was asked for later.
    pub fn is_overtaken(&self, id: Uuid) -> bool {
        self.newest(id).is_some_and(|newest| Some(newest.at) > self.at())
    }

    /// Remembers that this answer was there for the record, if one whose request overlaps with it may still come.
    pub fn note(&self, id: Uuid) {
        let (Some(ticket), Some(times)) = (self.ticket.as_deref(), self.times) else { return };
        if let Some(of) = ticket.answers.lock().get_mut(ticket.resource) {
            of.note(id, times, ticket.place());
        }
    }
}

impl Answers {
    /// A request is to be sent, now or later. `now` is the database's clock.
    pub fn ask(&self, resource: &'static str, now: Option<DateTime<Utc>>) -> Option<Ticket> {
        let at = now?.trunc_subsecs(6);
        let number = self.lock().entry(resource).or_default().send(at);
        Some(Ticket { answers: self.clone(), resource, at, number })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, OfResource>> {
        // Whole after any panic: nothing in between can.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn place(&self) -> (DateTime<Utc>, u64) {
        (self.at, self.number)
    }

    /// The answer has come. By the database's clock the request was sent `at`, and all of the answer was there
    /// `answered_at`.
    pub fn answered(self, at: DateTime<Utc>, answered_at: DateTime<Utc>) -> Asked {
        let at = at.trunc_subsecs(6);
        let times = Times { at, answered_at: answered_at.trunc_subsecs(6).max(at) };
        Asked { times: Some(times), ticket: Some(Arc::new(self)) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(of) = self.answers.lock().get_mut(self.resource) {
            of.settle(self.place());
        }
    }
}

impl OfResource {
    fn send(&mut self, at: DateTime<Utc>) -> u64 {
        self.sent += 1;
        self.under_way.insert((at, self.sent));
        self.sent
    }

    fn note(&mut self, id: Uuid, times: Times, own: (DateTime<Utc>, u64)) {
        let oldest_other = self.under_way.iter().find(|place| **place != own);
        let matters = oldest_other.is_some_and(|(sent, _)| *sent < times.answered_at);
        if !matters || self.newest.len() >= MOST_REMEMBERED {
            return;
        }
        let newest = self.newest.entry(id).or_insert(times);
        if newest.at < times.at {
            *newest = times;
        }
    }

    fn settle(&mut self, ticket: (DateTime<Utc>, u64)) {
        self.under_way.remove(&ticket);
        match self.under_way.first() {
            None => self.newest = HashMap::new(),
            // Of many each is looked at a few times, whatever their number.
            Some((oldest, _)) if self.newest.len() <= FEW || self.newest.len() > 2 * self.left => {
                self.newest.retain(|_, times| times.answered_at > *oldest);
                self.left = self.newest.len();
            }
            Some(_) => {}
        }
        if self.newest.is_empty() {
            self.left = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn ask(answers: &Answers, resource: &'static str, second: i64) -> Ticket {
        answers.ask(resource, Some(at(second))).expect("a time")
    }

    /// An answer that took from one second to the other.
    fn answer(answers: &Answers, from: i64, to: i64) -> Asked {
        ask(answers, "deals", from).answered(at(from), at(to))
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn an_answer_is_remembered_while_a_request_is_under_way_that_overlaps_with_it() {
        let answers = Answers::default();
        let (older, other) = (ask(&answers, "deals", 1), ask(&answers, "contacts", 1));
        let (probe, newer) = (answer(&answers, 50, 51), answer(&answers, 2, 3));
        newer.note(id(7));
        assert_eq!(probe.newest(id(7)), newer.times());
        answer(&answers, 1, 5).note(id(7));
        assert_eq!(probe.newest(id(7)), newer.times(), "the newest counts by when it was asked for");
        drop((newer, other));
        assert!(probe.newest(id(7)).is_some());
        drop(older);
        assert_eq!(probe.newest(id(7)), None, "no older one can come any more");
        answer(&answers, 2, 3).note(id(7));
        assert_eq!(probe.newest(id(7)), None);
        answer(&answers, 2, 55).note(id(7));
        assert!(probe.newest(id(7)).is_some(), "the other was sent while it was on its way");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let answers = Answers::default();
        let older = ask(&answers, "deals", 1);
        for second in 2..100 {
            let newer = answer(&answers, second, second);
            (0..3_000).for_each(|n| newer.note(id((second as u128) << 64 | n)));
        }
        let remembered = || answers.lock()["deals"].newest.len();
        assert_eq!(remembered(), MOST_REMEMBERED);
        drop(older);
        assert_eq!(remembered(), 0);
    }

    #[test]
    fn pruning_keeps_what_overlaps_with_the_oldest_request() {
        let answers = Answers::default();
        let (first, second) = (ask(&answers, "deals", 0), answer(&answers, 3, 9));
        for (sent, answered, record) in [(1, 2, 1), (2, 9, 2)] {
            answer(&answers, sent, answered).note(id(record));
        }
        drop(first);
        assert_eq!((second.newest(id(1)), second.newest(id(2)).map(|times| times.at)), (None, Some(at(2))));
    }

    #[test]
    fn without_a_clock_nothing_is_known() {
        assert!(Answers::default().ask("deals", None).is_none());
        assert_eq!(Asked::default().times(), None);
    }
}
