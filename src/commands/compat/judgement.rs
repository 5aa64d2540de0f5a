//! What a row of the Python service is, beside the row here. Pure.
//!
//! Where two differ, one of them is older: the service read the record at another moment. Teamleader's own `updated_at`
//! says which, where there is one; else it counts which was read later. What counts as read here is the last complete
//! pass over the list, from its beginning.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// A row of the Python service.
pub(super) struct OldRow {
    /// `None`: it is no JSON that can be read.
    pub(super) content: Option<Value>,
    /// When the service last wrote it, which it did whenever it had read it; by the clock of this program's database.
    pub(super) read_at: DateTime<Utc>,
}

/// The row here.
pub(super) struct Row {
    pub(super) content: Option<Value>,
    pub(super) is_deleted: bool,
    /// Whether its detail is missing or stale.
    pub(super) lacks_detail: bool,
    /// When its detail was last read, where no list shows whether that has changed since.
    pub(super) detail_at: Option<DateTime<Utc>>,
}

/// What a row of the Python service is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All its fields are here, with the same values.
    Equal,
    /// Teamleader has changed the record since.
    OlderThere,
    /// It is newer than the row here, or was read later.
    NewerThere,
    /// Fields that only `.info` gives are still to be fetched here.
    LacksDetail,
    /// These fields differ. It was read later here, and Teamleader does not say that the record has changed meanwhile.
    Differs(Vec<String>),
    /// It is marked deleted here, which takes evidence.
    Deleted,
    /// It was never here, though all was read here since.
    Unknown,
    /// Its content is no object with fields.
    Unreadable,
}

/// `complete_at` is when the last complete pass over the list began here.
pub(super) fn judge(old: &OldRow, row: Option<&Row>, complete_at: Option<DateTime<Utc>>) -> Verdict {
    let later_here = complete_at.is_some_and(|complete_at| complete_at > old.read_at);
    let row = match row {
        Some(row) if !row.is_deleted => row,
        _ if !later_here => return Verdict::NewerThere,
        Some(_) => return Verdict::Deleted,
        None => return Verdict::Unknown,
    };
    let there = old.content.as_ref().and_then(Value::as_object).filter(|fields| !fields.is_empty());
    let (Some(there), Some(here)) = (there, row.content.as_ref().and_then(Value::as_object)) else {
        return Verdict::Unreadable;
    };
    if row.lacks_detail {
        return Verdict::LacksDetail;
    }
    let differing: Vec<String> =
        there.iter().filter(|(name, value)| !is_within(value, here.get(*name))).map(|(name, _)| name.clone()).collect();
    if differing.is_empty() {
        return Verdict::Equal;
    }
    // The list may have been read later, and the detail not.
    let later_here = later_here && row.detail_at.is_none_or(|detail_at| detail_at > old.read_at);
    match (updated_at(here.get("updated_at")), updated_at(there.get("updated_at"))) {
        (Some(here), Some(there)) if here > there => Verdict::OlderThere,
        (Some(here), Some(there)) if here < there => Verdict::NewerThere,
        _ if later_here => Verdict::Differs(differing),
        _ => Verdict::NewerThere,
    }
}

/// Whether all of an old value is in the one here: `.info` gives more of an object than `.list` does, and null is as
/// good as absent. Numbers are compared as numbers, since Python writes 1e2 as 100.0.
fn is_within(old: &Value, here: Option<&Value>) -> bool {
    match (old, here) {
        (Value::Null, None) => true,
        (Value::Number(old), Some(Value::Number(here))) => old == here || old.as_f64() == here.as_f64(),
        (Value::Array(old), Some(Value::Array(here))) => {
            old.len() == here.len() && old.iter().zip(here).all(|(old, here)| is_within(old, Some(here)))
        }
        (Value::Object(old), Some(Value::Object(here))) => old.iter().all(|(name, old)| is_within(old, here.get(name))),
        (old, here) => Some(old) == here,
    }
}

