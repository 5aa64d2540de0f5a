//! Writes one record by walking its shape.

use std::cell::Cell;

use uuid::Uuid;

use super::node::{Content, Follows, Kind, Node, Presence, Tap};
use super::words::{Clock, Rolls};
use crate::generate::dice::{Dice, fingerprint};
use crate::generate::documents::document_of;
use crate::generate::draft::{Draft, Optional, SortKey};
use crate::generate::facts::{Facts, foreign_id};
use crate::generate::json::{Json, day, moment};
use crate::generate::world::{World, item_source, line_target};
use crate::generate::{custom_fields, kinds};

const QUARTER: i64 = 900;
const DAY: i64 = 86_400;

/// Which of the two texts is written.
pub(super) enum View<'a> {
    /// The list item; optional fields are stored apart.
    List,
    /// The record of `.info` with the optional fields of these includes.
    Info(&'a [&'a str]),
}

/// Writes one record.
pub(super) struct Writer<'a> {
    resource: &'static str,
    world: &'a World,
    facts: &'a Facts,
    view: View<'a>,
    seed: u64,
    /// What the moments and days of the record lie around; edits of the list move it.
    about: i64,
    /// The number by which keys are made: the record's own, or that of the one whose name it shares.
    own: u64,
    /// The time is that of a task of the new projects.
    of_new_task: Cell<bool>,
}

