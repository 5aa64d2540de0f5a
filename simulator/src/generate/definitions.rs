//! customFieldDefinitions.

use super::definition::Definition;
use super::dice::fingerprint;
use super::facts::Facts;
use super::world::World;
use super::{Draft, SortKey};

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let documented = world.twists().documented_contexts;
    let definition = Definition::roll(world.rolls("customFieldDefinitions", facts), facts);
    Draft {
        list: definition.write(documented, true),
        keys: vec![SortKey::text(&definition.label), SortKey::text(definition.shown_context(documented))],
        facets: vec![fingerprint(&["context", definition.context])],
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    Definition::roll(world.rolls("customFieldDefinitions", facts), facts)
        .write(world.twists().documented_contexts, false)
}
