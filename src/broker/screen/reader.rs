//! Reading and writing the pieces that methods and properties are made of.

/// The bytes of a short string at most, since its length is one byte.
const SHORT_STRING_MAX: usize = 255;

/// Reads a slice in order. `None`: it ends before.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// What a length of one byte announces.
    pub fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// What a length of four bytes announces.
    pub fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// Writes a short string as UTF-8: other bytes become U+FFFD, and a text that is too long then is cut. False: it had to
/// be changed.
#[must_use]
pub fn put_short(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let valid = String::from_utf8_lossy(text);
    let fitting = &valid[..valid.floor_char_boundary(SHORT_STRING_MAX)];
    // Not above 255.
    out.push(u8::try_from(fitting.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(fitting.as_bytes());
    fitting.as_bytes() == text
}

/// Writes a length of four bytes, and what it announces.
pub fn put_long(out: &mut Vec<u8>, content: &[u8]) {
    put_length(out, content.len());
    out.extend_from_slice(content);
}

/// Writes a length of four bytes. Nothing here is longer than a few frames.
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}