/// A value as sorts and filters see it.
enum Datum<'a> {
    Null,
    Text(&'a str),
    Flag(bool),
    /// Ten thousand times the number.
    Number(i64),
    Moment(i64),
    Day(i64, &'a str),
    Reference(&'a str, Uuid),
}

impl<'a> Writer<'a> {
    pub(super) fn new(resource: &'static str, world: &'a World, facts: &'a Facts, view: View<'a>) -> Self {
        let has_twin = resource == "commercialDiscounts" && world.twists().equal_discounts;
        let own = if has_twin { facts.ordinal & !1 } else { facts.ordinal };
        let seed = world.record_seed(resource, own);
        let later = world.field_dice(seed, 0, facts.list_edits).below(375 * 96) as i64;
        let about = facts.created_at / QUARTER * QUARTER + later * QUARTER;
        Self { resource, world, facts, view, seed, about, own, of_new_task: Cell::new(false) }
    }

    /// The text of the whole record; in a list item what sorts and filters see of it goes to the draft.
    pub(super) fn record(&self, nodes: &[Node], draft: &mut Draft) -> String {
        let mut json = Json::object(1024);
        self.members(&mut json, nodes, 0, draft);
        json.finish()
    }

    /// `item` distinguishes the items of an array.
    fn members(&self, json: &mut Json, nodes: &[Node], item: u64, draft: &mut Draft) {
        for node in nodes {
            match (&self.view, if matches!(self.view, View::List) { node.list } else { node.info }) {
                (_, Presence::Absent) => {}
                (_, Presence::Always) => self.member(json, node, item, draft),
                (View::Info(includes), Presence::Asked(include)) => {
                    if includes.contains(&include) {
                        self.member(json, node, item, draft);
                    }
                }
                (View::List, Presence::Asked(include)) => {
                    let mut members = Json::members();
                    self.member(&mut members, node, item, draft);
                    let members = members.finish_members().into();
                    draft.optional.push(Optional { include, at: json.len() as u32, members });
                }
            }
        }
    }

    fn rolls(&self, node: &Node, item: u64) -> Rolls {
        let edits = match node.follows {
            Follows::Nothing => 0,
            Follows::List => self.facts.list_edits,
            Follows::Info => self.facts.info_edits,
        };
        // The amounts of a record are in one currency.
        let place = if node.key == "currency" { 1 } else { node.hash.wrapping_add(item) };
        let dice = |edits| self.world.field_dice(self.seed, place, edits);
        Rolls { base: dice(0), edited: dice(edits), edits }
    }

    fn member(&self, json: &mut Json, node: &Node, item: u64, draft: &mut Draft) {
        let (facts, key) = (self.facts, node.key);
        let mut rolls = self.rolls(node, item);
        if node.nullable && self.is_null(node, &mut rolls) {
            json.raw(key, "null");
            return self.tap(node, Datum::Null, draft);
        }
        match &node.content {
            Content::Id if self.resource == "commercialDiscounts" && self.world.twists().discounts_without_ids => {}
            Content::Id => {
                json.id(key, facts.id);
                self.tap(node, Datum::Text(&facts.id.to_string()), draft);
            }
            Content::CreatedAt(clock) => self.write_moment(json, node, facts.created_at, *clock, draft),
            Content::UpdatedAt => self.write_moment(json, node, facts.updated_at, Clock::Utc, draft),
            Content::Moment(clock) => self.write_moment(json, node, self.when(node, item, &mut rolls), *clock, draft),
            Content::Day => self.write_day(json, node, self.day(node, &mut rolls), draft),
            Content::Text(words) => {
                let text = words.write(&mut rolls, &Facts { ordinal: self.own, ..*facts }, node.marks);
                self.write_text(json, node, &text, draft);
            }
            Content::Choice(choices) => {
                let text = choices[self.place(node, choices.len() as u64, &mut rolls)];
                self.write_text(json, node, text, draft);
            }
            Content::NumberChoice(choices) => json.raw(key, choices[rolls.step(choices.len() as u64) as usize]),
            Content::Flag => {
                let flag = rolls.step(2) == 1;
                json.flag(key, flag);
                self.tap(node, Datum::Flag(flag), draft);
            }
            Content::Number(figure) => {
                let (text, value) = figure.write(&mut rolls, facts);
                json.raw(key, &text);
                self.tap(node, Datum::Number(value), draft);
            }
            Content::Reference(kinds, more) => {
                let (kind, id) = self.referred(node, kinds, &mut rolls);
                json.nested(key, |json| {
                    json.identity(kind, id);
                    self.members(json, more, item, draft);
                });
                self.tap(node, Datum::Reference(kind, id), draft);
            }
            Content::References(kinds) => self.write_references(json, node, kinds, &mut rolls, draft),
            Content::Parent | Content::Target => self.write_relative(json, node, draft),
            Content::Object(nodes) => json.nested(key, |json| self.members(json, nodes, item, draft)),
            Content::Objects(nodes) => json.list(key, |json| {
                let items = if node.marks { rolls.step(4) } else { rolls.base.below(4) };
                for number in 1..=items {
                    json.item(|json| self.members(json, nodes, item * 10 + number, draft));
                }
            }),
            Content::CustomFields(context) => {
                custom_fields::write_any(json, self.world, context, &mut rolls.base, &mut rolls.edited);
            }
            Content::Empty => json.raw(key, "[]"),
        }
    }

    /// Which of so many choices. Administrative areas are of the countries by turns: see [`World::area`].
    fn place(&self, node: &Node, choices: u64, rolls: &mut Rolls) -> usize {
        let by_turns = self.resource == "levelTwoAreas" && node.key == "country";
        (if by_turns { self.facts.ordinal % choices } else { rolls.step(choices) }) as usize
    }

    fn write_references(&self, json: &mut Json, node: &Node, kinds: &[Kind], rolls: &mut Rolls, draft: &mut Draft) {
        json.list(node.key, |json| {
            if node.key == "relates_to" && self.of_new_task.get() {
                let task = self.world.some("projects-v2/tasks", &mut rolls.base);
                json.item(|json| json.identity("nextgenTask", task));
                self.tap(node, Datum::Reference("nextgenTask", task), draft);
            }
            for _ in 0..rolls.base.below(4) {
                let (kind, id) = self.some(kinds, rolls);
                json.item(|json| json.identity(kind, id));
                self.tap(node, Datum::Reference(kind, id), draft);
            }
        });
    }

    fn write_relative(&self, json: &mut Json, node: &Node, draft: &mut Draft) {
        let Some((kind, id)) = self.relative(node) else { return json.raw(node.key, "null") };
        json.reference(node.key, kind, id);
        self.tap(node, Datum::Reference(kind, id), draft);
    }

    /// A quarter of the nullable values is null; that which an edit is to change is not, or is so by turns.
    fn is_null(&self, node: &Node, rolls: &mut Rolls) -> bool {
        match &node.content {
            Content::CreatedAt(_) | Content::UpdatedAt | Content::Parent => false,
            _ if self.lacks(node) => true,
            Content::Reference(..) if node.marks => rolls.step(2) == 1,
            Content::Reference(kinds, _) | Content::References(kinds) => rolls.base.chance(25) || !self.has_any(kinds),
            _ => rolls.edited.chance(25) && !(node.marks && rolls.edits > 0),
        }
    }

    /// Whether it is one of the fields of expenses that receipts do not have.
    fn lacks(&self, node: &Node) -> bool {
        self.resource == "expenses"
            && document_of(self.facts.ordinal).0 == "receipt"
            && matches!(node.key, "due_date" | "iban_number" | "payment_reference" | "tax_exclusive")
    }

    fn write_text(&self, json: &mut Json, node: &Node, text: &str, draft: &mut Draft) {
        json.text(node.key, text);
        self.tap(node, Datum::Text(text), draft);
    }

    fn write_day(&self, json: &mut Json, node: &Node, seconds: i64, draft: &mut Draft) {
        let text = day(seconds);
        json.text(node.key, &text);
        self.tap(node, Datum::Day(seconds, &text), draft);
    }

    fn write_moment(&self, json: &mut Json, node: &Node, seconds: i64, clock: Clock, draft: &mut Draft) {
        match clock {
            Clock::Utc => json.moment(node.key, seconds),
            Clock::Brussels => json.text(node.key, &moment(seconds + 3600).replace("+00:00", "+01:00")),
            Clock::Plain => json.text(node.key, &moment(seconds)[..19].replace('T', " ")),
        }
        self.tap(node, Datum::Moment(seconds), draft);
    }

    fn when(&self, node: &Node, item: u64, rolls: &mut Rolls) -> i64 {
        // Every edit moves a marked moment to another minute; all others lie on the half hour.
        let moved = if node.marks { i64::from(rolls.edits) * 60 } else { 0 };
        let length = if is_end(node.key) { rolls.edited.between(1, 17) * 2 * QUARTER } else { 0 };
        // The phases of a deal follow each other.
        let stays =
            if item > 0 && node.key == "started_at" { (item % 10) as i64 * 40 + rolls.base.between(0, 40) } else { 0 };
        self.about + length + moved + stays * DAY
    }

    fn day(&self, node: &Node, rolls: &mut Rolls) -> i64 {
        if node.marks {
            let first = self.facts.created_at / DAY + rolls.base.between(0, 3000);
            return (first + i64::from(rolls.edits)) * DAY;
        }
        let length = if is_end(node.key) { rolls.edited.between(1, 61) } else { 0 };
        (self.about / DAY + length) * DAY
    }

    fn has_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| kind.resource.is_none_or(|resource| self.world.count(resource) > 0))
    }

    /// What a reference points to. The subject of time on a task of the new projects is a `todo` with an id of its own.
    fn referred(&self, node: &Node, kinds: &[Kind], rolls: &mut Rolls) -> (&'static str, Uuid) {
        let (kind, id) = self.some(kinds, rolls);
        if self.resource != "timeTracking" || kind != "todo" || self.facts.ordinal.is_multiple_of(2) {
            return (kind, id);
        }
        self.of_new_task.set(true);
        (kind, Dice::new(&[self.seed, node.hash, u64::from(rolls.edits)]).uuid())
    }

    /// Some record of one of these kinds, of those first that the account has.
    fn some(&self, kinds: &[Kind], rolls: &mut Rolls) -> (&'static str, Uuid) {
        let dice = &mut rolls.base;
        let kind = match kinds {
            [kind] => kind,
            _ => {
                let from = dice.below(kinds.len() as u64) as usize;
                let mut by_turns = kinds.iter().cycle().skip(from).take(kinds.len());
                by_turns.find(|kind| self.has_any(std::slice::from_ref(kind))).unwrap_or(&kinds[from])
            }
        };
        let Some(resource) = kind.resource else { return (kind.name, foreign_id(kind.name, dice)) };
        let count = self.world.count(resource).max(1);
        let ordinal = (dice.below(count) + u64::from(rolls.edits)) % count;
        (kind.name, self.world.id(resource, ordinal))
    }

    /// The parent of the record, or what it is about.
    fn relative(&self, node: &Node) -> Option<(&'static str, Uuid)> {
        let (own, ordinal) = (self.resource, self.facts.ordinal);
        if let Content::Target = node.content {
            if let Some((resource, ordinal)) = item_source(own, ordinal) {
                return Some((kinds::kind_of(resource)?, self.world.id(resource, ordinal)));
            }
            let kind = match line_target(own, ordinal) {
                Some((resource, _)) => kinds::kind_of(resource)?,
                None => document_of(ordinal).0,
            };
            return Some((kind, self.facts.id));
        }
        let parent = self.facts.parent?;
        Some((kinds::kind_of(parent.resource)?, self.world.id(parent.resource, parent.ordinal)))
    }

    fn tap(&self, node: &Node, datum: Datum<'_>, draft: &mut Draft) {
        if !matches!(self.view, View::List) {
            return;
        }
        for tap in &node.taps {
            let facet = match (tap, &datum) {
                (Tap::Sort(number), Datum::Number(value) | Datum::Moment(value) | Datum::Day(value, _)) => {
                    draft.keys[*number] = SortKey::Number(*value);
                    None
                }
                (Tap::Sort(number), Datum::Text(text)) => {
                    draft.keys[*number] = SortKey::text(text);
                    None
                }
                (Tap::Bound(number), Datum::Moment(value) | Datum::Day(value, _)) => {
                    draft.bounded[*number] = Some(*value);
                    None
                }
                (Tap::Whole(filter), Datum::Text(text) | Datum::Day(_, text)) => Some(fingerprint(&[filter, text])),
                (Tap::Whole(filter), Datum::Flag(flag)) => Some(fingerprint(&[filter, &flag.to_string()])),
                (Tap::Whole(filter), Datum::Reference(kind, id)) => Some(fingerprint(&[filter, kind, &id.to_string()])),
                (Tap::Id(filter), Datum::Reference(_, id)) => Some(fingerprint(&[filter, &id.to_string()])),
                (Tap::IdOf(filter, wanted), Datum::Reference(kind, id)) if kind == wanted => {
                    Some(fingerprint(&[filter, &id.to_string()]))
                }
                (Tap::Kind(filter), Datum::Reference(kind, _)) => Some(fingerprint(&[filter, kind])),
                (Tap::Whole(filter) | Tap::Id(filter) | Tap::IdOf(filter, _), Datum::Null) => {
                    Some(fingerprint(&[filter]))
                }
                _ => None,
            };
            draft.facets.extend(facet);
        }
    }
}

/// Whether a moment or a day of this name comes after the others of its record.
fn is_end(key: &str) -> bool {
    ["end", "due", "clos", "complete", "paid", "last", "expires", "next"].iter().any(|part| key.contains(part))
}
