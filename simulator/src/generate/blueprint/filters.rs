//! Which fields answer the filters and sorts of the lists that follow the blueprint.
//!
//! The blueprint names filters and does not say what they compare. Those that are not here have no field that shows the
//! answer, but for `ids`, `updated_since` and the parent, which [`crate::filter`] knows.

use super::node::{Content, Node, Tap};
use crate::contract::Endpoint;
use crate::generate::draft::{Bound, Range};

/// How a filter compares.
#[derive(Clone, Copy)]
enum By {
    Whole,
    Id,
    IdOf(&'static str),
    Kind,
    From,
    Until,
}

/// Resource, filter, how it compares, and the field.
#[rustfmt::skip]
const FILTERS: &[(&str, &str, By, &str)] = &[
    ("businessTypes", "country", By::Whole, "country"),
    ("calls", "call_outcome_id", By::Id, "outcome"),
    ("calls", "scheduled_after", By::From, "scheduled_at"),
    ("calls", "scheduled_before", By::Until, "scheduled_at"),
    ("closingDays", "date_after", By::From, "date"),
    ("closingDays", "date_before", By::Until, "date"),
    ("commercialDiscounts", "department_id", By::Id, "department"),
    ("deals", "created_before", By::Until, "created_at"),
    ("deals", "customer", By::Whole, "lead.customer"),
    ("deals", "estimated_closing_date", By::Whole, "estimated_closing_date"),
    ("deals", "estimated_closing_date_from", By::From, "estimated_closing_date"),
    ("deals", "estimated_closing_date_until", By::Until, "estimated_closing_date"),
    ("deals", "phase_id", By::Id, "current_phase"),
    ("deals", "pipeline_ids", By::Id, "pipeline"),
    ("deals", "responsible_user_id", By::Id, "responsible_user"),
    ("deals", "status", By::Whole, "status"),
    ("documentTemplates", "department_id", By::Id, "department"),
    ("documentTemplates", "document_type", By::Whole, "document_type"),
    ("documentTemplates", "status", By::Whole, "status"),
    ("expenses", "bookkeeping_statuses", By::Whole, "bookkeeping_status"),
    ("expenses", "department_ids", By::Id, "company_entity"),
    ("expenses", "payment_statuses", By::Whole, "payment_status"),
    ("expenses", "review_statuses", By::Whole, "review_status"),
    ("expenses", "source_types", By::Kind, "source"),
    ("expenses", "supplier", By::Whole, "supplier"),
    ("levelTwoAreas", "country", By::Whole, "country"),
    ("mailTemplates", "department_id", By::Id, "department"),
    ("mailTemplates", "type", By::Whole, "type"),
    ("meetings", "end_date", By::Until, "scheduled_at"),
    ("meetings", "group_id", By::Id, "group"),
    ("meetings", "milestone_id", By::Id, "milestone"),
    ("meetings", "recurrence_id", By::Id, "recurrence"),
    ("meetings", "start_date", By::From, "scheduled_at"),
    ("milestones", "due_after", By::From, "due_on"),
    ("milestones", "due_before", By::Until, "due_on"),
    ("milestones", "project_id", By::Id, "project"),
    ("milestones", "status", By::Whole, "status"),
    ("paymentMethods", "status", By::Whole, "status"),
    ("plannableItems", "types", By::Kind, "source"),
    ("projects-v2/projectGroups", "project_id", By::Id, "project"),
    ("projects-v2/projectLines", "types", By::Kind, "line"),
    ("projects-v2/projects", "customers", By::Whole, "customers"),
    ("projects-v2/projects", "deal_ids", By::Id, "deals"),
    ("projects-v2/projects", "quotation_ids", By::Id, "quotations"),
    ("projects-v2/projects", "status", By::Whole, "status"),
    ("reservations", "assignees", By::Whole, "assignee"),
    ("reservations", "end_date", By::Until, "date"),
    ("reservations", "plannable_item_ids", By::Id, "plannable_item"),
    ("reservations", "start_date", By::From, "date"),
    ("subscriptions", "customer", By::Whole, "invoicee.customer"),
    ("subscriptions", "department_id", By::Id, "department"),
    ("subscriptions", "status", By::Whole, "status"),
    ("tasks", "completed", By::Whole, "completed"),
    ("tasks", "customer", By::Whole, "customer"),
    ("tasks", "due_by", By::Until, "due_on"),
    ("tasks", "due_from", By::From, "due_on"),
    ("tasks", "milestone_id", By::Id, "milestone"),
    ("tasks", "user_id", By::IdOf("user"), "assignee"),
    ("tasks", "deal_id", By::Id, "deal"),
    ("taxRates", "department_id", By::Id, "department"),
    ("teams", "team_lead_id", By::Id, "team_lead"),
    ("tickets", "assignee_ids", By::Id, "assignee"),
    ("tickets", "exclude.status_ids", By::Id, "status"),
    ("tickets", "project_ids", By::Id, "project"),
    ("tickets.messages", "created_after", By::From, "created_at"),
    ("tickets.messages", "created_before", By::Until, "created_at"),
    ("tickets.messages", "type", By::Whole, "type"),
    ("timeTracking", "ended_after", By::From, "ended_at"),
    ("timeTracking", "ended_before", By::Until, "ended_at"),
    ("timeTracking", "relates_to", By::Whole, "relates_to"),
    ("timeTracking", "started_after", By::From, "started_at"),
    ("timeTracking", "started_before", By::Until, "started_at"),
    ("timeTracking", "subject", By::Whole, "subject"),
    ("timeTracking", "subject_types", By::Kind, "subject"),
    ("timeTracking", "user_id", By::Id, "user"),
    ("users.daysOff", "ends_before", By::Until, "ends_at"),
    ("users.daysOff", "starts_after", By::From, "starts_at"),
    ("withholdingTaxRates", "department_id", By::Id, "department"),
];

/// The filters of one list.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) facets: Vec<&'static str>,
    pub(super) ranges: Vec<Range>,
}

