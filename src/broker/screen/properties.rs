//! Content headers: the size of a body, and the properties of its message.

use super::bounds::{BODY_BYTES, FRAME_OVERHEAD, Fault, UNREADABLE};
use super::reader::{Reader, put_length, put_long, put_short};
use super::table;

enum Kind {
    Short,
    Headers,
    Octet,
    Timestamp,
}

/// The properties of class `basic`, in the order of their flags, from the highest bit on.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Short),
    ("content_encoding", Kind::Short),
    ("headers", Kind::Headers),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Short),
    ("reply_to", Kind::Short),
    ("expiration", Kind::Short),
    ("message_id", Kind::Short),
    ("timestamp", Kind::Timestamp),
    ("type", Kind::Short),
    ("user_id", Kind::Short),
    ("app_id", Kind::Short),
    ("cluster_id", Kind::Short),
];

const HEADERS_FLAG: u16 = 1 << 13;

/// More flags follow.
const CONTINUED_FLAG: u16 = 1;

/// A content header for lapin in place of one that it cannot or must not take.
pub struct Rewritten {
    pub payload: Vec<u8>,
    /// The size of the body, where it is above the bound that is announced now.
    pub cut_from: Option<u64>,
}

/// Rewrites a content header if there is need. `fault` is what the method before it had, `body_bound` the size of a
/// body that passes whole, `frame_max` the size of a frame that lapin takes.
pub fn rewritten(payload: &[u8], fault: Option<Fault>, body_bound: u64, frame_max: usize) -> Option<Rewritten> {
    let mut header = Header::read(payload);
    let too_large = payload.len() + FRAME_OVERHEAD > frame_max;
    let fault = fault.or(too_large.then_some(Fault::TooLarge)).or(header.fault);
    let cut_from = (header.body_size > body_bound).then_some(header.body_size);
    if fault.is_none() && cut_from.is_none() {
        return None;
    }
    header.body_size = header.body_size.min(body_bound);
    let mut marks = Vec::new();
    if let Some(fault) = fault {
        put_header(&mut marks, UNREADABLE, b'S', |out| put_long(out, fault.to_string().as_bytes()));
    }
    if let Some(size) = cut_from {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        put_header(&mut marks, BODY_BYTES, b'l', |out| out.extend_from_slice(&size.to_be_bytes()));
    }
    let mut payload = header.with(&marks);
    if payload.len() + FRAME_OVERHEAD > frame_max {
        // All else fits the smallest frame that there is: ten strings of 255 bytes, a few numbers, and the marks.
        header.headers.clear();
        payload = header.with(&marks);
    }
    Some(Rewritten { payload, cut_from })
}

fn put_header(out: &mut Vec<u8>, name: &str, kind: u8, put_value: impl FnOnce(&mut Vec<u8>)) {
    // The names are short, and ASCII.
    let _as_it_is = put_short(out, name.as_bytes());
    out.push(kind);
    put_value(out);
}

/// What could be read of a content header, as lapin can read it.
#[derive(Default)]
struct Header {
    class_and_weight: [u8; 4],
    body_size: u64,
    flags: u16,
    /// The properties before the headers, the entries of the headers, and the properties after them.
    before: Vec<u8>,
    headers: Vec<u8>,
    after: Vec<u8>,
    fault: Option<Fault>,
}

impl Header {
    fn read(payload: &[u8]) -> Self {
        let mut header = Self::default();
        if let Err(fault) = header.fill(Reader(payload)) {
            header.fault.get_or_insert(fault);
        }
        header
    }

    fn fill(&mut self, mut from: Reader<'_>) -> Result<(), Fault> {
        let [a, b] = from.u16().ok_or(Fault::CutOff)?.to_be_bytes();
        let [c, d] = from.u16().ok_or(Fault::CutOff)?.to_be_bytes();
        self.class_and_weight = [a, b, c, d];
        self.body_size = from.u64().ok_or(Fault::CutOff)?;
        let flags = from.u16().ok_or(Fault::CutOff)?;
        let mut more = flags;
        while more & CONTINUED_FLAG != 0 {
            self.fault.get_or_insert(Fault::Unknown);
            more = from.u16().ok_or(Fault::CutOff)?;
        }
        for (place, (name, kind)) in PROPERTIES.iter().enumerate() {
            let flag = 1 << (15 - place);
            if flags & flag != 0 {
                self.property(&mut from, name, kind, flag)?;
            }
        }
        if from.is_empty() { Ok(()) } else { Err(Fault::Unknown) }
    }

    fn property(&mut self, from: &mut Reader<'_>, name: &'static str, kind: &Kind, flag: u16) -> Result<(), Fault> {
        let out = if flag > HEADERS_FLAG { &mut self.before } else { &mut self.after };
        match kind {
            Kind::Short => {
                if !put_short(out, from.short().ok_or(Fault::CutOff)?) {
                    self.fault.get_or_insert(Fault::Property(name));
                }
            }
            Kind::Octet => out.push(from.u8().ok_or(Fault::CutOff)?),
            Kind::Timestamp => out.extend_from_slice(&from.u64().ok_or(Fault::CutOff)?.to_be_bytes()),
            Kind::Headers => {
                let entries = from.long().ok_or(Fault::HeadersCutOff)?;
                let copied = table::copy(entries, &mut self.headers).unwrap_or_else(|fault| {
                    self.headers.clear();
                    Some(fault)
                });
                self.fault = self.fault.or(copied);
            }
        }
        // Only what was read.
        self.flags |= flag;
        Ok(())
    }

    /// The payload of a frame, with more headers.
    fn with(&self, marks: &[u8]) -> Vec<u8> {
        let mut payload = Vec::with_capacity(128 + self.before.len() + self.headers.len() + self.after.len());
        payload.extend_from_slice(&self.class_and_weight);
        payload.extend_from_slice(&self.body_size.to_be_bytes());
        payload.extend_from_slice(&(self.flags | HEADERS_FLAG).to_be_bytes());
        payload.extend_from_slice(&self.before);
        put_length(&mut payload, self.headers.len() + marks.len());
        payload.extend_from_slice(&self.headers);
        // Of two headers with one name lapin keeps the last: a sender's own of these names count for nothing.
        payload.extend_from_slice(marks);
        payload.extend_from_slice(&self.after);
        payload
    }
}
