//! What passes is read by lapin's own parser, whatever the broker sends and however it is split.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel};
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::bounds::FRAME_MAX;
use super::reader::{put_long, put_short};
use super::stream::Screen;
use super::{BODY_BYTES, UNREADABLE};

/// The bound of bodies here.
const BOUND: u64 = 100;

/// In the order of the properties' flags.
const CONTENT_TYPE: u16 = 1 << 15;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const CORRELATION_ID: u16 = 1 << 10;
const MESSAGE_ID: u16 = 1 << 7;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    put_long(&mut out, payload);
    out.push(0xCE);
    out
}

fn header(body_size: u64, flags: u16, properties: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0];
    payload.extend_from_slice(&body_size.to_be_bytes());
    payload.extend_from_slice(&flags.to_be_bytes());
    payload.extend_from_slice(properties);
    payload
}

fn short(text: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(text.len()).unwrap()];
    out.extend_from_slice(text);
    out
}

fn long(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_long(&mut out, content);
    out
}

/// The headers of a table, with their length, of which one holds this number of arrays in each other.
fn nested(arrays: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..arrays {
        value = [b"A".to_vec(), long(&value)].concat();
    }
    long(&[short(b"x"), value].concat())
}

fn deliver(channel: u16, routing_key: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 60];
    payload.extend_from_slice(&short(b"tag"));
    payload.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0]);
    payload.extend_from_slice(&short(b"requests"));
    payload.extend_from_slice(&short(routing_key));
    frame(1, channel, &payload)
}

/// Passes bytes in pieces of these sizes, and gives what comes out.
fn pass_split(input: &[u8], pieces: &[usize], room: usize) -> Vec<u8> {
    let mut screen = Screen::new(BOUND, FRAME_MAX);
    let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
    let mut sizes = pieces.iter().copied().cycle();
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        rest = after;
        let mut from = piece;
        loop {
            let (taken, passed) = screen.pass(from, &mut buffer);
            from = &from[taken..];
            out.extend_from_slice(&buffer[..passed]);
            assert!(screen.memory() <= 5 * super::stream::HELD_MAX, "{} bytes are held", screen.memory());
            if passed == 0 {
                assert!(from.is_empty(), "all is taken before more is read");
                break;
            }
        }
    }
    out
}

fn pass(input: &[u8]) -> Vec<u8> {
    pass_split(input, &[usize::MAX], 1 << 16)
}

/// The frames of a stream, as lapin reads them, but for heartbeats.
fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        assert!(bytes.len() - rest.len() <= FRAME_MAX as usize, "a frame is larger than was agreed");
        bytes = rest;
        if frame != AMQPFrame::Heartbeat {
            frames.push(frame);
        }
    }
    frames
}

fn only_header(frames: &[AMQPFrame]) -> &AMQPContentHeader {
    match frames {
        [AMQPFrame::Header(_, header), ..] => header,
        other => panic!("no content header first: {other:?}"),
    }
}

fn mark(header: &AMQPContentHeader) -> Option<String> {
    match header.properties.headers().as_ref()?.inner().get(UNREADABLE)? {
        AMQPValue::LongString(why) => Some(why.to_string()),
        other => panic!("{other:?}"),
    }
}

fn full_size(header: &AMQPContentHeader) -> Option<i64> {
    match header.properties.headers().as_ref()?.inner().get(BODY_BYTES)? {
        AMQPValue::LongLongInt(size) => Some(*size),
        other => panic!("{other:?}"),
    }
}

/// What passes in place of this content header, and what of it is marked.
fn screened(payload: &[u8]) -> (AMQPContentHeader, Option<String>) {
    let passed = frames(&pass(&frame(2, 1, payload)));
    let header = only_header(&passed);
    (header.clone(), mark(header))
}

fn generated(frame: &AMQPFrame) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    let written = gen_frame(frame)(buffer.as_mut_slice().into()).unwrap().into_inner().1;
    buffer.truncate(usize::try_from(written).unwrap());
    buffer
}

