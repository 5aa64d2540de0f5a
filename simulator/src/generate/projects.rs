//! projects, the legacy ones.

use uuid::Uuid;

use super::custom_fields;
use super::dice::{Dice, fingerprint};
use super::draft::{Draft, SortKey, id_facet};
use super::facts::{Facts, Rolls};
use super::json::{Json, day};
use super::names::{SENTENCES, spice};
use super::titles::matter_for;
use super::world::World;

const DAY: i64 = 86_400;

struct Project {
    title: String,
    description: String,
    status: &'static str,
    customer: (&'static str, Uuid),
    deal: Uuid,
    due_on: i64,
    rolls: Rolls,
}

impl Project {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("projects", facts);
        let dice = &mut rolls.base;
        let edits = &mut rolls.list;
        Self {
            title: matter_for(facts.ordinal + u64::from(facts.list_edits), dice),
            description: match dice.chance(30) {
                true => String::new(),
                false => spice(facts.ordinal, edits.pick(SENTENCES).to_owned()),
            },
            status: edits.pick(&["active", "active", "on_hold", "done", "cancelled"]),
            customer: match dice.chance(70) {
                true => ("company", world.some("companies", dice)),
                false => ("contact", world.some("contacts", dice)),
            },
            deal: world.some("deals", dice),
            due_on: facts.created_at + dice.between(10, 400) * DAY,
            rolls,
        }
    }

    /// The fields that list and info share.
    fn write(&mut self, json: &mut Json, facts: &Facts) {
        json.id("id", facts.id);
        json.text("reference", &format!("PRO-{}", facts.ordinal + 1));
        json.text("title", &self.title);
        json.text("description", &self.description);
        json.text("status", self.status);
        json.reference("customer", self.customer.0, self.customer.1);
        json.text("starts_on", &day(facts.created_at));
        json.text("due_on", &day(self.due_on));
        json.reference("source", "deal", self.deal);
        write_accounts(json, &mut self.rolls.base);
    }

    /// Users and their roles; an edit of the project's `.info` changes them.
    fn participants(&mut self, world: &World) -> Vec<(Uuid, &'static str)> {
        let dice = &mut self.rolls.info;
        let count = dice.between(1, 4);
        (0..count).map(|_| (world.some("users", dice), dice.pick(&["decision_maker", "member"]))).collect()
    }
}

fn write_accounts(json: &mut Json, dice: &mut Dice) {
    let (revenue, costs, provided) = (dice.between(0, 5_000_000), dice.between(0, 4_000_000), 5_000_000);
    let (time, materials) = (costs / 3, costs - costs / 3);
    json.nested("actuals", |json| {
        json.money("billable_amount", revenue, "EUR");
        json.money("costs", costs, "EUR");
        json.money("result", revenue - costs, "EUR");
        json.number("profit_percentage", if revenue == 0 { 0 } else { (revenue - costs) * 100 / revenue });
    });
    json.nested("budget", |json| {
        json.money("provided", provided, "EUR");
        json.nested("spent", |json| {
            json.money("total", costs, "EUR");
            json.money("time", time, "EUR");
            json.money("materials", materials, "EUR");
        });
        json.money("remaining", provided - costs, "EUR");
        for key in ["allocated", "forecasted"] {
            match dice.chance(50) {
                true => json.raw(key, "null"),
                false => json.money(key, dice.between(0, provided), "EUR"),
            }
        }
    });
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut project = Project::roll(world, facts);
    let mut json = Json::object(1400);
    project.write(&mut json, facts);
    json.moment("created_at", facts.created_at);

    let customer = project.customer.1.to_string();
    let mut facets =
        vec![fingerprint(&["status", project.status]), fingerprint(&["customer", project.customer.0, &customer])];
    facets.extend(project.participants(world).iter().map(|(user, _)| id_facet("participant_id", *user)));
    Draft {
        list: json.finish(),
        keys: vec![
            SortKey::Number(project.due_on / DAY),
            SortKey::text(&project.title),
            SortKey::Number(facts.created_at),
        ],
        facets,
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    let mut project = Project::roll(world, facts);
    let mut json = Json::object(2400);
    project.write(&mut json, facts);
    let participants = project.participants(world);
    let Rolls { base, list, info } = &mut project.rolls;
    json.list("milestones", |json| {
        for _ in 0..base.below(4) {
            json.item(|json| json.identity("milestone", world.some("milestones", base)));
        }
    });
    json.list("participants", |json| {
        for (user, role) in participants {
            json.item(|json| {
                json.reference("participant", "user", user);
                json.text("role", role);
            });
        }
    });
    // Null for a new project in most cases, and another number after every edit of `.info`.
    let order_number = format!("{:06}", info.below(1_000_000));
    let ordered = facts.info_edits > 0 || info.chance(40);
    json.maybe("purchase_order_number", ordered.then_some(order_number.as_str()));
    custom_fields::write(&mut json, world, "project", base, list);
    json.finish()
}
