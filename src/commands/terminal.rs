//! What a command prints: text that others have written gives no orders to a terminal.

use std::borrow::Cow;
use std::io::Write as _;

/// Writes to standard output; a reader that closed it is no error.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_fmt(format_args!("{}\n", visible(text)));
}

/// Writes an error to standard error; a reader that closed it is no error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().write_fmt(format_args!("teamleader2db: {}\n", visible(text)));
}

/// Writes to standard error what is for people alone; a reader that closed it is no error.
pub fn note(text: &str) {
    let _ = std::io::stderr().write_fmt(format_args!("{}\n", visible(text)));
}

/// The text with its control characters made visible, line feeds and tabs aside: ESC becomes `\u001b`. So do the
/// characters that change the direction of what follows. JSON means the same as before, since it holds such characters
/// only within strings.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_order(letter) {
            shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// The same in one line, so that it cannot look like a line of this program.
pub fn one_line(text: &str) -> String {
    let ends_a_line =
        |letter| matches!(letter, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    visible(&text.replace(ends_a_line, " ")).into_owned()
}

/// Control characters of ASCII and of Latin-1, which many terminals take as well; line and paragraph separators; marks,
/// embeddings, overrides and isolates of direction.
fn is_order(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_becomes_visible() {
        assert_eq!(visible("Zoë\tVan\n\"名\""), "Zoë\tVan\n\"名\"");
        assert_eq!(visible("a\u{1b}]0;x\u{7}b\u{9b}2Jc\u{7f}\rd"), "a\\u001b]0;x\\u0007b\\u009b2Jc\\u007f\\u000dd");
        assert_eq!(visible("abc\u{202e}fdp.exe\u{2066}"), "abc\\u202efdp.exe\\u2066");
        assert_eq!(one_line("one\r\ntwo\u{2028}three\u{1b}[1A"), "one  two three\\u001b[1A");
    }

    #[test]
    fn json_means_the_same() {
        let json = "{\"name\": \"a\u{9b}b\u{7f}\u{202e}\"}";
        let meant = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(meant(&visible(json)), meant(json));
    }
}