#[test]
fn headers_as_deep_as_a_frame_has_room_for_are_replaced_by_their_mark() {
    let properties = [nested(26_000), vec![2], short(b"id")].concat();
    let (header, mark) = screened(&header(5, HEADERS | DELIVERY_MODE | MESSAGE_ID, &properties));
    assert_eq!(mark.as_deref(), Some("the headers are nested deeper than 16"));
    assert_eq!(header.properties.headers().as_ref().unwrap().inner().len(), 1);
    assert_eq!(header.properties.message_id(), &Some("id".into()));
    assert_eq!(header.properties.delivery_mode(), &Some(2));
    assert_eq!(header.body_size, 5);
}

#[test]
fn headers_nested_as_deep_as_is_allowed_pass() {
    let deepest = frame(2, 1, &header(0, HEADERS, &nested(15)));
    assert_eq!(pass(&deepest), deepest);
    assert!(screened(&header(0, HEADERS, &nested(16))).1.is_some());
}

#[test]
fn a_string_that_is_not_utf8_is_replaced_and_the_rest_is_as_it_was() {
    let long_id = [&[0xFF; 100][..], b"end"].concat();
    let properties = [short(b"text/\xFFplain"), short(b"mine"), short(&long_id)].concat();
    let (header, mark) = screened(&header(0, CONTENT_TYPE | CORRELATION_ID | MESSAGE_ID, &properties));
    assert_eq!(mark.as_deref(), Some("content_type is not UTF-8"));
    assert_eq!(header.properties.content_type(), &Some("text/\u{FFFD}plain".into()));
    assert_eq!(header.properties.correlation_id(), &Some("mine".into()));
    // Three bytes each, and at most 255.
    assert_eq!(header.properties.message_id(), &Some("\u{FFFD}".repeat(85).as_str().into()));
}

#[test]
fn names_of_headers_that_are_not_utf8_are_replaced_in_nested_tables_too() {
    let inner = [short(b"in\xFFner"), b"t\x01".to_vec()].concat();
    let entries = [short(b"out\xFFer"), b"F".to_vec(), long(&inner), short(b"n"), b"I\0\0\0\x07".to_vec()].concat();
    let (header, mark) = screened(&header(0, HEADERS, &long(&entries)));
    assert_eq!(mark.as_deref(), Some("the name of a header is not UTF-8"));
    let headers = header.properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers["n"], AMQPValue::LongInt(7));
    let AMQPValue::FieldTable(inner) = &headers["out\u{FFFD}er"] else { panic!("{headers:?}") };
    assert_eq!(inner.inner()["in\u{FFFD}ner"], AMQPValue::Boolean(true));
}

#[test]
fn what_can_be_read_of_broken_properties_passes() {
    let id = short(b"id");
    for (flags, properties, why, has_id) in [
        // A value of an unknown type; a table that ends within a value; one that is longer than the frame.
        (HEADERS | MESSAGE_ID, [long(b"\x01xQ"), id.clone()].concat(), "type", true),
        (HEADERS | MESSAGE_ID, [long(b"\x01xS\0\0\0\x09abc"), id.clone()].concat(), "end in the middle", true),
        (HEADERS | MESSAGE_ID, [vec![0xFF; 4], id.clone()].concat(), "end in the middle", false),
        // More flags, more properties, and fewer than the flags say.
        (MESSAGE_ID | 1, [vec![0x80, 1, 0, 0], id.clone(), id.clone()].concat(), "does not have", true),
        (MESSAGE_ID, [id.clone(), vec![1]].concat(), "does not have", true),
        (MESSAGE_ID | (1 << 3), id.clone(), "end in the middle", true),
        (MESSAGE_ID, vec![9, b'i'], "end in the middle", false),
    ] {
        let (header, mark) = screened(&header(0, flags, &properties));
        let mark = mark.unwrap_or_else(|| panic!("{properties:02x?} is marked"));
        assert!(mark.contains(why), "{properties:02x?}: {mark}");
        assert_eq!(header.properties.message_id().is_some(), has_id, "{properties:02x?}");
    }
    assert!(screened(&[]).1.is_some(), "not even a class");
}

