//! Methods that carry text which a sender, or the owner of a queue or exchange, has chosen.

use super::reader::{Reader, put_short};
use super::table;
use crate::broker::server::Server;

/// A method: its class and its number within it.
type Id = (u16, u16);

const START: Id = (10, 10);
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

/// What the broker says it is, in `start`.
pub fn server(payload: &[u8]) -> Option<Server> {
    if id(payload)? != START {
        return None;
    }
    let mut from = Reader(payload);
    let _id_and_protocol = from.take(6)?;
    let properties = from.long()?;
    let text = |name| table::text(properties, name).map(ToOwned::to_owned);
    Some(Server { product: text("product")?, version: text("version")? })
}

fn id(payload: &[u8]) -> Option<Id> {
    let mut from = Reader(payload);
    Some((from.u16()?, from.u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A method `start` with these server properties.
    fn start(properties: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 10, 0, 10, 0, 9];
        super::super::reader::put_long(&mut payload, properties);
        payload.extend_from_slice(b"\0\0\0\x05PLAIN\0\0\0\x05en_US");
        payload
    }

    #[test]
    fn what_the_broker_says_it_is_stands_among_other_properties() {
        let properties = b"\x0ccapabilitiesF\0\0\0\x06\x03nott\x01\x07productS\0\0\0\x08RabbitMQ\
            \x04loadt\x01\x07versionS\0\0\0\x054.0.5";
        let found = server(&start(properties)).expect("both are there");
        assert_eq!((found.product.as_str(), found.version.as_str()), ("RabbitMQ", "4.0.5"));
        for broken in [&properties[..20], b"\x07productS\0\0\0\x08RabbitMQ", b"\x07versiont\x01", b"\xffx", b""] {
            assert_eq!(server(&start(broken)), None, "{broken:?}");
        }
        assert_eq!(server(&[0, 10, 0, 30, 0, 0]), None, "another method");
    }
}
