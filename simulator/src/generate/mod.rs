//! Makes the records: realistic, of the right shape, and a function of the seed.
//!
//! Nothing about a record is stored but its [`Facts`] and the text of its list item; `.info` is written on request. A
//! resource is one [`Recipe`]: nine are written by hand, the rest follows the blueprint.

mod addresses;
mod amounts;
mod blueprint;
mod companies;
mod contacts;
mod credit_notes;
mod custom_fields;
mod definition;
mod definitions;
mod departments;
mod dice;
mod documents;
mod draft;
mod events;
mod facts;
mod family;
mod invoice_lines;
mod invoices;
mod json;
mod kinds;
mod names;
mod projects;
mod recipe;
mod schedules;
mod titles;
mod users;
mod world;

pub(crate) use dice::{Dice, fingerprint};
pub(crate) use documents::{DOCUMENTS, document_of, document_place};
pub(crate) use draft::{Bound, Optional, SortKey};
pub(crate) use facts::{Edits, Facts, Parent};
pub(crate) use family::{Asked, Family, families_of, family};
pub(crate) use json::{moment, read_json, write_json, write_optional};
pub(crate) use kinds::resource_of;
pub(crate) use recipe::{Recipe, recipes};
pub(crate) use schedules::{has_schedule, schedule};
pub(crate) use users::me;
pub(crate) use world::{Twists, World};
