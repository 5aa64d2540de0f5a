//! events. Their `.info` adds nothing to the list.

use uuid::Uuid;

use super::dice::fingerprint;
use super::draft::{Draft, SortKey, id_facet};
use super::facts::Facts;
use super::json::Json;
use super::names::{SENTENCES, spice};
use super::titles::matter_for;
use super::world::World;

const HOUR: i64 = 3600;

struct Event {
    creator: Uuid,
    task: Uuid,
    activity_type: Uuid,
    title: String,
    description: String,
    starts_at: i64,
    ends_at: i64,
    location: &'static str,
    attendees: Vec<(&'static str, Uuid)>,
    links: Vec<(&'static str, Uuid)>,
}

impl Event {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("events", facts);
        let dice = &mut rolls.base;
        let edits = &mut rolls.list;
        let starts_at = facts.created_at / HOUR * HOUR + edits.between(0, 9000) * HOUR;
        let attendees = (0..dice.below(4)).map(|_| match dice.chance(50) {
            true => ("user", world.some("users", dice)),
            false => ("contact", world.some("contacts", dice)),
        });
        let attendees = attendees.collect();
        let links = (0..dice.below(3)).map(|_| match dice.below(3) {
            0 => ("company", world.some("companies", dice)),
            1 => ("contact", world.some("contacts", dice)),
            _ => ("deal", world.some("deals", dice)),
        });
        Self {
            links: links.collect(),
            attendees,
            creator: world.some("users", dice),
            task: world.some("tasks", dice),
            activity_type: world.some("activityTypes", dice),
            title: matter_for(facts.ordinal + u64::from(facts.list_edits), dice),
            description: match dice.chance(40) {
                true => String::new(),
                false => spice(facts.ordinal, edits.pick(SENTENCES).to_owned()),
            },
            starts_at,
            ends_at: starts_at + edits.between(1, 9) * HOUR / 2,
            location: edits.pick(&["", "Dok Noord 3A", "Café Zuid", "Visioconférence", "Online"]),
        }
    }

    fn write(&self, facts: &Facts) -> String {
        let mut json = Json::object(1000);
        json.id("id", facts.id);
        json.reference("creator", "user", self.creator);
        json.reference("task", "task", self.task);
        json.reference("activity_type", "activityType", self.activity_type);
        json.text("title", &self.title);
        json.text("description", &self.description);
        json.moment("starts_at", self.starts_at);
        json.moment("ends_at", self.ends_at);
        json.text("location", self.location);
        for (key, records) in [("attendees", &self.attendees), ("links", &self.links)] {
            json.list(key, |json| {
                for (kind, id) in records {
                    json.item(|json| json.identity(kind, *id));
                }
            });
        }
        json.finish()
    }
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let event = Event::roll(world, facts);
    let mut facets = vec![
        id_facet("user_id", event.creator),
        id_facet("activity_type_id", event.activity_type),
        id_facet("task_id", event.task),
    ];
    for (filter, records) in [("attendee", &event.attendees), ("link", &event.links)] {
        facets.extend(records.iter().map(|(kind, id)| fingerprint(&[filter, kind, &id.to_string()])));
    }
    Draft {
        list: event.write(facts),
        keys: vec![SortKey::Number(event.starts_at)],
        facets,
        bounded: vec![Some(event.ends_at), Some(event.starts_at)],
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    Event::roll(world, facts).write(facts)
}
