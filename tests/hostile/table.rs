//! AMQP field tables as they are on the wire, of every type there is and of some that there are not.

use crate::dice::Dice;
use crate::json::{bytes, usize};
use crate::stage::{ACCOUNT, entry, long_string, nested_arrays, short_string};

/// Room for headers beside all other properties, within a frame of 128 KiB.
const ROOM: usize = 120_000;

/// Headers that the worker or the broker reads.
const KNOWN: [&str; 12] = [
    "slice",
    "x-death",
    "traceparent",
    "x-delivery-count",
    "x-acquired-count",
    "x-reason",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-teamleader2db-unreadable",
    "x-teamleader2db-body-bytes",
    "x-match",
    "x-delay",
];

/// The letters of all types that RabbitMQ reads.
const TYPES: &[u8] = b"tbBsuIilfdDSAFTVxSAFS";

/// Letters of types of the specification that it does not read, and some that mean nothing.
const OTHER_TYPES: &[u8] = b"UL?\0\xff";

/// Bytes of which finite floating point numbers are made.
const FLOATS: &[u8] = b"\0\x01\x40\x55\x80\xbf";

/// The entries of a table of headers.
pub fn headers(dice: &mut Dice) -> Vec<u8> {
    let mut entries = match dice.from(0..=11) {
        0 => nested_arrays(b"x", 1 + usize(dice, 23_900)),
        1 => nested_tables(1 + usize(dice, 15_000)),
        // As many as fit.
        2 => (0..10_000).flat_map(|n: u32| entry(&n.to_be_bytes(), b't', &[1])).collect(),
        3 => entry(&name(dice), b'S', &long_string(&vec![dice.pick(b"x\0\xff"); usize(dice, ROOM - 300)])),
        _ => {
            let mut entries = Vec::new();
            for _ in 0..dice.from(1..=12) {
                let more = any_entry(dice);
                if entries.len() + more.len() <= ROOM {
                    entries.extend(more);
                }
            }
            entries
        }
    };
    if dice.one_in(20) {
        entries.truncate(usize(dice, entries.len()));
    }
    entries
}

/// A header with more routing keys, one of which is the account's. RabbitMQ refuses what is no array of strings.
pub fn routing_keys(dice: &mut Dice) -> Vec<u8> {
    let odd = long_string(&string(dice));
    let keys = [&b"S"[..], &long_string(ACCOUNT.as_bytes()), b"S", &odd].concat();
    entry(dice.pick(&[&b"CC"[..], b"BCC"]), b'A', &long_string(&keys))
}

/// A short string of any kind.
pub fn string(dice: &mut Dice) -> Vec<u8> {
    match dice.from(0..=8) {
        0 => Vec::new(),
        1 => vec![b'x'; 255],
        2 => vec![0; 255],
        3 => vec![0xff; 255],
        4 => b"\xc3".to_vec(),
        // A character that is cut off at the end.
        5 => [vec![b'x'; 253], "ü".as_bytes()[..1].to_vec()].concat(),
        6 => "\u{202e}\u{feff}ü\n\r\t\u{1b}[31m".into(),
        7 => b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec(),
        _ => bytes(dice, 255),
    }
}

fn name(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(3) { string(dice) } else { dice.pick(&KNOWN).into() }
}

fn any_entry(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(12) {
        return routing_keys(dice);
    }
    let (kind, value) = value(dice, 4);
    entry(&name(dice), kind, &value)
}

/// The letter of a type and a value of it.
fn value(dice: &mut Dice, depth: u32) -> (u8, Vec<u8>) {
    let kind = if dice.one_in(100) { dice.pick(OTHER_TYPES) } else { dice.pick(TYPES) };
    let number = |dice: &mut Dice, size: usize| match dice.from(0..=3) {
        0 => vec![0; size],
        1 => vec![0xff; size],
        2 => [vec![0x7f], vec![0xff; size - 1]].concat(),
        _ => (0..size).map(|_| dice.pick(&[0, 1, 0x80, 0x55])).collect(),
    };
    let value = match kind {
        b't' | b'b' | b'B' => number(dice, 1),
        b'u' | b'U' => number(dice, 2),
        // RabbitMQ reads this letter as a number of two bytes, others as a short string.
        b's' => number(dice, 2),
        b'I' | b'i' => number(dice, 4),
        b'l' | b'L' | b'T' => number(dice, 8),
        // RabbitMQ takes only finite ones.
        b'f' => vec![dice.pick(FLOATS); 4],
        b'd' => vec![dice.pick(FLOATS); 8],
        b'D' => number(dice, 5),
        b'V' => Vec::new(),
        b'A' if depth > 0 => {
            let items = (0..dice.from(0..=4)).flat_map(|_| {
                let (kind, value) = value(dice, depth - 1);
                [vec![kind], value].concat()
            });
            long_string(&items.collect::<Vec<u8>>())
        }
        b'F' if depth > 0 => {
            let entries = (0..dice.from(0..=4)).flat_map(|_| {
                let (kind, value) = value(dice, depth - 1);
                entry(&name(dice), kind, &value)
            });
            long_string(&entries.collect::<Vec<u8>>())
        }
        b'A' | b'F' => long_string(&[]),
        _ => long_string(&string(dice)),
    };
    (kind, value)
}

/// An entry of a table that holds so many tables in each other.
fn nested_tables(depth: usize) -> Vec<u8> {
    // From the outside in: each table is the one within it, a name of no characters and five bytes more.
    let mut value = short_string(b"x");
    for within in (0..depth).rev() {
        value.push(b'F');
        value.extend_from_slice(&u32::try_from(6 * within).expect("it fits a frame").to_be_bytes());
        if within > 0 {
            value.push(0);
        }
    }
    value
}