#[test]
fn a_header_larger_than_a_frame_is_replaced_whatever_its_size() {
    for size in [131_073 - 8, 200_000, 3_000_000] {
        let entries = [short(b"big"), b"S".to_vec(), long(&vec![b'x'; size])].concat();
        let (header, mark) = screened(&header(7, CONTENT_TYPE | HEADERS, &[short(b"a/b"), long(&entries)].concat()));
        assert!(mark.unwrap().contains("than a frame may have"));
        assert_eq!(header.properties.content_type(), &Some("a/b".into()));
        assert_eq!(header.body_size, 7);
    }
}

#[test]
fn headers_fit_the_frames_that_the_broker_has_agreed_to() {
    let tune = frame(1, 0, &[0, 10, 0, 30, 0, 0, 0, 0, 16, 0, 0, 10]);
    let entries = [short(b"big"), b"S".to_vec(), long(&[b'x'; 4096])].concat();
    let big = frame(2, 1, &header(0, HEADERS, &long(&entries)));
    assert!(pass(&big) == big, "it is smaller than the frames that are asked for");
    let passed = pass(&[tune.clone(), big].concat());
    assert!(passed.len() <= tune.len() + 4096);
    assert!(matches!(&frames(&passed)[..], [_, AMQPFrame::Header(_, header)] if mark(header).is_some()));
}

#[test]
fn a_routing_key_that_is_not_utf8_marks_the_message_that_follows() {
    let input = [deliver(3, b"\xFF"), deliver(4, b"key"), frame(2, 4, &header(0, 0, &[]))].concat();
    let input = [input, frame(2, 3, &header(1, 0, &[])), frame(3, 3, b"x"), deliver(3, b"key")].concat();
    let passed = frames(&pass(&[input, frame(2, 3, &header(0, 0, &[]))].concat()));
    let marks: Vec<_> = passed
        .iter()
        .filter_map(|frame| match frame {
            AMQPFrame::Header(channel, header) => Some((*channel, mark(header).is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [(4, false), (3, true), (3, false)]);
    let AMQPFrame::Method(3, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))) = &passed[0] else {
        panic!("{passed:?}")
    };
    assert_eq!((deliver.routing_key.as_str(), deliver.delivery_tag), ("\u{FFFD}", 1));
}

#[test]
fn a_reason_that_was_cut_within_a_character_closes_the_channel_with_it() {
    let payload = [vec![0, 20, 0, 40, 1, 0x94], short(b"NOT_FOUND - no queue '\xC3"), vec![0, 50, 0, 10]].concat();
    let passed = frames(&pass(&frame(1, 1, &payload)));
    let [AMQPFrame::Method(1, AMQPClass::Channel(channel::AMQPMethod::Close(close)))] = &passed[..] else {
        panic!("{passed:?}")
    };
    assert_eq!((close.reply_code, close.class_id), (404, 50));
    assert_eq!(close.reply_text.as_str(), "NOT_FOUND - no queue '\u{FFFD}");
}

#[test]
fn while_a_large_body_is_dropped_the_connection_is_seen_to_live() {
    let body = vec![b'x'; 1_000_000];
    let input = [deliver(1, b"k"), frame(2, 1, &header(1_000_000, 0, &[]))].concat();
    let bodies: Vec<u8> = body.chunks(131_064).flat_map(|part| frame(3, 1, part)).collect();
    let passed = pass_split(&[input, bodies, deliver(1, b"k")].concat(), &[1000], 1 << 16);
    assert!(passed.len() < 10_000, "{} bytes", passed.len());
    let heartbeats = passed.windows(8).filter(|bytes| **bytes == [8, 0, 0, 0, 0, 0, 0, 0xCE]).count();
    assert!(heartbeats > 100, "{heartbeats}");
    let passed = frames(&passed);
    let [_, AMQPFrame::Header(1, header), AMQPFrame::Body(1, body), AMQPFrame::Method(..)] = &passed[..] else {
        panic!("{passed:?}")
    };
    assert_eq!((header.body_size, body.len() as u64), (BOUND, BOUND));
    assert_eq!((full_size(header), mark(header)), (Some(1_000_000), None));
}

#[test]
fn a_body_that_broke_off_ends_with_the_next_method_of_its_channel() {
    let broken = [deliver(1, b"k"), frame(2, 1, &header(5000, 0, &[])), frame(3, 1, &[1; 200])].concat();
    let next = [deliver(1, b"k"), frame(2, 1, &header(3, 0, &[])), frame(3, 1, b"abc")].concat();
    let passed = pass(&[broken, next.clone()].concat());
    assert!(passed.ends_with(&next));
}

#[test]
fn what_is_no_frame_passes_as_it_is() {
    for input in
        [&b"AMQP\0\0\x09\x01"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x07\0\0\0\0\0\0 and whatever \x02 follows"]
    {
        assert_eq!(pass_split(input, &[1], 1), input);
    }
}

fn any_value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        Just(AMQPValue::Void),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
    ];
    leaf.prop_recursive(5, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            vec(("\\PC{0,20}", inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(table_of(entries))),
        ]
    })
}

