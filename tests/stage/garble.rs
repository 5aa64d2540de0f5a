//! Text that is nearly what it should be, and far from it: for requests and for answers of the API.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// What a broken program, a proxy or an attacker puts where a character should be. None of them makes another word of a word.
const INTRUDERS: &[u8] = b"{}[]\",:\\\0\x1f\x7f\x80\xc3\xff";

/// Draws garbled versions of texts, always the same ones.
pub struct Garbler(TestRunner);

impl Garbler {
    /// Each number draws others.
    pub fn number(n: usize) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        Self(TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed)))
    }

    /// A garbled version of a JSON text. Where it is JSON still, a value was exchanged.
    pub fn garble(&mut self, text: &str) -> Vec<u8> {
        let garbled = self.draw(&garbled(text.to_owned()));
        // Not as a `Value`, which refuses more: halves of surrogate pairs, which the account has.
        let is_json = serde_json::from_slice::<IgnoredAny>(&garbled).is_ok();
        if is_json { self.exchange(text) } else { garbled }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.draw(&(0..end))
    }

    /// Any value of a strategy.
    pub fn draw<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        strategy.new_tree(&mut self.0).expect("no filter rejects everything").current()
    }

    /// The text with one of its values exchanged for any other.
    fn exchange(&mut self, text: &str) -> Vec<u8> {
        let mut root: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let mut places = vec![String::new()];
        collect(&root, "", &mut places);
        let place = places[self.below(places.len())].clone();
        *root.pointer_mut(&place).expect("a place of this value") = self.draw(&any_json());
        serde_json::to_vec(&root).expect("JSON")
    }
}

fn collect(value: &Value, at: &str, places: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, child)| (key.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        _ => return,
    };
    for (key, child) in children {
        let place = format!("{at}/{key}");
        collect(child, &place, places);
        places.push(place);
    }
}

/// Any JSON value; deep and large ones among them.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        Just(json!(1e308)),
        any::<String>().prop_map(Value::from),
        (0..9_000_usize).prop_map(|length| Value::from("\u{0}ü".repeat(length))),
    ];
    let tree = leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|map| json!(map)),
        ]
    });
    let deep = (100..160_usize).prop_map(|depth| (0..depth).fold(Value::Null, |inner, _| json!([inner])));
    prop_oneof![8 => tree, 1 => deep]
}

fn garbled(text: String) -> impl Strategy<Value = Vec<u8>> {
    let length = text.len();
    let (cut, edited) = (text.clone(), text);
    let edit = (0..=length, prop::sample::select(INTRUDERS));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        any::<String>().prop_map(String::into_bytes),
        (0..=length).prop_map(move |end| cut.as_bytes()[..end].to_vec()),
        prop::collection::vec(edit, 1..8).prop_map(move |edits| {
            let mut bytes = edited.clone().into_bytes();
            for (at, byte) in edits {
                bytes.insert(at, byte);
            }
            bytes
        }),
        (1_000..40_000_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
        (1_000..20_000_usize)
            .prop_map(|depth| format!("{}{}", "{\"data\":[".repeat(depth), "]}".repeat(depth)).into_bytes()),
        Just(b"<html><body><h1>502 Bad Gateway</h1></body></html>".to_vec()),
    ]
}
