//! Methods that carry text which a sender, or the owner of a queue or exchange, has chosen.

use super::reader::{Reader, put_short};

/// A method: its class and its number within it.
type Id = (u16, u16);

const TUNE: Id = (10, 30);
const CONNECTION_CLOSE: Id = (10, 50);
const CHANNEL_CLOSE: Id = (20, 40);
const RETURN: Id = (60, 50);
const DELIVER: Id = (60, 60);
const GET_OK: Id = (60, 71);

enum Part {
    Short,
    Bytes(usize),
}

/// The methods with short strings that may not be UTF-8, up to the last of these: with the header `CC` a sender reaches
/// a queue with any routing key, and RabbitMQ cuts long reasons of its own in the middle of a character.
const LAYOUTS: [(Id, &[Part]); 5] = [
    (CONNECTION_CLOSE, &[Part::Bytes(2), Part::Short]),
    (CHANNEL_CLOSE, &[Part::Bytes(2), Part::Short]),
    (RETURN, &[Part::Bytes(2), Part::Short, Part::Short, Part::Short]),
    (DELIVER, &[Part::Short, Part::Bytes(9), Part::Short, Part::Short]),
    (GET_OK, &[Part::Bytes(9), Part::Short, Part::Short]),
];

/// Rewrites the payload of a method if it has short strings that are not UTF-8.
pub fn rewritten(payload: &[u8]) -> Option<Vec<u8>> {
    let id = id(payload)?;
    let (_, layout) = LAYOUTS.iter().find(|(known, _)| *known == id)?;
    let mut from = Reader(payload);
    let mut out = from.take(size_of::<u32>())?.to_vec();
    let mut same = true;
    for part in *layout {
        match part {
            Part::Short => same &= put_short(&mut out, from.short()?),
            Part::Bytes(count) => out.extend_from_slice(from.take(*count)?),
        }
    }
    out.extend_from_slice(from.0);
    (!same).then_some(out)
}

/// Whether a message follows.
pub fn announces_message(payload: &[u8]) -> bool {
    id(payload).is_some_and(|id| [RETURN, DELIVER, GET_OK].contains(&id))
}

/// The largest frame that the broker takes, in `tune`; 0 for any.
pub fn tuned_frame_max(payload: &[u8]) -> Option<u32> {
    if id(payload)? != TUNE {
        return None;
    }
    let mut from = Reader(payload);
    let _id_and_channel_max = from.take(6)?;
    from.u32()
}

fn id(payload: &[u8]) -> Option<Id> {
    let mut from = Reader(payload);
    Some((from.u16()?, from.u16()?))
}
