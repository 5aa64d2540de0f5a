//! Fields that are null or absent where they may be.

use serde_json::{Map, Value};

use crate::contract::{self, Field, Fields};
use crate::generate::{Dice, fingerprint};

/// Fields that were null live although they are documented as never null.
const NULL_LIVE: [&str; 10] = [
    "bic",
    "birthdate",
    "business_type",
    "iban",
    "national_identification_number",
    "position",
    "remarks",
    "salutation",
    "value",
    "website",
];

/// What distinguishes a record, or a value in it, from the others, and what a reader goes by. These are always there.
const ALWAYS: [&str; 11] =
    ["date", "definition", "id", "line", "message_id", "schedule", "source", "subject", "tag", "type", "updated_at"];

/// Takes fields out of the records of one resource.
pub(crate) struct Sparse {
    /// The share of the fields that are null or absent, of a million.
    share: u64,
    seed: u64,
    resource: u64,
    list: Option<&'static Fields>,
    info: Option<&'static Fields>,
    /// What else distinguishes the records of this resource.
    keeps: &'static [&'static str],
}

impl Sparse {
    /// None if every field is there.
    pub(crate) fn new(share: f64, seed: u64, resource: &str) -> Option<Self> {
        let record = |endpoint: Option<&'static contract::Endpoint>| endpoint.map(|endpoint| &endpoint.record);
        (share > 0.0).then(|| Self {
            share: (share * 1_000_000.0) as u64,
            seed,
            resource: fingerprint(&["sparse", resource]),
            list: record(contract::list_endpoint(resource).and_then(contract::endpoint)),
            info: record(contract::info_endpoint(resource)),
            keeps: match resource {
                "commercialDiscounts" => &["department", "name"],
                "userSchedules" => &["user"],
                _ => &[],
            },
        })
    }

    /// Takes fields out of a list item or a record of `.info`; of both the same.
    pub(crate) fn thin(&self, ordinal: u64, record: &mut Value) {
        if let Some(record) = record.as_object_mut() {
            self.members(ordinal, fingerprint(&["record"]), record, self.list, self.info);
        }
    }

    fn members(
        &self,
        item: u64,
        path: u64,
        members: &mut Map<String, Value>,
        list: Option<&'static Fields>,
        info: Option<&'static Fields>,
    ) {
        let keys: Vec<String> = members.keys().cloned().collect();
        for key in keys {
            let fields = [list.and_then(|fields| fields.get(&key)), info.and_then(|fields| fields.get(&key))];
            let path = path ^ fingerprint(&[&key]).rotate_left(7);
            match self.fate(item, path, &key, fields) {
                Fate::Absent => drop(members.remove(&key)),
                Fate::Null => drop(members.insert(key, Value::Null)),
                Fate::Stays => {
                    let [list, info] = fields.map(|field| field.map(|field| &field.fields));
                    match members.get_mut(&key) {
                        Some(Value::Object(inside)) => self.members(item, path, inside, list, info),
                        Some(Value::Array(items)) => {
                            for (number, inside) in (1..).zip(items) {
                                let Some(inside) = inside.as_object_mut() else { continue };
                                self.members(item * 1000 + number, path, inside, list, info);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn fate(&self, item: u64, path: u64, key: &str, fields: [Option<&'static Field>; 2]) -> Fate {
        let documented = || fields.into_iter().flatten();
        let is_key = ALWAYS.contains(&key) || self.keeps.contains(&key);
        let mut dice = Dice::new(&[self.seed, self.resource, item, path]);
        if is_key || documented().next().is_none() || dice.below(1_000_000) >= self.share {
            return Fate::Stays;
        }
        let may_be_null = documented().all(|field| field.nullable) || NULL_LIVE.contains(&key);
        let may_be_absent = documented().all(|field| !field.required);
        match (may_be_null, may_be_absent) {
            (true, true) if dice.chance(50) => Fate::Null,
            (_, true) => Fate::Absent,
            (true, false) => Fate::Null,
            (false, false) => Fate::Stays,
        }
    }
}

/// What becomes of one field.
enum Fate {
    Stays,
    Null,
    Absent,
}
