//! The types of webhooks, and which records each is a reason to look at.
//!
//! A call names a type and a subject, and nothing of what has changed. The types are those of the API's documents; the
//! subjects of most are records of the resource that the type begins with.

use std::sync::LazyLock;

use super::{AskAgain, Resource, blueprint, find, named};

/// What a call of a type is a reason to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The record whose id the subject has.
    Record(&'static str),
    /// The list of those that belong to the record whose id the subject has.
    Children(&'static str),
    /// The list of those that belong to a record; the id is the record's or that of one of the list.
    ChildrenOrOne(&'static str),
}

/// A type of webhook.
#[derive(Debug)]
pub struct WebhookType {
    /// Its name: `contact.updated`.
    pub name: &'static str,
    /// What to look at; nothing where no resource has what it is about.
    pub looks: Vec<Look>,
}

/// What types look at besides the record that they are about, by the word before the dot.
const BESIDES: [(&str, &[Look]); 5] = [
    ("nextgenProject", &[Look::Children("projects-v2/projectLines")]),
    ("incomingInvoice", &[Look::Children("incomingInvoices.payments"), Look::Children("bookkeepingSubmissions")]),
    ("incomingCreditNote", &[Look::Children("incomingCreditNotes.payments"), Look::Children("bookkeepingSubmissions")]),
    ("receipt", &[Look::Children("receipts.payments"), Look::Children("bookkeepingSubmissions")]),
    // The documents do not say whether the subject is the ticket or the message.
    ("ticketMessage", &[Look::ChildrenOrOne("tickets.messages")]),
];

/// All types.
pub static TYPES: LazyLock<Vec<WebhookType>> = LazyLock::new(|| {
    let types = blueprint::webhook_types().iter().map(|name| WebhookType { name, looks: looks(name) });
    types.collect()
});

fn looks(name: &str) -> Vec<Look> {
    let subject = name.split('.').next().unwrap_or(name);
    let record = named(subject).and_then(find).filter(|resource| resource.ask_again() != AskAgain::List);
    let besides = BESIDES.iter().find(|(word, _)| *word == subject).map(|(_, looks)| *looks).unwrap_or_default();
    record.map(|resource| Look::Record(resource.name)).into_iter().chain(besides.iter().copied()).collect()
}

/// The type of that name.
pub fn find_type(name: &str) -> Option<&'static WebhookType> {
    TYPES.iter().find(|known| known.name == name)
}

impl Look {
    /// The resource whose rows may change.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Record(resource) | Self::Children(resource) | Self::ChildrenOrOne(resource) => resource,
        }
    }
}

impl WebhookType {
    /// What to look at of the resources that are synced.
    pub fn looks_at<'a>(&'a self, synced: &'a [&'static Resource]) -> impl Iterator<Item = Look> + 'a {
        let is_synced = |look: &Look| synced.iter().any(|resource| resource.name == look.resource());
        self.looks.iter().copied().filter(is_synced)
    }
}

/// Whether calls name records of the resource.
pub fn announce(resource: &Resource) -> bool {
    TYPES.iter().any(|known| known.looks.contains(&Look::Record(resource.name)))
}

/// Whether calls announce that a record of the resource has changed.
pub fn announce_changes(resource: &Resource) -> bool {
    announce_by(resource, "updated")
}

/// Whether calls announce that a record of the resource is deleted.
pub fn announce_deletions(resource: &Resource) -> bool {
    announce_by(resource, "deleted")
}

fn announce_by(resource: &Resource, verb: &str) -> bool {
    let has_verb = |known: &&WebhookType| known.name.split_once('.').is_some_and(|(_, of)| of == verb);
    TYPES.iter().filter(has_verb).any(|known| known.looks.contains(&Look::Record(resource.name)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_type_of_the_documents_is_mapped_or_named_as_of_no_use() {
        let documents: Value = serde_json::from_str(include_str!("../../simulator/data/endpoints.json")).expect("JSON");
        let documented: Vec<&str> =
            documents["webhook_types"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let names: Vec<&str> = TYPES.iter().map(|known| known.name).collect();
        assert_eq!(names, documented);
        assert_eq!(names.len(), 95, "a new type: say what it is about");
        let unused: Vec<&str> = TYPES.iter().filter(|known| known.looks.is_empty()).map(|known| known.name).collect();
        assert_eq!(unused, ["account.deactivated", "account.deleted"], "they are about the account, and no record");
    }

    #[test]
    fn types_look_at_what_they_are_about() {
        let looks = |name: &str| find_type(name).expect("a type").looks.clone();
        assert_eq!(looks("contact.linkedToCompany"), [Look::Record("contacts")]);
        assert_eq!(looks("invoice.paymentRegistered"), [Look::Record("invoices")]);
        assert_eq!(looks("nextgenTask.completed"), [Look::Record("projects-v2/tasks")]);
        assert_eq!(
            looks("nextgenProject.closed"),
            [Look::Record("projects-v2/projects"), Look::Children("projects-v2/projectLines")]
        );
        assert_eq!(looks("timeTracking.added"), [Look::Record("timeTracking")]);
        assert_eq!(looks("user.deactivated"), [Look::Record("users")]);
        assert_eq!(looks("ticketMessage.added"), [Look::ChildrenOrOne("tickets.messages")]);
        assert_eq!(looks("receipt.approved")[..2], [Look::Record("receipts"), Look::Children("receipts.payments")]);
        for look in TYPES.iter().flat_map(|known| &known.looks) {
            assert!(find(look.resource()).is_some(), "{look:?}");
        }
    }

    #[test]
    fn not_all_that_is_named_is_announced_whatever_becomes_of_it() {
        let of = |name: &str| {
            let resource = find(name).expect("known");
            (announce(resource), announce_changes(resource), announce_deletions(resource))
        };
        assert_eq!(of("contacts"), (true, true, true));
        assert_eq!(of("milestones"), (true, true, false));
        assert_eq!(of("users"), (true, false, false), "only that one is deactivated");
        assert_eq!(of("orders"), (false, false, false));
    }

    #[test]
    fn what_is_not_synced_is_not_looked_at() {
        let synced = [find("contacts").expect("known"), find("tickets").expect("known")];
        let looks = |name: &str| find_type(name).expect("a type").looks_at(&synced).count();
        assert_eq!((looks("contact.updated"), looks("company.updated"), looks("ticketMessage.added")), (1, 0, 0));
    }
}
