//! customFieldDefinitions.

use super::definition::{Definition, Text};
use super::dice::fingerprint;
use super::draft::{Draft, SortKey};
use super::facts::Facts;
use super::world::World;

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let documented = world.twists().documented_contexts;
    let definition = Definition::roll(world.rolls("customFieldDefinitions", facts), facts);
    Draft {
        list: definition.write(documented, Text::ListItem),
        keys: vec![SortKey::text(&definition.label), SortKey::text(definition.shown_context(documented))],
        facets: vec![fingerprint(&["context", definition.context])],
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    Definition::roll(world.rolls("customFieldDefinitions", facts), facts)
        .write(world.twists().documented_contexts, Text::Info)
}