impl Filters {
    /// Puts the taps of every filter that can be answered into the fields that answer it.
    pub(super) fn tap(resource: &str, nodes: &mut [Node]) -> Self {
        let mut filters = Self::default();
        for (_, filter, by, path) in FILTERS.iter().filter(|(name, ..)| *name == resource) {
            let Some(node) = find(nodes, path) else { continue };
            let tap = match *by {
                By::Whole => Tap::Whole(filter),
                By::Id => Tap::Id(filter),
                By::IdOf(kind) => Tap::IdOf(filter, kind),
                By::Kind => Tap::Kind(filter),
                By::From | By::Until => {
                    let bound = if matches!(by, By::From) { Bound::From } else { Bound::Until };
                    let value = filters.ranges.len();
                    filters.ranges.push(Range { filter, bound, value });
                    Tap::Bound(value)
                }
            };
            if !matches!(tap, Tap::Bound(_)) {
                filters.facets.push(filter);
            }
            node.taps.push(tap);
        }
        filters
    }
}

/// Puts the taps of the sort fields into their fields. Gives the number of the one that no field shows: the moment of
/// creation.
pub(super) fn tap_sorts(resource: &str, list: &Endpoint, nodes: &mut [Node]) -> Option<usize> {
    let mut creation = None;
    for (number, field) in list.sort.fields.iter().enumerate() {
        let path = match (resource, field.as_str()) {
            ("timeTracking", "starts_on") => "started_on",
            ("expenses", "supplier_name") => "title",
            (_, field) => field,
        };
        // Of an amount or a duration, how much it is.
        let places = [format!("{path}.amount"), format!("{path}.value"), path.to_owned()];
        let place = places.iter().find(|place| find(nodes, place).is_some());
        match place.and_then(|place| find(nodes, place)) {
            Some(node) => node.taps.push(Tap::Sort(number)),
            None => creation = Some(number),
        }
    }
    creation
}

/// A field by its path.
pub(super) fn find<'a>(nodes: &'a mut [Node], path: &str) -> Option<&'a mut Node> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let node = nodes.iter_mut().find(|node| node.key == key)?;
    let Some(rest) = rest else { return Some(node) };
    match &mut node.content {
        Content::Object(nodes) | Content::Objects(nodes) => find(nodes, rest),
        _ => None,
    }
}