fn table_of(entries: Vec<(String, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.as_str().into(), value);
    }
    table
}

fn any_properties() -> impl Strategy<Value = basic::AMQPProperties> {
    let text = || proptest::option::of("\\PC{0,60}".prop_map(|text| ShortString::from(text.as_str())));
    let headers = proptest::option::of(vec(("\\PC{0,20}", any_value()), 0..5));
    (headers, text(), text(), text(), text(), any::<Option<u8>>(), any::<Option<u64>>()).prop_map(
        |(headers, content_type, message_id, reply_to, app_id, delivery_mode, timestamp)| {
            let mut properties = basic::AMQPProperties::default();
            macro_rules! set {
                ($($value:ident => $with:ident),*) => {
                    $(if let Some(value) = $value { properties = properties.$with(value); })*
                };
            }
            let headers = headers.map(table_of);
            set!(headers => with_headers, content_type => with_content_type, message_id => with_message_id,
                 reply_to => with_reply_to, app_id => with_app_id, delivery_mode => with_delivery_mode,
                 timestamp => with_timestamp);
            properties
        },
    )
}

/// A message of a channel: its frames, the payload of its content header, and its body.
#[derive(Clone, Debug)]
struct Sent {
    header: Vec<u8>,
    body: Vec<u8>,
    parts: usize,
}

impl Sent {
    fn frames(&self, channel: u16) -> Vec<Vec<u8>> {
        let mut frames = vec![deliver(channel, b"key"), frame(2, channel, &self.header)];
        frames.extend(self.body.chunks(self.parts).map(|part| frame(3, channel, part)));
        frames
    }
}

fn any_sent(bodies: std::ops::Range<usize>) -> impl Strategy<Value = Sent> {
    (any_properties(), vec(any::<u8>(), bodies), 1_usize..80).prop_map(|(properties, body, parts)| {
        let header = AMQPContentHeader { class_id: 60, body_size: body.len() as u64, properties };
        let whole = generated(&AMQPFrame::Header(1, header));
        Sent { header: whole[7..whole.len() - 1].to_vec(), body, parts }
    })
}

