//! JSON that PostgreSQL can store: what it refuses, and what would be too much for its readers, is replaced.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// A number with more digits than these before or after its point, written out, is stored as a text.
///
/// PostgreSQL's `numeric` takes 131,072 and 16,383 of them, and writes out all of them whenever the row is read:
/// `1e131071` is eight bytes here and 128 KiB there. What a program calculates with has 309 and 324 at most.
const MAX_DIGITS: usize = 1_000;

/// Replaces what JSON allows in a text and jsonb refuses: `\u0000` and lone surrogates become U+FFFD. Gives how many.
pub(super) fn text(text: &str) -> (Cow<'_, str>, i64) {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at, mut replaced) = (0, 0, 0);
    while let Some(offset) = memchr(b'\\', &bytes[at..]) {
        let escape = at + offset;
        let Some(unit) = unicode_escape(bytes, escape) else {
            // Any other escape is two bytes, so that the second backslash of `\\` begins none.
            at = (escape + 2).min(bytes.len());
            continue;
        };
        at = escape + 6;
        let refused = match unit {
            0 | 0xDC00..=0xDFFF => true,
            0xD800..=0xDBFF => match unicode_escape(bytes, at) {
                Some(0xDC00..=0xDFFF) => {
                    at += 6;
                    false
                }
                _ => true,
            },
            _ => false,
        };
        if refused {
            out.push_str(&text[copied..escape]);
            out.push_str("\\ufffd");
            copied = escape + 6;
            replaced += 1;
        }
    }
    if replaced == 0 {
        return (Cow::Borrowed(text), 0);
    }
    out.push_str(&text[copied..]);
    (Cow::Owned(out), replaced)
}

/// The code unit of the `\uXXXX` that begins at `at`, if one does.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at + 6).filter(|e| e.starts_with(b"\\u"))?;
    u32::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

/// Makes a text of each number that has more than [`MAX_DIGITS`]; none is lost. Gives how many. `json` is valid JSON.
pub(super) fn numbers(json: &str) -> (Cow<'_, str>, i64) {
    let (mut out, mut copied, mut replaced) = (String::new(), 0, 0);
    for number in literals(json).filter(|number| is_too_long(&json[number.clone()])) {
        out.extend([&json[copied..number.start], "\"", &json[number.clone()], "\""]);
        copied = number.end;
        replaced += 1;
    }
    if replaced == 0 {
        return (Cow::Borrowed(json), 0);
    }
    out.push_str(&json[copied..]);
    (Cow::Owned(out), replaced)
}

/// Where the numbers of valid JSON stand.
fn literals(json: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match bytes.get(at)? {
                b'"' => at = end_of_text(bytes, at),
                b'-' | b'0'..=b'9' => {
                    let start = at;
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                    return Some(start..at);
                }
                _ => at += 1,
            }
        }
    })
}

/// The place after the text that begins at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += offset;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn is_too_long(number: &str) -> bool {
    let exponent_at = number.find(['e', 'E']);
    if number.len() <= MAX_DIGITS && exponent_at.is_none() {
        return false;
    }
    let (mantissa, exponent) = exponent_at.map_or((number, "0"), |at| (&number[..at], &number[at + 1..]));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('-').trim_start_matches('0');
    // One that does not fit in an `i64` has more digits than any limit allows.
    let Ok(exponent) = exponent.parse::<i64>() else { return true };
    let digits = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let (before, after) =
        (digits(whole.len()).saturating_add(exponent), digits(fraction.len()).saturating_sub(exponent));
    before.max(after) > digits(MAX_DIGITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn stored(text: &str) -> String {
        super::text(text).0.into_owned()
    }

    #[test]
    fn what_jsonb_refuses_is_replaced_and_counted() {
        assert_eq!(stored(r#""a\u0000b""#), r#""a\ufffdb""#);
        assert_eq!(stored(r#""\ud83d""#), r#""\ufffd""#);
        assert_eq!(stored(r#""\ude00\ud83d x""#), r#""\ufffd\ufffd x""#);
        assert_eq!(super::text(r#""\ud83d\ud83d\ude00""#).1, 1);
    }

    #[test]
    fn what_jsonb_takes_stays() {
        for text in
            [r#""\ud83d\ude00""#, r#""\\u0000""#, r#""\\\\ud83d""#, r#""\"\n\u00e9""#, r#""\"#, "\"\u{1f600}é\""]
        {
            assert_eq!(stored(text), text);
        }
        assert_eq!(stored(r#""\\\u0000""#), r#""\\\ufffd""#);
    }

    fn with_numbers(json: &str) -> String {
        numbers(json).0.into_owned()
    }

    #[test]
    fn a_number_that_postgresql_refuses_becomes_a_text() {
        assert_eq!(with_numbers(r#"{"a":1e200000,"b":[-1.5E131072]}"#), r#"{"a":"1e200000","b":["-1.5E131072"]}"#);
        assert_eq!(numbers(r#"{"a":1e-20000,"b":0e-20000,"c":1e99999999999999999999}"#).1, 3);
        let (long, short) = ("9".repeat(1_001), "9".repeat(1_000));
        assert_eq!(with_numbers(&format!("[{long},{short},0.{long}]")), format!("[\"{long}\",{short},\"0.{long}\"]"));
    }

    #[test]
    fn other_numbers_stay_to_the_digit() {
        let forty = "1234567890123456789012345678901234567890";
        for json in
            [forty, "1.50", "-0", "1e308", "5e-324", "[1,2.5e+3]", "1e999", r#"{"1e200000":"1e200000 \" 1e200000"}"#]
        {
            assert_eq!(with_numbers(json), json);
        }
    }

    proptest! {
        #[test]
        fn whatever_number_is_replaced_the_json_is_valid_and_has_the_same_members(
            whole in "-?(0|[1-9][0-9]{0,40})", fraction in "([.][0-9]{1,40})?", exponent in "([eE][+-]?[0-9]{1,25})?",
            text in any::<String>(),
        ) {
            let json = format!(r#"{{{}:[{whole}{fraction}{exponent}]}}"#, serde_json::json!(text));
            let stored = with_numbers(&json);
            let read: HashMap<String, Vec<&RawValue>> = serde_json::from_str(&stored).expect("JSON that can be read");
            prop_assert_eq!(read[&text].len(), 1);
        }
    }
}
