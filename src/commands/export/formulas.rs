//! CSV whose cells no spreadsheet takes for formulas.

use std::borrow::Cow;

/// What spreadsheets begin a formula with, or skip before one. The wide forms count in some languages.
const BEGINNINGS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A row of PostgreSQL's CSV, its line end included. A field that a spreadsheet could take for a formula gets an
/// apostrophe before its text; numbers stay as they are.
pub fn escaped(row: &[u8], separator: u8) -> Cow<'_, [u8]> {
    let mut out = Vec::with_capacity(row.len() + 16);
    let mut rest = row;
    while !rest.is_empty() {
        let (field, after) = rest.split_at(field_length(rest, separator));
        let quoted = field.len() >= 2 && field.starts_with(b"\"");
        let text = if quoted { &field[1..field.len() - 1] } else { field };
        if is_formula(text) {
            let quote: &[u8] = if quoted { b"\"" } else { b"" };
            out.extend_from_slice(&[quote, b"'", text, quote].concat());
        } else {
            out.extend_from_slice(field);
        }
        // The separator, or the line end.
        let (between, next) = after.split_at(after.len().min(1));
        out.extend_from_slice(between);
        rest = next;
    }
    if out.len() == row.len() { Cow::Borrowed(row) } else { Cow::Owned(out) }
}

/// How long the first field is, with its quotes. PostgreSQL quotes a field that holds a separator, a quote or a line
/// end, and doubles quotes in it.
fn field_length(row: &[u8], separator: u8) -> usize {
    let mut within_quotes = false;
    let ends = |byte: &u8| {
        within_quotes ^= *byte == b'"';
        !within_quotes && (*byte == separator || *byte == b'\n')
    };
    row.iter().position(ends).unwrap_or(row.len())
}

fn is_formula(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let is_number =
        text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) && text.parse::<f64>().is_ok();
    text.starts_with(BEGINNINGS) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape(row: &str, separator: char) -> String {
        let separator = u8::try_from(separator).expect("ASCII");
        String::from_utf8(escaped(row.as_bytes(), separator).into_owned()).expect("UTF-8")
    }

    #[test]
    fn what_begins_like_a_formula_gets_an_apostrophe() {
        assert_eq!(escape("=1+1,a,@b,-x\n", ','), "'=1+1,a,'@b,'-x\n");
        assert_eq!(escape("\"=HYPERLINK(\"\"x\"\",1)\",\"a,=b\"\n", ','), "\"'=HYPERLINK(\"\"x\"\",1)\",\"a,=b\"\n");
        assert_eq!(escape("\"\r=1\",\"\n=1\",\t=1,＝1\n", ','), "\"'\r=1\",\"'\n=1\",'\t=1,'＝1\n");
        assert_eq!(escape(";=a,b;+32 475\n", ';'), ";'=a,b;'+32 475\n");
        assert_eq!(escape("-1+cmd|' /C calc'!A0\n", ','), "'-1+cmd|' /C calc'!A0\n");
    }

    #[test]
    fn numbers_nulls_and_all_else_stay_as_they_are() {
        for row in ["-1,+2.50,-1e-05,1e+20\n", ",\"\",,\n", "a=b,a-b,\"x\"\"=y\"\n", "\n", "é,\"\"\"=\"\n"] {
            assert_eq!(escape(row, ','), row);
        }
        assert_eq!(escape("-,-infinity\n", ','), "'-,'-infinity\n");
    }
}