/// Messages of several channels at once.
fn interleaved(messages: &[Sent], turns: &[Index]) -> Vec<u8> {
    let mut waiting: Vec<_> =
        messages.iter().zip(1..).map(|(sent, channel)| sent.frames(channel).into_iter()).collect();
    let (mut out, mut turns) = (Vec::new(), turns.iter().cycle());
    while !waiting.is_empty() {
        let at = turns.next().unwrap().index(waiting.len());
        match waiting[at].next() {
            Some(frame) => out.extend(frame),
            None => drop(waiting.remove(at)),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn sound_messages_pass_byte_for_byte(
        messages in vec(any_sent(0..101), 1..4), turns in vec(any::<Index>(), 1..20),
        pieces in vec(1_usize..50, 1..10), room in 1_usize..60,
    ) {
        let input = interleaved(&messages, &turns);
        prop_assert_eq!(pass_split(&input, &pieces, room), input);
    }

    #[test]
    fn of_each_body_the_beginning_passes(
        messages in vec(any_sent(0..400), 1..4), turns in vec(any::<Index>(), 1..20),
        pieces in vec(1_usize..50, 1..10), room in 1_usize..60,
    ) {
        let passed = frames(&pass_split(&interleaved(&messages, &turns), &pieces, room));
        for (sent, channel) in messages.iter().zip(1..) {
            let (mut body, mut announced, mut full) = (Vec::new(), None, None);
            for frame in &passed {
                match frame {
                    AMQPFrame::Header(of, header) if *of == channel => {
                        (announced, full) = (Some(header.body_size), full_size(header));
                        prop_assert_eq!(mark(header), None);
                    }
                    AMQPFrame::Body(of, part) if *of == channel => body.extend_from_slice(part),
                    _ => {}
                }
            }
            let size = sent.body.len().min(100);
            prop_assert_eq!(&body, &sent.body[..size]);
            prop_assert_eq!(announced, Some(size as u64));
            prop_assert_eq!(full, (sent.body.len() > 100).then_some(sent.body.len() as i64));
        }
    }

    #[test]
    fn a_changed_header_is_read_as_it_is_or_marked(
        sent in any_sent(0..1), changes in vec((any::<Index>(), any::<u8>(), 0..3), 1..6),
        pieces in vec(1_usize..50, 1..10), room in 1_usize..60,
    ) {
        let mut payload = sent.header;
        // The class, the weight and the size of the body are the broker's.
        for (at, byte, what) in changes {
            let at = 12 + at.index(payload.len() - 11);
            match what {
                _ if at == payload.len() => payload.push(byte),
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => payload.truncate(at),
            }
        }
        let input = frame(2, 1, &payload);
        let passed = pass_split(&input, &pieces, room);
        let read = frames(&passed);
        let header = only_header(&read);
        let why = mark(header);
        // lapin takes no notice of flags that announce more flags.
        let is_refused = |why: &String| why.contains("deeper") || why.contains("does not have");
        if parse_frame(&input[..]).is_ok() && !why.as_ref().is_some_and(is_refused) {
            prop_assert_eq!(passed, input);
        } else {
            prop_assert!(why.is_some());
        }
    }

    #[test]
    fn whatever_a_header_holds_lapin_can_read_what_passes(
        body_size in 0_u64..50, flags in any::<u16>(), rest in vec(any::<u8>(), 0..300),
        pieces in vec(1_usize..50, 1..10), room in 1_usize..60,
    ) {
        let size = usize::try_from(body_size).unwrap();
        let input = [frame(2, 1, &header(body_size, flags, &rest)), frame(3, 1, &vec![1; size])].concat();
        let passed = frames(&pass_split(&input, &pieces, room));
        prop_assert_eq!(only_header(&passed).body_size, body_size);
        prop_assert_eq!(passed.len(), 2);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(input in vec(any::<u8>(), 0..2000), pieces in vec(1_usize..50, 1..10)) {
        pass_split(&input, &pieces, 7);
    }

    #[test]
    fn a_short_string_is_utf8_and_short(text in vec(any::<u8>(), 0..256)) {
        let mut out = Vec::new();
        let same = put_short(&mut out, &text);
        prop_assert_eq!(out.len() - 1, usize::from(out[0]));
        prop_assert!(std::str::from_utf8(&out[1..]).is_ok());
        prop_assert_eq!(same, out[1..] == text[..]);
    }
}
