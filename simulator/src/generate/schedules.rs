//! userSchedules: computed for a user and a window of days, and never stored.

use chrono::{Datelike, NaiveDate, Weekday};

use super::facts::Facts;
use super::json::Json;
use super::world::World;

/// Whether a user has a schedule: of those who have left the company nothing is planned.
pub(crate) fn has_schedule(world: &World, user: &Facts) -> bool {
    world.count("userSchedules") > 0 && user.ordinal % 7 != 2
}

/// The schedule of a user from one day to another, both included. Days off are left out.
pub(crate) fn schedule(world: &World, user: &Facts, from: NaiveDate, until: NaiveDate) -> String {
    let mut json = Json::object(1024);
    json.nested("user", |json| json.identity("user", user.id));
    json.list("schedule", |json| {
        for day in from.iter_days().take_while(|day| *day <= until) {
            // An edit of the user moves the beginning of every day.
            let mut dice = world.rolls("userSchedules", user).list;
            let start = 7 + (dice.below(3) + u64::from(user.list_edits)) % 3;
            let is_off = matches!(day.weekday(), Weekday::Sat | Weekday::Sun)
                || u64::from(day.num_days_from_ce().unsigned_abs()) % 11 == user.ordinal % 11;
            if is_off {
                continue;
            }
            json.item(|json| {
                json.text("date", &day.to_string());
                json.list("periods", |json| {
                    write_period(json, "working_hours", start, start + 9);
                    write_period(json, "lunch_break", 12, 13);
                });
            });
        }
    });
    json.finish()
}

fn write_period(json: &mut Json, kind: &str, start: u64, end: u64) {
    json.item(|json| {
        json.text("type", kind);
        json.nested("start", |json| json.text("time", &format!("{start:02}:00")));
        json.nested("end", |json| json.text("time", &format!("{end:02}:00")));
    });
}
