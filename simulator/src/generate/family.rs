//! Records that the API lists for one parent alone: days off of a user, messages of a ticket, notes on a contact.

use std::sync::LazyLock;

use super::dice::Dice;
use super::facts::Parent;
use super::kinds;
use crate::contract::{self, Endpoint, Fields};

/// The records of one resource, and the parents that they belong to.
pub(crate) struct Family {
    /// The resource of the children.
    pub(crate) child: &'static str,
    /// How a request names the parent.
    pub(crate) asked: Asked,
    /// The resources that parents can be of.
    pub(crate) parents: Vec<&'static str>,
}

/// How a request names the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By its id, in this parameter.
    Parameter(&'static str),
    /// By type and id, in the filter `subject`.
    Subject,
}

impl Family {
    /// What the truth calls a parent: the `type` of a subject, else the resource.
    pub(crate) fn name_of(&self, parent: &'static str) -> &'static str {
        match self.asked {
            Asked::Subject => kinds::kind_of(parent).unwrap_or(parent),
            Asked::Parameter(_) => parent,
        }
    }

    /// A parent for a new child, if any lives: about half of the subjects are contacts. `living` returns how many
    /// records of a resource there are; the ordinal of the answer is a number below that.
    pub(crate) fn choose(&self, dice: &mut Dice, living: impl Fn(&str) -> u64) -> Option<Parent> {
        let (preferred, rest): (Vec<_>, Vec<_>) =
            self.parents.iter().copied().filter(|parent| living(parent) > 0).partition(|parent| *parent == "contacts");
        let among = if rest.is_empty() || (!preferred.is_empty() && dice.chance(50)) { preferred } else { rest };
        if among.is_empty() {
            return None;
        }
        let resource = among[dice.below(among.len() as u64) as usize];
        Some(Parent { resource, ordinal: dice.below(living(resource)) })
    }
}

/// The family whose children are the records of this resource.
pub(crate) fn family(child: &str) -> Option<&'static Family> {
    families().iter().find(|family| family.child == child)
}

/// The families that have parents of this resource, with its name as [`super::Parent`] holds it.
pub(crate) fn families_of(parent: &str) -> impl Iterator<Item = (&'static Family, &'static str)> {
    families().iter().filter_map(move |family| Some((family, *family.parents.iter().find(|name| **name == parent)?)))
}

/// Every family.
pub(crate) fn families() -> &'static [Family] {
    static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
        let by_id = [
            ("users.daysOff", "id", "users"),
            ("tickets.messages", "id", "tickets"),
            ("incomingCreditNotes.payments", "id", "incomingCreditNotes"),
            ("incomingInvoices.payments", "id", "incomingInvoices"),
            ("receipts.payments", "id", "receipts"),
            ("projects-v2/projectLines", "project_id", "projects-v2/projects"),
        ];
        let by_id = by_id.map(|(child, parameter, parent)| Family {
            child,
            asked: Asked::Parameter(parameter),
            parents: vec![parent],
        });
        let by_subject = contract::resources().filter_map(|child| {
            let list = contract::endpoint(contract::list_endpoint(child)?)?;
            let required = list.filter.get("subject").is_some_and(|subject| subject.required);
            required.then(|| Family { child, asked: Asked::Subject, parents: subjects(child, list) })
        });
        by_id.into_iter().chain(by_subject).collect()
    });
    &FAMILIES
}

/// The resources of the subjects that the list takes and that its records can show. Where the blueprint does not name
/// the types (emailTracking), those of notes.
fn subjects(child: &str, list: &'static Endpoint) -> Vec<&'static str> {
    let types = |fields: &'static Fields| fields.get("subject")?.fields.get("type")?.choices.as_ref();
    let asked = types(&list.filter).or_else(|| types(&contract::endpoint("notes.list")?.filter));
    let shown = [types(&list.record), contract::info_endpoint(child).and_then(|info| types(&info.record))];
    let fits = |kind: &&String| shown.iter().flatten().all(|types| types.contains(*kind));
    asked.into_iter().flatten().filter(fits).filter_map(|kind| kinds::resource_of(kind)).collect()
}
