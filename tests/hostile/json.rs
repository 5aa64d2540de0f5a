//! JSON that is nearly what it should be, and far from it: for requests and for answers of the API.

use std::ops::Range;

use crate::dice::Dice;

/// What a broken program, a proxy or an attacker puts where a character should be. None makes another word of a word.
const INTRUDERS: &[u8] = b"{}[]\",:\\\0\x1f\x7f\x80\xc3\xff";

/// At and beyond the ends of what numbers can be. As text: most fit no type.
const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "-1",
    "1",
    "0.1",
    "100",
    "1000000",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1e-400",
    "1e131072",
    "1e131071",
    "1e-16384",
    "1E+200000",
    "99999999999999999999.99",
];

/// The same of dates and times.
const DATES: [&str; 11] = [
    "\"\"",
    "\"0000-00-00\"",
    "\"0000-00-00T00:00:00+00:00\"",
    "\"0000-01-01T00:00:00+00:00\"",
    "\"0001-01-01T00:00:00+00:00\"",
    "\"9999-12-31T23:59:59+00:00\"",
    "\"9999-12-31\"",
    "\"10000-01-01T00:00:00+00:00\"",
    "\"-4713-01-01T00:00:00+00:00\"",
    "\"294277-01-01T00:00:00+00:00\"",
    "\"2024-02-30T25:61:61+99:99\"",
];

const OTHERS: [&str; 20] = [
    "null",
    "true",
    "false",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\uffff\"",
    "\"null\"",
    "\"0\"",
    "\"-1\"",
    "\"1e400\"",
    "\"NaN\"",
    "\"00000000-0000-0000-0000-000000000000\"",
    "\"ffffffff-ffff-ffff-ffff-ffffffffffff\"",
    "[]",
    "{}",
    "[null]",
    "{\"\":{\"\":[]}}",
];

/// Members that decide where an answer's records go, and how far its list reaches.
const TELLING: [&str; 10] =
    ["id", "updated_at", "added_at", "meta", "matches", "data", "type", "access_token", "refresh_token", "expires_in"];

/// A value of a text.
#[derive(Debug)]
struct Place {
    /// The name of the member, for an object's.
    name: String,
    value: Range<usize>,
    /// The member or item, with the comma that separates it from the next or the one before.
    whole: Range<usize>,
}

/// A value that fits nowhere.
pub fn value(dice: &mut Dice) -> String {
    match dice.from(0..=15) {
        0 => format!("1{}", "0".repeat(400)),
        1 => format!("\"{}\"", "x".repeat(1_000_000)),
        2 => format!("\"{}\"", "\\u0000ü".repeat(usize(dice, 9_000))),
        3 => deep(usize(dice, 160)),
        4 => deep(1_000 + usize(dice, 39_000)),
        5 => format!("[{}null]", "null,".repeat(usize(dice, 10_000))),
        6 | 7 => dice.pick(&DATES).to_owned(),
        8..=10 => dice.pick(&NUMBERS).to_owned(),
        _ => dice.pick(&OTHERS).to_owned(),
    }
}

/// A value that fits nowhere, or not there although it is of this one's type.
fn instead_of(dice: &mut Dice, value_there: &str) -> String {
    let digits = value_there.bytes().filter(u8::is_ascii_digit).count();
    match (value_there.as_bytes().first(), digits) {
        (Some(b'0'..=b'9' | b'-'), _) if dice.one_in(2) => dice.pick(&NUMBERS).to_owned(),
        (Some(b'"'), 8..=20) if value_there.contains('-') && dice.one_in(2) => dice.pick(&DATES).to_owned(),
        _ => value(dice),
    }
}

/// A text that is no JSON at all, or JSON of any kind.
pub fn any(dice: &mut Dice) -> Vec<u8> {
    match dice.from(0..=5) {
        0 => bytes(dice, 300),
        1 => "[".repeat(1_000 + usize(dice, 39_000)).into_bytes(),
        2 => {
            let depth = 1_000 + usize(dice, 19_000);
            format!("{}{}", "{\"data\":[".repeat(depth), "]}".repeat(depth)).into_bytes()
        }
        3 => b"<html><body><h1>502 Bad Gateway</h1></body></html>".to_vec(),
        _ => value(dice).into_bytes(),
    }
}

