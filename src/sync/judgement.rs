//! What a record that was drawn says of the copy: pure, so that each rule is seen.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::api_client::answer::{Record, Rejected};
use crate::catalog::{AskAgain, Resource};
use crate::store::draws::{Draw, Finding, Open, RowState};

/// What the API gave of records that were drawn.
#[derive(Debug, Default)]
pub struct Answers {
    /// List items.
    pub items: Vec<Record>,
    /// Details.
    pub details: Vec<Record>,
    /// Records that it does not have.
    pub missing: Vec<Uuid>,
    /// Records that it has, and that cannot be read.
    pub rejected: Vec<Rejected>,
}

/// What is known of records that were drawn, to judge them by.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Their resource.
    pub resource: &'a Resource,
    /// The watermark of the resource: what changed before it, a pass has seen or should have.
    pub watermark: Option<DateTime<Utc>>,
    /// What the API gave.
    pub answers: &'a Answers,
    /// Rows whose list item is not what they hold.
    pub items_differ: HashSet<Uuid>,
    /// Rows whose detail is not what they hold.
    pub details_differ: HashSet<Uuid>,
}

impl Evidence<'_> {
    /// How the row of a record that was drawn from the rows, or listed, is found. `None`: nothing can be said, so the
    /// record counts as not drawn.
    pub fn of_row(&self, state: &RowState) -> Option<Draw> {
        let id = state.id;
        // It was written, or marked deleted, since the API was asked: the answer is the older one.
        if !state.is_alive || state.is_newer || self.answers.rejected.iter().any(|rejected| rejected.id == id) {
            return None;
        }
        if self.answers.missing.contains(&id) {
            return Some(Draw { id, finding: Some(Finding::Stale), open: Some(Open::Deletion) });
        }
        let find = |records: &[Record]| records.iter().position(|record| record.id == id);
        let (item, detail) = (find(&self.answers.items), find(&self.answers.details));
        let updated_at = |record: &Record| record.updated_at;
        let item_at = item.and_then(|place| updated_at(&self.answers.items[place]));
        let detail_at = detail.and_then(|place| updated_at(&self.answers.details[place]));
        let has_item = item.is_some() || self.resource.ask_again() == AskAgain::Info;
        if !has_item || (detail.is_none() && self.resource.has_details()) {
            return None;
        }
        // A list may lag behind what a hint or a detail has brought.
        let lags = item_at.zip(state.updated_at).is_some_and(|(listed, row)| listed < row);
        if lags && detail.is_none() {
            return None;
        }
        let item_differs = !lags && self.items_differ.contains(&id);
        let detail_differs = self.details_differ.contains(&id);
        if !item_differs && !detail_differs {
            return Some(Draw { id, finding: None, open: None });
        }
        // The copy knows that its detail is out of date, or no list shows that: no pass should have seen it yet.
        let is_expected =
            detail_differs && !item_differs && (state.is_undetailed || self.resource.has_unshown_details());
        let changed_at = item_at.filter(|_| !lags).max(detail_at);
        let (finding, open) = match (changed_at, self.watermark) {
            _ if is_expected => (Finding::Stale, None),
            (Some(changed_at), Some(watermark)) if changed_at < watermark => (Finding::Wrong, None),
            (Some(_), _) => (Finding::Stale, None),
            (None, _) => (Finding::Stale, Some(Open::Change)),
        };
        Some(Draw { id, finding: Some(finding), open })
    }

    /// How a record that the API has, and that has no row, is found.
    pub fn of_absent(&self, record: &Record) -> Draw {
        let time = |field: &str| {
            let text = record.text(field)?;
            DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc())
        };
        let is_before = |time: DateTime<Utc>| self.watermark.map(|watermark| time < watermark);
        let created_before = time("created_at").or_else(|| time("added_at")).and_then(is_before);
        let changed_before = record.updated_at.and_then(is_before);
        let (finding, open) = match (created_before, changed_before) {
            (Some(true), _) | (None, Some(true)) => (Finding::Missing, None),
            (Some(false), _) => (Finding::Stale, None),
            (None, _) => (Finding::Stale, Some(Open::Absence)),
        };
        Draw { id: record.id, finding: Some(finding), open }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::api_client::answer;
    use crate::catalog;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// A contact; each field is a second after the epoch.
    fn contact(updated: Option<i64>, added: Option<i64>) -> Record {
        let field = |name: &str, at: Option<i64>| {
            at.map(|at| format!(r#","{name}":"{}""#, second(at).to_rfc3339())).unwrap_or_default()
        };
        let (updated, added) = (field("updated_at", updated), field("added_at", added));
        let body = format!(r#"{{"data":{{"id":"{}","name":"Zoë"{updated}{added}}}}}"#, Uuid::from_u128(1));
        answer::parse_info(catalog::find("contacts").expect("known"), body.as_bytes()).expect("valid").0
    }

    const ALIVE: RowState = RowState {
        id: Uuid::from_u128(1),
        is_alive: true,
        is_newer: false,
        is_undetailed: false,
        updated_at: Some(DateTime::UNIX_EPOCH),
    };

    /// What is found where the answers, the state of the row and what differs (item, detail) are these; the watermark
    /// is second 100.
    fn found(answers: Answers, state: RowState, (item, detail): (bool, bool)) -> Option<Draw> {
        let differs = |differs: bool| differs.then_some(ALIVE.id).into_iter().collect();
        let resource = catalog::find("contacts").expect("known");
        let (items_differ, details_differ) = (differs(item), differs(detail));
        let answers = &answers;
        Evidence { resource, watermark: Some(second(100)), answers, items_differ, details_differ }.of_row(&state)
    }

    fn both(updated: Option<i64>) -> Answers {
        Answers { items: vec![contact(updated, None)], details: vec![contact(updated, None)], ..Answers::default() }
    }

    fn drawn(finding: Option<Finding>, open: Option<Open>) -> Option<Draw> {
        Some(Draw { id: ALIVE.id, finding, open })
    }

    #[test]
    fn what_changed_after_the_last_pass_is_stale_and_what_it_should_have_seen_is_wrong() {
        assert_eq!(found(both(Some(99)), ALIVE, (false, false)), drawn(None, None));
        for differs in [(true, false), (false, true), (true, true)] {
            assert_eq!(found(both(Some(99)), ALIVE, differs), drawn(Some(Finding::Wrong), None));
            assert_eq!(found(both(Some(100)), ALIVE, differs), drawn(Some(Finding::Stale), None));
            assert_eq!(found(both(None), ALIVE, differs), drawn(Some(Finding::Stale), Some(Open::Change)));
        }
        let undetailed = RowState { is_undetailed: true, ..ALIVE };
        assert_eq!(found(both(Some(99)), undetailed, (false, true)), drawn(Some(Finding::Stale), None));
        assert_eq!(found(both(Some(99)), undetailed, (true, true)), drawn(Some(Finding::Wrong), None));
        let gone = Answers { missing: vec![ALIVE.id], ..Answers::default() };
        assert_eq!(found(gone, ALIVE, (false, false)), drawn(Some(Finding::Stale), Some(Open::Deletion)));
    }

    #[test]
    fn of_what_no_answer_shows_nothing_is_said() {
        for state in [RowState { is_alive: false, ..ALIVE }, RowState { is_newer: true, ..ALIVE }] {
            assert_eq!(found(both(Some(99)), state, (true, true)), None);
        }
        assert_eq!(found(Answers::default(), ALIVE, (false, false)), None);
        let no_detail = Answers { items: vec![contact(Some(99), None)], ..Answers::default() };
        assert_eq!(found(no_detail, ALIVE, (false, false)), None);
        let rejected = Rejected { id: ALIVE.id, reason: String::new(), has_id: true };
        assert_eq!(found(Answers { rejected: vec![rejected], ..both(Some(99)) }, ALIVE, (true, true)), None);
        // A list that lags behind the row: the detail alone counts.
        let ahead = RowState { updated_at: Some(second(50)), ..ALIVE };
        let lagging = Answers { items: vec![contact(Some(40), None)], ..both(Some(50)) };
        assert_eq!(found(lagging, ahead, (true, false)), drawn(None, None));
    }

    #[test]
    fn a_record_without_a_row_is_missing_if_a_pass_should_have_seen_it() {
        let answers = Answers::default();
        let of = |watermark, record: Record| {
            let resource = catalog::find("contacts").expect("known");
            let (items_differ, details_differ) = (HashSet::new(), HashSet::new());
            let draw =
                Evidence { resource, watermark, answers: &answers, items_differ, details_differ }.of_absent(&record);
            (draw.finding, draw.open)
        };
        let watermark = Some(second(100));
        let (missing, stale) = (Some(Finding::Missing), Some(Finding::Stale));
        assert_eq!(of(watermark, contact(Some(200), Some(99))), (missing, None));
        assert_eq!(of(watermark, contact(Some(200), Some(100))), (stale, None));
        assert_eq!(of(watermark, contact(Some(99), None)), (missing, None));
        assert_eq!(of(watermark, contact(Some(200), None)), (stale, Some(Open::Absence)));
        assert_eq!(of(watermark, contact(None, None)), (stale, Some(Open::Absence)));
        assert_eq!(of(None, contact(Some(1), Some(1))), (stale, Some(Open::Absence)));
    }
}