fn updated_at(value: Option<&Value>) -> Option<DateTime<Utc>> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2026-11-26T{hour:02}:00:00Z").parse().expect("a time")
    }

    fn row(content: Value) -> Row {
        Row { content: Some(content), is_deleted: false, lacks_detail: false, detail_at: None }
    }

    /// The verdict on a row that was read there at 12 o'clock, where all was read here from `complete` on.
    fn verdict(there: Value, here: Option<&Row>, complete: u32) -> Verdict {
        judge(&OldRow { content: Some(there), read_at: at(12) }, here, Some(at(complete)))
    }

    #[test]
    fn a_row_is_equal_if_all_of_it_is_here() {
        let there = json!({ "name": "a", "total": { "amount": 100.0 }, "tags": [{ "n": 1 }], "left": null });
        let here =
            row(json!({ "name": "a", "total": { "amount": 100, "tax": 21 }, "tags": [{ "n": 1.0 }], "more": 1 }));
        assert_eq!(verdict(there, Some(&here), 13), Verdict::Equal);
        for there in [json!({ "name": null }), json!({ "tags": [] }), json!({ "total": { "amount": 100, "vat": 0 } })] {
            assert!(matches!(verdict(there.clone(), Some(&here), 13), Verdict::Differs(_)), "{there}");
        }
    }

    #[test]
    fn of_two_that_differ_the_one_that_teamleader_changed_later_is_newer() {
        let of = |name: &str, hour: u32| json!({ "name": name, "updated_at": at(hour).to_rfc3339() });
        assert_eq!(verdict(of("a", 9), Some(&row(of("b", 10))), 11), Verdict::OlderThere);
        assert_eq!(verdict(of("a", 10), Some(&row(of("b", 9))), 13), Verdict::NewerThere);
        assert_eq!(verdict(of("a", 9), Some(&row(of("b", 9))), 13), Verdict::Differs(vec!["name".to_owned()]));
        assert_eq!(verdict(of("a", 9), Some(&row(of("b", 9))), 11), Verdict::NewerThere, "read there later");
    }

    #[test]
    fn a_detail_that_was_read_before_is_older() {
        let (there, here) = (json!({ "bic": "a" }), json!({ "bic": "b" }));
        for (detail_at, said) in [(11, Verdict::NewerThere), (13, Verdict::Differs(vec!["bic".to_owned()]))] {
            let here = Row { detail_at: Some(at(detail_at)), ..row(here.clone()) };
            assert_eq!(verdict(there.clone(), Some(&here), 14), said);
        }
    }

    #[test]
    fn a_row_that_is_not_here_is_newer_there_unless_all_was_read_here_later() {
        let there = json!({ "name": "a" });
        let deleted = Row { is_deleted: true, ..row(json!({ "name": "a" })) };
        assert_eq!(verdict(there.clone(), None, 13), Verdict::Unknown);
        assert_eq!(verdict(there.clone(), Some(&deleted), 13), Verdict::Deleted);
        for here in [None, Some(&deleted)] {
            assert_eq!(verdict(there.clone(), here, 11), Verdict::NewerThere);
        }
        assert_eq!(judge(&OldRow { content: Some(there), read_at: at(12) }, None, None), Verdict::NewerThere);
    }

    #[test]
    fn nothing_is_said_of_a_row_whose_detail_is_to_come() {
        let here = Row { lacks_detail: true, ..row(json!({ "name": "a" })) };
        for there in [json!({ "name": "a" }), json!({ "name": "b" }), json!({ "remarks": "r" })] {
            assert_eq!(verdict(there, Some(&here), 13), Verdict::LacksDetail);
        }
    }

    #[test]
    fn what_has_no_fields_is_equal_to_nothing() {
        let here = row(json!({ "name": "a" }));
        for there in [json!("{\"name\":\"a\"}"), json!({}), json!(null), json!([])] {
            assert_eq!(verdict(there, Some(&here), 13), Verdict::Unreadable);
        }
        assert_eq!(judge(&OldRow { content: None, read_at: at(12) }, Some(&here), Some(at(13))), Verdict::Unreadable);
    }
}