/// The text cut short, or with characters that do not belong there.
pub fn garbled(dice: &mut Dice, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    match dice.from(0..=2) {
        0 => bytes.truncate(usize(dice, text.len())),
        _ => {
            for _ in 0..=dice.from(0..=6) {
                let at = usize(dice, bytes.len());
                bytes.insert(at, dice.pick(INTRUDERS));
            }
        }
    }
    bytes
}

/// The text with one to three of its values exchanged for others, or missing.
pub fn exchanged(dice: &mut Dice, text: &[u8]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for _ in 0..dice.pick(&[1, 1, 1, 2, 3]) {
        let places = places(&text);
        if places.is_empty() {
            break;
        }
        // There are far more of some than of others.
        let name = dice.pick(&TELLING);
        let telling: Vec<&Place> = places.iter().filter(|place| place.name == name).collect();
        let place = if telling.is_empty() || dice.one_in(2) {
            &places[usize(dice, places.len() - 1)]
        } else {
            telling[usize(dice, telling.len() - 1)]
        };
        let (range, with) = if dice.one_in(6) {
            (place.whole.clone(), String::new())
        } else {
            (place.value.clone(), instead_of(dice, &text[place.value.clone()]))
        };
        text.replace_range(range, &with);
    }
    text.into_bytes()
}

/// Bytes of any value.
pub fn bytes(dice: &mut Dice, most: u64) -> Vec<u8> {
    (0..dice.from(0..=most))
        .map(|_| dice.pick(&[0, b'a', b'"', 0x7f, 0x80, 0xff]) ^ dice.pick(&[0, 1, 2, 64]))
        .collect()
}

/// A number that is at most this.
pub fn usize(dice: &mut Dice, most: usize) -> usize {
    usize::try_from(dice.from(0..=most as u64)).expect("it is at most a usize")
}

fn deep(depth: usize) -> String {
    format!("{}null{}", "[".repeat(depth), "]".repeat(depth))
}

/// Every value of a JSON text. None of a text that is no JSON.
fn places(text: &str) -> Vec<Place> {
    let mut scan = Scan { text: text.as_bytes(), at: 0, places: Vec::new(), depth: 0 };
    match scan.value() {
        Some(value) => {
            scan.places.push(Place { name: String::new(), whole: value.clone(), value });
            scan.places
        }
        None => Vec::new(),
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    places: Vec<Place>,
    depth: usize,
}

impl Scan<'_> {
    fn value(&mut self) -> Option<Range<usize>> {
        self.skip(|byte| byte.is_ascii_whitespace());
        let start = self.at;
        match self.peek()? {
            b'"' => self.string()?,
            b'{' => self.items(b'}')?,
            b'[' => self.items(b']')?,
            _ => self.skip(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)),
        }
        (self.at > start).then_some(start..self.at)
    }

    fn items(&mut self, end: u8) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        // What was exchanged before may be deep.
        if self.depth > 60 {
            return None;
        }
        let mut before = self.at;
        loop {
            self.skip(|byte| byte.is_ascii_whitespace() || byte == b',');
            if self.peek()? == end {
                self.at += 1;
                self.depth -= 1;
                return Some(());
            }
            let (start, mut name) = (self.at, String::new());
            if end == b'}' {
                self.string()?;
                name = String::from_utf8_lossy(&self.text[start + 1..self.at - 1]).into_owned();
                self.skip(|byte| byte.is_ascii_whitespace() || byte == b':');
            }
            let value = self.value()?;
            let is_first = self.text[before..start].iter().all(|byte| *byte != b',');
            let whole =
                if is_first { start..self.at + usize::from(self.peek() == Some(b',')) } else { before..self.at };
            before = self.at;
            self.places.push(Place { name, value, whole });
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, which: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&which) {
            self.at += 1;
        }
    }
}
