//! Field tables: what headers are. They hold arrays and tables as deep as a frame has room for, so they are read
//! without recursion.

use super::bounds::{Fault, MAX_DEPTH};
use super::reader::{Reader, put_length, put_long, put_short};

/// A table or array that is open, and where its length stands in the output.
struct Level<'a> {
    rest: Reader<'a>,
    is_table: bool,
    length_at: Option<usize>,
}

/// What stands after the byte that names a type. lapin's list: RabbitMQ's, `U` and `L`.
enum Content {
    Bytes(usize),
    Long,
    Array,
    Table,
}

impl Content {
    fn of(kind: u8) -> Option<Self> {
        Some(match kind {
            b'V' => Self::Bytes(0),
            b't' | b'b' | b'B' => Self::Bytes(1),
            b's' | b'U' | b'u' => Self::Bytes(2),
            b'I' | b'i' | b'f' => Self::Bytes(4),
            b'D' => Self::Bytes(5),
            b'L' | b'l' | b'd' | b'T' => Self::Bytes(8),
            b'S' | b'x' => Self::Long,
            b'A' => Self::Array,
            b'F' => Self::Table,
            _ => return None,
        })
    }
}

/// Copies the entries of a table so that lapin can read them, and says what had to be changed. An error means that they
/// cannot be read; the output is of no use then.
pub fn copy(entries: &[u8], out: &mut Vec<u8>) -> Result<Option<Fault>, Fault> {
    let mut changed = None;
    let mut levels = vec![Level { rest: Reader(entries), is_table: true, length_at: None }];
    while let Some(level) = levels.last_mut() {
        if level.rest.is_empty() {
            close(level.length_at, out);
            levels.pop();
            continue;
        }
        if level.is_table {
            let name = level.rest.short().ok_or(Fault::HeadersCutOff)?;
            if !put_short(out, name) {
                changed = Some(Fault::HeaderName);
            }
        }
        let kind = level.rest.u8().ok_or(Fault::HeadersCutOff)?;
        let content = Content::of(kind).ok_or(Fault::HeaderType)?;
        out.push(kind);
        match content {
            Content::Bytes(count) => {
                out.extend_from_slice(level.rest.take(count).ok_or(Fault::HeadersCutOff)?);
            }
            Content::Long => {
                let bytes = level.rest.long().ok_or(Fault::HeadersCutOff)?;
                put_long(out, bytes);
            }
            Content::Array | Content::Table => {
                let rest = Reader(level.rest.long().ok_or(Fault::HeadersCutOff)?);
                if levels.len() == MAX_DEPTH {
                    return Err(Fault::Nested);
                }
                let length_at = Some(out.len());
                put_length(out, 0);
                levels.push(Level { rest, is_table: matches!(content, Content::Table), length_at });
            }
        }
    }
    Ok(changed)
}

/// The text of an entry of a table, if there is such a one.
pub fn text<'a>(entries: &'a [u8], name: &str) -> Option<&'a str> {
    let mut from = Reader(entries);
    while !from.is_empty() {
        let found = from.short()? == name.as_bytes();
        let kind = from.u8()?;
        let value = match Content::of(kind)? {
            Content::Bytes(count) => from.take(count)?,
            Content::Long | Content::Array | Content::Table => from.long()?,
        };
        if found {
            return str::from_utf8(value).ok().filter(|_| kind == b'S');
        }
    }
    None
}

/// Writes the length of what was written since: names may have become longer or shorter.
fn close(length_at: Option<usize>, out: &mut [u8]) {
    let Some(at) = length_at else { return };
    let from = at + size_of::<u32>();
    // A few frames at most.
    let length = u32::try_from(out.len() - from).unwrap_or(u32::MAX);
    out[at..from].copy_from_slice(&length.to_be_bytes());
}
